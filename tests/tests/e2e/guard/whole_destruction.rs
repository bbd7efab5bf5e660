//! One call that destroys as much as any limit allows is refused before it happens,
//! where hooks refuse, and it is the session's last in every profile.

use std::fs::{self, File, OpenOptions};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use agent_recorder_tests::lab::file_systems::{btrfs, in_own_namespace};
use agent_recorder_tests::lab::recorder::{Recorder, refuses};
use agent_recorder_tests::oracle::compare::enforcement;
use agent_recorder_tests::skip;
use anyhow::{bail, ensure};
use rustix::io::Errno;
use tempfile::TempDir;

use crate::STIMULUS;

const BYTES: usize = 256 << 10;
/// Attempts to find a free device: as many as tests that need one at once.
const TRIES: usize = 8;

/// Checks that the one enforcement is of this policy.
fn told(recorder: &Recorder) -> anyhow::Result<()> {
    let records = recorder.replay()?;
    let told = enforcement(&records)?;
    ensure!(told["policy"] == "whole-destruction", "{told:?}");
    Ok(())
}

/// A block device over a file.
struct Device {
    path: PathBuf,
    file: PathBuf,
    _directory: TempDir,
}

impl Device {
    /// A device, or why there is none.
    fn new() -> anyhow::Result<Result<Self, String>> {
        let directory = tempfile::tempdir()?;
        let file = directory.path().join("device");
        fs::write(&file, vec![b'x'; BYTES])?;
        for _ in 0..TRIES {
            let free = Command::new("losetup").arg("-f").output()?;
            if !free.status.success() {
                let why = String::from_utf8_lossy(&free.stderr);
                return Ok(Err(format!("no loop device: {}", why.trim_end())));
            }
            let path = PathBuf::from(String::from_utf8(free.stdout)?.trim());
            // Another test can have taken it meanwhile.
            if Command::new("losetup")
                .arg(&path)
                .arg(&file)
                .status()?
                .success()
            {
                return Ok(Ok(Self {
                    path,
                    file,
                    _directory: directory,
                }));
            }
        }
        bail!("no loop device stays free")
    }

    fn is_intact(&self) -> anyhow::Result<bool> {
        Ok(fs::read(&self.file)?.iter().all(|byte| *byte == b'x'))
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        let _ = Command::new("losetup").arg("-d").arg(&self.path).status();
    }
}

#[test]
fn a_subvolume_that_others_made_is_there_where_hooks_refuse() -> anyhow::Result<()> {
    let scratch = tempfile::tempdir()?;
    in_own_namespace(|| {
        let volume = match btrfs(scratch.path())? {
            Ok(volume) => volume,
            Err(why) => skip!("btrfs: {why}"),
        };
        let recorder = Recorder::with_guard("")?;
        let made = Command::new(STIMULUS)
            .args([
                "whole".as_ref(),
                "make".as_ref(),
                volume.directory.as_os_str(),
            ])
            .arg("theirs")
            .status()?;
        ensure!(made.success(), "make a subvolume: {made}");
        let file = volume.directory.join("theirs/file");
        fs::write(&file, "somebody else's")?;
        let output = recorder.run([
            STIMULUS.as_ref(),
            "whole".as_ref(),
            "subvolume".as_ref(),
            volume.directory.as_os_str(),
            "theirs".as_ref(),
        ])?;
        assert_eq!(output.status.code(), Some(137), "{output:?}");
        told(&recorder)?;
        assert_eq!(file.exists(), refuses()?);
        Ok(())
    })
}

#[test]
fn a_device_that_is_opened_for_writing_has_all_it_had() -> anyhow::Result<()> {
    let device = match Device::new()? {
        Ok(device) => device,
        Err(why) => skip!("{why}"),
    };
    for action in ["kill", "deny"] {
        let recorder = Recorder::with_guard(&format!("action = \"{action}\"\n"))?;
        let output = recorder.run([
            STIMULUS.as_ref(),
            "whole".as_ref(),
            "open".as_ref(),
            device.path.as_os_str(),
        ])?;
        let expected = if action == "deny" && refuses()? {
            Errno::PERM.raw_os_error()
        } else {
            137
        };
        assert_eq!(output.status.code(), Some(expected), "{action}: {output:?}");
        told(&recorder)?;
        assert!(device.is_intact()?, "{action}");
    }
    Ok(())
}

#[test]
fn a_device_that_was_open_before_is_discarded_where_nothing_refuses() -> anyhow::Result<()> {
    let device = match Device::new()? {
        Ok(device) => device,
        Err(why) => skip!("{why}"),
    };
    let recorder = Recorder::with_guard("")?;
    let open: File = OpenOptions::new()
        .read(true)
        .write(true)
        .open(&device.path)?;
    let output = recorder
        .command("run")?
        .args(["--", STIMULUS, "whole", "discard"])
        .stdin(Stdio::from(open))
        .output()?;
    assert_eq!(output.status.code(), Some(137), "{output:?}");
    told(&recorder)?;
    assert_eq!(device.is_intact()?, refuses()?);
    Ok(())
}
