//! The measured program of `cargo xtask bench` in each of its columns: one operation
//! in a loop, or a command, and its cost.
//!
//! `bench_micro RECORDER MODE N` and `bench_micro RECORDER run CMD…`, where
//! RECORDER is the recorder's pid, or 0 for none. Prints one JSON object:
//! `wallNs`, `cpuNs` (user and system time of this process and its waited-for
//! descendants) and `recorderCpuNs`. The recorder comes to rest before and after, so that
//! its deferred work counts, and the start and end of a session do not.

use std::fs::{self, File, OpenOptions};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

/// The recorder rests when it spends less than 1 % of each of two windows in a row. A
/// window is longer than it lets events gather.
const WINDOW: Duration = Duration::from_millis(30);
const QUIET_WINDOWS: u32 = 2;
/// A recorder that stays busy for this long will not come to rest.
const PATIENCE: Duration = Duration::from_secs(60);

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [recorder, mode, rest @ ..] = arguments.as_slice() else {
        bail!("usage: bench_micro RECORDER MODE N | RECORDER run CMD…");
    };
    let recorder = Recorder::named(recorder)?;
    let work = Work::parse(mode, rest)?;
    let recorder_before = recorder.at_rest()?;
    let (cpu_before, begun) = (own_cpu()?, Instant::now());
    work.act()?;
    let (wall, cpu) = (begun.elapsed(), own_cpu()?.saturating_sub(cpu_before));
    let recorder_cpu = recorder.at_rest()?.saturating_sub(recorder_before);
    let cost = serde_json::json!({
        "wallNs": nanoseconds(wall),
        "cpuNs": nanoseconds(cpu),
        "recorderCpuNs": nanoseconds(recorder_cpu),
    });
    println!("{cost}");
    Ok(())
}

/// One thing to measure, made ready.
enum Work {
    Loop {
        times: u64,
        operation: Box<dyn FnMut() -> Result<()>>,
    },
    Run(Command),
}

impl Work {
    fn parse(mode: &str, rest: &[String]) -> Result<Self> {
        let (Some(first), others) = (rest.first(), rest.get(1..).unwrap_or_default()) else {
            bail!("{mode}: a count or a command is missing");
        };
        if mode == "run" {
            let mut command = Command::new(first);
            command
                .args(others)
                .stdin(Stdio::null())
                .stdout(Stdio::null());
            return Ok(Self::Run(command));
        }
        let times = first
            .parse()
            .with_context(|| format!("{first} is no count"))?;
        Ok(Self::Loop {
            times,
            operation: operation(mode)?,
        })
    }

    fn act(self) -> Result<()> {
        match self {
            Self::Loop {
                times,
                mut operation,
            } => (0..times).try_for_each(|_| operation()),
            Self::Run(mut command) => wait_for(&mut command),
        }
    }
}

/// The operation of a mode, in the current folder where it needs files.
fn operation(mode: &str) -> Result<Box<dyn FnMut() -> Result<()>>> {
    const FILE: &str = "bench-file";
    const TRUE: &str = "/bin/true";
    Ok(match mode {
        "getpid" => Box::new(|| {
            // The library's getpid(2) asks the kernel each time since glibc 2.25.
            std::hint::black_box(rustix::process::getpid());
            Ok(())
        }),
        "openread" => {
            fs::write(FILE, b"x").context("make the file to open")?;
            Box::new(|| File::open(FILE).map(drop).context("open for reading"))
        }
        "openwrite" => {
            fs::write(FILE, b"x").context("make the file to open")?;
            Box::new(|| {
                OpenOptions::new()
                    .write(true)
                    .open(FILE)
                    .map(drop)
                    .context("open for writing")
            })
        }
        "createunlink" => Box::new(|| {
            File::create_new("bench-new").context("create")?;
            fs::remove_file("bench-new").context("unlink")
        }),
        "forkexec" => Box::new(|| wait_for(&mut Command::new(TRUE))),
        "gated" => {
            const GATED: &str = "./terraform";
            if !Path::new(GATED).exists() {
                std::os::unix::fs::symlink(TRUE, GATED).context("make the gated program")?;
            }
            // `destroy` is a word of a gate rule, and here the name of a workspace.
            let words = ["workspace", "select", "destroy"];
            Box::new(move || wait_for(Command::new(GATED).args(words)))
        }
        "connect" => {
            let listener = TcpListener::bind("127.0.0.1:0").context("listen on loopback")?;
            let address = listener
                .local_addr()
                .context("read the listener's address")?;
            Box::new(move || {
                let client = TcpStream::connect(address).context("connect")?;
                let server = listener.accept().context("accept")?;
                // Closing by reset keeps ports from waiting: thousands of them would run out.
                rustix::net::sockopt::set_socket_linger(&client, Some(Duration::ZERO))
                    .context("SO_LINGER")?;
                drop((client, server));
                Ok(())
            })
        }
        other => bail!("unknown mode {other}"),
    })
}

fn wait_for(command: &mut Command) -> Result<()> {
    let status = command
        .status()
        .with_context(|| format!("start {command:?}"))?;
    if !status.success() {
        bail!("{command:?} ended with {status}");
    }
    Ok(())
}

/// The process whose CPU time counts with the work's.
struct Recorder(Option<libc::clockid_t>);

impl Recorder {
    fn named(pid: &str) -> Result<Self> {
        let pid: libc::pid_t = pid.parse().with_context(|| format!("{pid} is no pid"))?;
        if pid == 0 {
            return Ok(Self(None));
        }
        let mut clock = 0;
        // SAFETY: the function writes one clock id through a valid pointer.
        let error = unsafe { libc::clock_getcpuclockid(pid, &raw mut clock) };
        if error != 0 {
            return Err(std::io::Error::from_raw_os_error(error))
                .with_context(|| format!("find the clock of {pid}"));
        }
        Ok(Self(Some(clock)))
    }

    /// Its CPU time, read at rest.
    fn at_rest(&self) -> Result<Duration> {
        let Some(clock) = self.0 else {
            return Ok(Duration::ZERO);
        };
        let (begun, mut before, mut quiet) = (Instant::now(), cpu_of(clock)?, 0);
        while quiet < QUIET_WINDOWS {
            if begun.elapsed() > PATIENCE {
                bail!("the recorder did not come to rest within {PATIENCE:?}");
            }
            std::thread::sleep(WINDOW);
            let now = cpu_of(clock)?;
            quiet = if now.saturating_sub(before) < WINDOW / 100 {
                quiet + 1
            } else {
                0
            };
            before = now;
        }
        Ok(before)
    }
}

fn cpu_of(clock: libc::clockid_t) -> Result<Duration> {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the function writes one timespec through a valid pointer.
    if unsafe { libc::clock_gettime(clock, &raw mut time) } != 0 {
        return Err(std::io::Error::last_os_error())
            .context("read the recorder's CPU time; has it ended?");
    }
    Ok(Duration::new(
        time.tv_sec.unsigned_abs(),
        u32::try_from(time.tv_nsec).unwrap_or(0),
    ))
}

/// User and system time of this process and its waited-for descendants.
fn own_cpu() -> Result<Duration> {
    Ok(usage(libc::RUSAGE_SELF)? + usage(libc::RUSAGE_CHILDREN)?)
}

fn usage(who: libc::c_int) -> Result<Duration> {
    let mut usage = std::mem::MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: the function writes one rusage through a valid pointer.
    if unsafe { libc::getrusage(who, usage.as_mut_ptr()) } != 0 {
        return Err(std::io::Error::last_os_error()).context("getrusage");
    }
    // SAFETY: all-zero bytes are a valid rusage, and the kernel filled it.
    let usage = unsafe { usage.assume_init() };
    let duration = |time: libc::timeval| {
        Duration::from_secs(time.tv_sec.unsigned_abs())
            + Duration::from_micros(time.tv_usec.unsigned_abs())
    };
    Ok(duration(usage.ru_utime) + duration(usage.ru_stime))
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
