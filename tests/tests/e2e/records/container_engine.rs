//! A session hands work to a container engine: real containers, whose processes
//! descend from the engine and not from the session.

use std::fs;
use std::path::Path;
use std::process::Output;

use agent_recorder_tests::lab::daemon::{Daemon, Heir, Record};
use agent_recorder_tests::lab::engine::{Engine, IMAGE};
use agent_recorder_tests::lab::files::fill;
use agent_recorder_tests::lab::recorder::GUARDING_TEMPORARY;
use agent_recorder_tests::lab::wait::wait_for;
use agent_recorder_tests::skip;
use anyhow::ensure;
use tempfile::TempDir;

const FILES: usize = 500;
const LIMIT: usize = 64;

/// An engine, a daemon, and a directory that a container gets as `/w`.
struct Place {
    engine: Engine,
    daemon: Daemon,
    directory: TempDir,
}

impl Place {
    /// A place, or why there is no engine.
    fn new(configuration: &str) -> anyhow::Result<Result<Self, String>> {
        Ok(match Engine::start()? {
            Ok(engine) => Ok(Self {
                engine,
                daemon: Daemon::start_with(configuration)?,
                directory: tempfile::tempdir()?,
            }),
            Err(why) => Err(format!("no container engine: {why}")),
        })
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Runs a session that writes a script and has the engine run it.
    fn hand(&self, script: &str) -> anyhow::Result<Output> {
        let words = r#"printf '#!/bin/sh\n%s\n' "$1" > job.sh && chmod +x job.sh &&
            docker run --rm --network none -v "$PWD:/w" "$2" /w/job.sh"#;
        let (name, value) = self.engine.variable();
        Ok(self
            .daemon
            .command("run")?
            .args(["--", "sh", "-c", words, "sh", script, IMAGE])
            .env(name, value)
            .current_dir(self.path())
            .output()?)
    }
}

fn of<T>(records: &[Record], part: impl Fn(&Record) -> Option<T>) -> Vec<T> {
    records.iter().filter_map(part).collect()
}

/// The script waits until its heir is recorded, and then runs `script`: the path of a
/// process that ends sooner is gone with it.
fn once_seen(place: &Place, script: &str) -> anyhow::Result<(Vec<Heir>, Output)> {
    let script = format!("until [ -e /w/seen ]; do sleep 0.1; done; {script}");
    std::thread::scope(|scope| {
        let session = scope.spawn(|| place.hand(&script));
        let heirs = wait_for("the heir", || {
            let heirs = of(&place.daemon.records()?, |it| it.heir.clone());
            Ok((!heirs.is_empty() || session.is_finished()).then_some(heirs))
        });
        // Written in any case: the container waits for this file.
        fs::write(place.path().join("seen"), "")?;
        let output = session
            .join()
            .map_err(|_| anyhow::anyhow!("it panicked"))??;
        let heirs = heirs?;
        ensure!(!heirs.is_empty(), "no heir: {output:?}");
        Ok((heirs, output))
    })
}

#[test]
fn what_a_container_does_for_a_session_is_a_hand_off_and_an_heirs() -> anyhow::Result<()> {
    let place = match Place::new("")? {
        Ok(place) => place,
        Err(why) => skip!("{why}"),
    };
    let (heirs, output) = once_seen(&place, "touch /w/done")?;
    assert!(output.status.success(), "{output:?}");
    assert!(place.path().join("done").exists());
    assert_eq!(heirs.len(), 1);
    assert_eq!(
        (heirs[0].file.as_str(), &heirs[0].joined),
        ("/w/job.sh", &None)
    );
    let handed = of(&place.daemon.records()?, |it| it.hand_off.clone());
    let socket = place.engine.socket().display().to_string();
    assert!(!handed.is_empty());
    for it in handed {
        assert_eq!((it.way.as_str(), &it.to), ("CONTAINER_ENGINE", &socket));
    }
    place.daemon.stop()?;
    Ok(())
}

#[test]
fn a_container_that_joined_ends_at_the_limit_of_the_session_that_began_it() -> anyhow::Result<()> {
    let place = match Place::new(&format!(
        "[handoff]\nheirs = \"join\"\n{GUARDING_TEMPORARY}"
    ))? {
        Ok(place) => place,
        Err(why) => skip!("{why}"),
    };
    let victims = place.path().join("theirs");
    fill(&victims, FILES)?;
    let (heirs, output) = once_seen(&place, "rm -f /w/theirs/*; touch /w/done")?;
    assert!(heirs[0].joined.is_some(), "{heirs:?}");
    assert_eq!(output.status.code(), Some(128 + 9), "{output:?}");
    assert!(!place.path().join("done").exists());
    assert_eq!(fs::read_dir(&victims)?.count(), FILES - LIMIT);
    place.daemon.stop()?;
    Ok(())
}
