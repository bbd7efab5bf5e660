//! `daemon`: the recorder, in the foreground.

use std::fs::{self, File, OpenOptions};
use std::io::{Read as _, Seek as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::process::ExitCode;

use tokio::signal::unix::{SignalKind, signal};

use super::setup::{Setting, Streams};
use super::systemd::{self, Watchdog};
use super::{Common, Error};
use crate::control::{self, Receiver, Request, Sender};
use crate::daemon::Recorder;

/// File name of the lock in the state directory.
pub(super) const LOCK: &str = "daemon.lock";

/// Arguments of `daemon`.
#[derive(Debug, clap::Args)]
pub struct Args {}

/// Runs until SIGTERM or SIGINT, and ignores SIGHUP. Sessions that still run are
/// recorded as detached.
pub(super) fn run(_args: &Args, common: &Common) -> Result<ExitCode, Error> {
    let setting = Setting::load(common)?;
    let _lock = lock(&setting.config.recorder.state_dir)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|source| Error::System {
            what: "start the asynchronous runtime".to_owned(),
            source,
        })?;
    let (requests, inbox) = control::queue()?;
    let mut recorder = Recorder::start(setting.recorder(true))?;
    let mut streams = setting.start_streams(&runtime, recorder.spool());
    recorder.watch(inbox.descriptor())?;
    recorder.take_over(&setting.rules)?;
    let socket = control::socket_path(&setting.config.recorder.state_dir);
    let guard = runtime.enter();
    let server = control::serve(&socket, requests.clone())?;
    stop_on_signal(requests)?;
    drop(guard);
    systemd::notify("READY=1");
    tracing::info!("recording; control socket {}", socket.display());
    let result = carry(&mut recorder, &inbox, streams.as_mut());
    systemd::notify("STOPPING=1");
    drop(server);
    let finished = recorder.finish();
    result?;
    finished?;
    setting.drain(&runtime, streams, &recorder);
    Ok(ExitCode::SUCCESS)
}

fn carry(
    recorder: &mut Recorder,
    inbox: &Receiver,
    mut streams: Option<&mut Streams>,
) -> Result<(), Error> {
    let mut watchdog = Watchdog::of_this();
    loop {
        let asked = recorder.step()?;
        if recorder.is_proven() {
            watchdog.come_by();
        }
        if let Some(streams) = &mut streams {
            streams.exchange(recorder);
        }
        if asked {
            for request in inbox.take() {
                if recorder.serve(request)? {
                    return Ok(());
                }
            }
        }
    }
}

fn stop_on_signal(requests: Sender) -> Result<(), Error> {
    let failed = |source| Error::System {
        what: "watch for signals".to_owned(),
        source,
    };
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    // Without a handler SIGHUP would end the daemon as SIGKILL does.
    let mut hang_up = signal(SignalKind::hangup()).map_err(failed)?;
    tokio::spawn(async move {
        loop {
            tokio::select! {
                _ = terminate.recv() => break,
                _ = interrupt.recv() => break,
                _ = hang_up.recv() => tracing::warn!(
                    "SIGHUP: the configuration is read at the start; restart the daemon for a new one"
                ),
            }
        }
        requests.send(Request::Stop);
    });
    Ok(())
}

/// Locks the state directory for one daemon. The pid in the file is for the error
/// message only.
fn lock(state_dir: &Path) -> Result<File, Error> {
    let system = |what: &str| {
        let what = format!("{what} {}", state_dir.display());
        move |source| Error::System { what, source }
    };
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(state_dir)
        .map_err(system("make the state directory"))?;
    let path = state_dir.join(LOCK);
    let mut file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .read(true)
        .write(true)
        .mode(0o600)
        .open(path)
        .map_err(system("open the lock in"))?;
    if rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive).is_err() {
        let mut holder = String::new();
        file.read_to_string(&mut holder)
            .map_err(system("read the lock in"))?;
        return Err(Error::Running {
            pid: holder.trim().to_owned(),
            state_dir: state_dir.to_owned(),
        });
    }
    file.set_len(0).map_err(system("write the lock in"))?;
    file.rewind().map_err(system("write the lock in"))?;
    write!(file, "{}", std::process::id()).map_err(system("write the lock in"))?;
    Ok(file)
}
