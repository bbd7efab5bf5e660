//! A condemned session, from the guard's limit to the end of its last process, acts
//! no more where the guard refuses. Elsewhere each member can complete one call,
//! which is all that a test can verify.

use std::net::TcpListener;
use std::path::Path;

use agent_recorder_tests::lab::files::fill;
use agent_recorder_tests::lab::recorder::{Recorder, refuses};
use agent_recorder_tests::skip;
use anyhow::{Context as _, ensure};
use serde_json::Value;

/// More than the guard's default limit.
const FILES: usize = 200;
/// The recorder ends the session at the same time, and either can be quicker. The first
/// trial with a refused act is the last.
const TRIALS: usize = 20;
/// Acts of a session's members, without the ends of what they had open.
const ACTS: [&str; 6] = ["exec", "fork", "file", "network", "dns", "control"];

/// Acts of the other members after the one that met the limit had ended.
fn acts_after_the_end(records: &[Value]) -> anyhow::Result<Vec<&Value>> {
    let denied = |it: &&Value| it["file"]["op"] == "DELETE" && it["file"]["error"] == "EPERM";
    let remover = &records.iter().find(denied).context("nothing was denied")?["process"]["pid"];
    let end = records
        .iter()
        .find(|it| it.get("exit").is_some() && it["process"]["pid"] == *remover)
        .and_then(|it| it["bootNs"].as_u64())
        .context("the one who was denied has not ended")?;
    Ok(records
        .iter()
        .filter(|it| ACTS.iter().any(|kind| it.get(*kind).is_some()))
        .filter(|it| it["network"]["op"] != "CLOSE")
        .filter(|it| it["bootNs"].as_u64().is_some_and(|at| at > end))
        .collect())
}

fn refused(act: &Value) -> bool {
    ACTS.iter().any(|kind| act[*kind]["error"] == "EPERM")
}

fn nothing_happened(directory: &Path, listener: &TcpListener) -> anyhow::Result<()> {
    for name in ["opened", "made", "away", "second", "soft"] {
        ensure!(!directory.join(name).exists(), "{name} was made");
    }
    for name in ["cut", "kept"] {
        ensure!(std::fs::read(directory.join(name))? == b"kept", "{name}");
    }
    let came = listener.accept().map(|(_, peer)| peer);
    let none = matches!(&came, Err(error) if error.kind() == std::io::ErrorKind::WouldBlock);
    ensure!(none, "a connection: {came:?}");
    Ok(())
}

#[test]
fn a_condemned_session_does_nothing_more() -> anyhow::Result<()> {
    if !refuses()? {
        skip!("no hook refuses in this profile");
    }
    let listener = TcpListener::bind("127.0.0.1:0")?;
    listener.set_nonblocking(true)?;
    let port = listener.local_addr()?.port().to_string();
    for _ in 0..TRIALS {
        let recorder = Recorder::new()?;
        let scratch = tempfile::tempdir()?;
        let (directory, tree) = (scratch.path().join("others"), scratch.path().join("tree"));
        std::fs::create_dir(&directory)?;
        fill(&tree, FILES)?;
        recorder.run([
            crate::STIMULUS.as_ref(),
            "condemned".as_ref(),
            directory.as_os_str(),
            tree.as_os_str(),
            port.as_ref(),
        ])?;
        nothing_happened(&directory, &listener)?;
        let records = recorder.replay()?;
        let acts = acts_after_the_end(&records)?;
        let done: Vec<_> = acts.iter().filter(|act| !refused(act)).collect();
        ensure!(done.is_empty(), "{done:#?}");
        if !acts.is_empty() {
            let kinds: Vec<_> = acts
                .iter()
                .flat_map(|act| {
                    ACTS.iter()
                        .filter_map(|kind| Some((kind, &act.get(*kind)?["op"])))
                })
                .collect();
            println!("refused: {kinds:?}");
            return Ok(());
        }
    }
    anyhow::bail!("in {TRIALS} trials the recorder was always quicker than they were")
}
