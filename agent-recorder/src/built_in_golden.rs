//! The built-in policy as it is resolved, held equal to what it was before its
//! rows moved into files.

use std::fmt::Write as _;

use crate::config::{Config, Gate, Guard, HandOffWay, built_in};
use crate::guard::Policy;
use crate::session::agents::RuleSet;

const GOLDEN: &str = include_str!("built_in_golden.txt");

fn resolved() -> String {
    let mut out = String::new();
    let mut line = |text: String| {
        let _ = writeln!(out, "{text}");
    };
    let rules = RuleSet::from_config(&Config::default()).unwrap_or_default();
    for rule in rules.names() {
        line(format!("agent {} {}", rule.agent, rule.rule));
    }
    for (key, number) in rules.for_kernel() {
        let text = String::from_utf8_lossy(&key.pattern[..key.len as usize]).into_owned();
        line(format!("agent key {} {text} {number}", key.kind));
    }
    for HandOffWay {
        way,
        sockets,
        files,
    } in &built_in().hand_off.ways
    {
        line(format!("way {way:?} {sockets:?} {files:?}"));
    }
    for rule in Gate::default().in_force() {
        line(format!("{rule:?}"));
    }
    let policy = Policy::of(&Guard::default());
    for (key, meaning) in &policy.names {
        let name = String::from_utf8_lossy(&key.name).into_owned();
        let name = name.trim_end_matches('\0');
        line(format!("name {} {name} {meaning}", key.kind));
    }
    line(format!("temporary {:?}", policy.temporary));
    let throwaway = &built_in().throwaway;
    for (what, names) in [
        (
            "directories of what may be thrown away",
            &throwaway.directories,
        ),
        (
            "endings of files that may be thrown away",
            &throwaway.suffixes,
        ),
        ("temporary directories", &throwaway.temporary),
        ("what git can undo", &throwaway.git_verbs),
    ] {
        line(format!("{what}: {names:?}"));
    }
    let gate = &built_in().exec_gate.programs;
    line(format!("git files {:?}", throwaway.git_files));
    line(format!("directories {:?}", gate.directories));
    line(format!(
        "interpreters {:?} {:?}",
        gate.interpreters, gate.multicall
    ));
    out
}

#[test]
fn the_built_in_policy_is_what_it_was() {
    assert_eq!(resolved(), GOLDEN);
}
