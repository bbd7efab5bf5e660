//! File systems in user space, which change no time of a file whose name goes: the guard
//! sees such a removal all the same.

use std::fs;
use std::process::{Child, Command};

use agent_recorder_tests::lab::file_systems::in_own_namespace;
use agent_recorder_tests::lab::programs::missing;
use agent_recorder_tests::lab::recorder::Recorder;
use agent_recorder_tests::lab::wait::until;
use agent_recorder_tests::oracle::compare;
use agent_recorder_tests::skip;

/// More than the limit, so that what is not stopped destroys more than it may.
const FILES: usize = 100;
const LIMIT: usize = 64;

/// Ends the file system's program, and its mount with it.
struct Served(Child);

impl Drop for Served {
    fn drop(&mut self) {
        // It may have ended already; there is nothing more to do about it.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn what_is_removed_by_a_name_that_nobody_has_looked_up_ends_at_the_limit() -> anyhow::Result<()> {
    if let Some(why) = missing("bindfs") {
        skip!("{why}");
    }
    if !std::path::Path::new("/dev/fuse").exists() {
        skip!("the kernel has no FUSE");
    }
    let scratch = tempfile::tempdir()?;
    let (files, mounted) = (scratch.path().join("files"), scratch.path().join("mounted"));
    fs::create_dir(&files)?;
    fs::create_dir(&mounted)?;
    for number in 0..FILES {
        fs::write(
            files.join(format!("doc-{number}.txt")),
            "kept nowhere else\n",
        )?;
    }
    in_own_namespace(|| {
        let _served = Served(
            Command::new("bindfs")
                .arg("-f")
                .args([&files, &mounted])
                .spawn()?,
        );
        let place = format!(" {} ", mounted.display());
        until("bindfs mounts", || {
            fs::read_to_string("/proc/thread-self/mounts")
                .is_ok_and(|mounts| mounts.contains(&place))
        })?;
        let recorder = Recorder::with_guard("window = \"2m\"\n")?;
        let script = r#"n=0; while [ $n -lt 100 ]; do unlink "$1/doc-$n.txt"; n=$((n+1)); done"#;
        recorder.run([
            "sh".as_ref(),
            "-c".as_ref(),
            script.as_ref(),
            "sh".as_ref(),
            mounted.as_os_str(),
        ])?;
        assert_eq!(compare::enforcements(&recorder.replay()?).len(), 1);
        assert_eq!(fs::read_dir(&files)?.count(), FILES - LIMIT);
        Ok(())
    })
}
