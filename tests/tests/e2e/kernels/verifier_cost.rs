//! The number of instructions that the verifier visits for each program does not grow
//! unnoticed.
//!
//! `tests/verifier_cost.tsv` has the known numbers: kernel, profile, program,
//! instructions. A kernel and profile without a line are not compared; with
//! AGENT_RECORDER_VERIFIER_COST=print the lines are printed instead.

use std::collections::BTreeMap;

use agent_recorder_tests::lab::recorder::Recorder;
use agent_recorder_tests::skip;
use anyhow::Context as _;
use serde_json::Value;

const TABLE: &str = include_str!("../../verifier_cost.tsv");
const VARIABLE: &str = "AGENT_RECORDER_VERIFIER_COST";
/// In percent: a compiler's point release moves some.
const GROWTH: u64 = 20;

#[test]
fn no_program_costs_the_verifier_a_fifth_more_than_it_did() -> anyhow::Result<()> {
    let output = Recorder::new()?
        .command("doctor")?
        .args(["--format", "json"])
        .output()?;
    let report: Value = serde_json::from_slice(&output.stdout)?;
    let release = report["kernel"].as_str().context("no kernel")?;
    let profile = report["profile"].as_str().context("no profile")?;
    let kernel = major_and_minor(release);
    let now: BTreeMap<String, u64> = serde_json::from_value(report["verified"].clone())?;
    if now.is_empty() {
        // Since 5.16 `bpf_prog_info` has the number.
        assert!(release.starts_with("5."), "{report:#}");
        skip!("{release} does not say what its verifier went through");
    }
    if std::env::var_os(VARIABLE).is_some() {
        for (program, instructions) in &now {
            println!("{kernel}\t{profile}\t{program}\t{instructions}");
        }
        return Ok(());
    }
    let before = before(&kernel, profile)?;
    if before.is_empty() {
        skip!("nothing is known of {kernel} with {profile}");
    }
    let names = |of: &BTreeMap<String, u64>| of.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&now), names(&before), "{kernel} {profile}");
    let grown: Vec<String> = now
        .iter()
        .filter(|(program, now)| *now * 100 > before[*program] * (100 + GROWTH))
        .map(|(program, now)| format!("{program}: {} → {now}", before[program]))
        .collect();
    assert!(grown.is_empty(), "{kernel} {profile}: {grown:#?}");
    Ok(())
}

fn before(kernel: &str, profile: &str) -> anyhow::Result<BTreeMap<String, u64>> {
    TABLE
        .lines()
        .filter_map(|line| line.strip_prefix(&format!("{kernel}\t{profile}\t")))
        .map(|line| {
            let (program, instructions) = line.split_once('\t').context("a line without a tab")?;
            Ok((program.to_owned(), instructions.parse()?))
        })
        .collect()
}

fn major_and_minor(release: &str) -> String {
    let mut parts = release.split(['.', '-']);
    let (major, minor) = (parts.next().unwrap_or(""), parts.next().unwrap_or(""));
    format!("{major}.{minor}")
}
