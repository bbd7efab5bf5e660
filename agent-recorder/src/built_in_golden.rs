//! The built-in policy as it is resolved, held equal to what it was before its
//! rows moved into files.

use std::fmt::Write as _;

use crate::config::{Config, Gate, Guard, WAYS, built_in};
use crate::guard::golden::{DIRECTORIES, GIT_FILES, INTERPRETERS, MANY, Policy};
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
    for (way, sockets, files) in WAYS {
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
    for (what, names) in built_in::BUILT_IN {
        line(format!("{what}: {names:?}"));
    }
    line(format!("git files {GIT_FILES:?}"));
    line(format!("directories {DIRECTORIES:?}"));
    line(format!("interpreters {INTERPRETERS:?} {MANY:?}"));
    out
}

#[test]
fn the_built_in_policy_is_what_it_was() {
    assert_eq!(resolved(), GOLDEN);
}
