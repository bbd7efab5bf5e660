//! The entry points in `programs/hooks` are those of the rows, with the kernels that these state.

use std::collections::{BTreeMap, BTreeSet};

use super::{PROBES, SECURITY_HOOKS, StandIn, TRACEPOINTS, Version, programs};

const SECURITY: &str = include_str!("../../programs/hooks/security.rs");
const TRACED: &str = include_str!("../../programs/hooks/tracepoints.rs");
const PROBING: &str = include_str!("../../programs/hooks/self_test.rs");

/// One entry point, or the replicas of one.
#[derive(Debug, PartialEq, Eq)]
struct Entry {
    /// The macro that defines it.
    form: String,
    programs: Vec<String>,
    on: Vec<String>,
    /// The oldest kernel of each prototype.
    since: Vec<Version>,
}

/// Entry points from `name! { /// docs… programs, "hooks", … }`, and from a function after
/// `#[macro(function = "hook")]`.
fn entries(source: &str) -> Vec<Entry> {
    let mut entries = Vec::new();
    let mut since = Vec::new();
    let mut form = None;
    for line in source.lines().map(str::trim) {
        if let Some(doc) = line.strip_prefix("///") {
            since.extend(version_of(doc.trim_start()));
            continue;
        }
        if let Some(name) = line.strip_suffix("! {") {
            since.clear();
            // A macro's definition in the same file is no entry point.
            form = (!name.contains(' ')).then(|| (name.to_owned(), Vec::new()));
            continue;
        }
        if let Some((_, attribute)) = line.split_once("#[")
            && let Some((name, rest)) = attribute.split_once('(')
            && let Some((_, on)) = rest.split_once("= \"")
            && let Some((on, _)) = on.split_once('"')
        {
            form = Some((name.to_owned(), vec![on.to_owned()]));
            continue;
        }
        let Some((form, on)) = form.take() else {
            since.clear();
            continue;
        };
        let mut entry = Entry {
            form,
            programs: Vec::new(),
            on,
            since: std::mem::take(&mut since),
        };
        match line.strip_prefix("fn ").and_then(|it| it.split_once('(')) {
            Some((program, _)) => entry.programs.push(program.to_owned()),
            None => {
                for word in line.split(['(', '|']).next().unwrap_or("").split(',') {
                    let word = word.trim();
                    match word.strip_prefix('"').and_then(|it| it.strip_suffix('"')) {
                        Some(on) => entry.on.push(on.to_owned()),
                        None if !word.is_empty() => entry.programs.push(word.to_owned()),
                        None => {}
                    }
                }
            }
        }
        entries.push(entry);
    }
    entries
}

/// The first version in "`prototype`, 5.7 to 6.1." and similar lines.
fn version_of(doc: &str) -> Option<Version> {
    let (_, kernels) = doc.strip_prefix('`')?.split_once("`, ")?;
    let end = kernels.find(|it: char| it != '.' && !it.is_ascii_digit());
    let (major, minor) = kernels[..end.unwrap_or(kernels.len())].split_once('.')?;
    let minor = minor.trim_end_matches('.');
    Some((major.parse().ok()?, minor.parse().ok()?))
}

#[test]
fn the_entry_points_on_security_hooks_are_those_of_the_rows() {
    let mut written = BTreeSet::new();
    for entry in entries(SECURITY) {
        let names: BTreeSet<_> = entry.programs.iter().zip(&entry.on).collect();
        assert!(names.iter().all(|(program, on)| program == on), "{entry:?}");
        assert_eq!(entry.programs.len(), entry.on.len(), "{entry:?}");
        written.extend(entry.programs);
    }
    let rows = SECURITY_HOOKS
        .iter()
        .flat_map(|row| [row.hook, row.function]);
    assert_eq!(written, rows.map(str::to_owned).collect());
}

#[test]
fn a_security_hook_is_as_old_as_its_oldest_prototype() {
    let mut written: BTreeMap<String, Version> = BTreeMap::new();
    for entry in entries(SECURITY) {
        let oldest = entry.since.iter().min().copied();
        for program in &entry.programs {
            let oldest = oldest.unwrap_or_else(|| panic!("{entry:?}"));
            let known = written.entry(program.clone()).or_insert(oldest);
            *known = oldest.min(*known);
        }
    }
    let rows = SECURITY_HOOKS
        .iter()
        .flat_map(|row| [row.hook, row.function].map(|it| (it.to_owned(), row.since)));
    assert_eq!(written, rows.collect());
}

#[test]
fn the_entry_points_on_tracepoints_are_those_of_the_rows() {
    let (exits, written): (Vec<_>, Vec<_>) = entries(TRACED)
        .into_iter()
        .filter(|entry| entry.form != "one")
        .partition(|entry| entry.form == "fexit");
    let written: BTreeMap<_, _> = written
        .into_iter()
        .map(|entry| {
            (
                entry.programs,
                (entry.on, entry.since.iter().min().copied()),
            )
        })
        .collect();
    let rows = TRACEPOINTS.iter().map(|row| {
        let programs: Vec<_> = row.programs().map(str::to_owned).collect();
        (programs, (vec![row.names[0].to_owned()], Some(row.since)))
    });
    assert_eq!(written, rows.collect());
    let stand_ins = TRACEPOINTS.iter().filter_map(|row| match row.stand_in {
        StandIn::FunctionExit(function) => Some(vec![function.to_owned()]),
        StandIn::None | StandIn::Tracepoint(_) => None,
    });
    let exits: Vec<_> = exits.into_iter().map(|entry| entry.on).collect();
    assert_eq!(exits, stand_ins.collect::<Vec<_>>());
}

#[test]
fn the_probes_are_those_of_the_rows() {
    let written: BTreeSet<_> = entries(PROBING)
        .into_iter()
        .map(|entry| (entry.programs, entry.on))
        .collect();
    let rows = PROBES
        .iter()
        .map(|probe| (vec![probe.program.to_owned()], vec![probe.on.to_owned()]));
    assert_eq!(written, rows.collect());
}

#[test]
fn no_two_programs_have_one_name() {
    let all: Vec<_> = programs().collect();
    let names: BTreeSet<_> = all.iter().collect();
    assert_eq!(names.len(), all.len());
}

#[test]
fn a_stand_in_among_tracepoints_is_a_row() {
    for row in TRACEPOINTS {
        if let StandIn::Tracepoint(other) = row.stand_in {
            assert!(TRACEPOINTS.iter().any(|it| it.program == other), "{other}");
        }
    }
}

#[test]
fn only_a_hook_younger_than_bpf_lsm_costs_nothing_where_it_is_missing() {
    for row in SECURITY_HOOKS {
        assert_eq!(row.since > (5, 7), row.lost.is_none(), "{row:?}");
    }
}

#[test]
fn entry_points_are_read_with_their_kernels() {
    let source = r#"
        macro_rules! hook {
            ($name:ident) => { one! { $name } };
        }
        both! {
            /// `void seen(u32 of)`, 6.15.
            /// `void seen(u64 of)`, 5.5 to 6.14.
            seen, seen_2, "seen",
            |ctx, _replica| look(ctx.arg(0))
        }
        /// `int made(int)`, 5.7.
        #[fexit(function = "made")]
        fn made(ctx: FExitContext) -> i32 {
    "#;
    let entry = |form: &str, programs: &[&str], on: &str, since: &[Version]| Entry {
        form: form.into(),
        programs: programs.iter().map(|it| (*it).to_owned()).collect(),
        on: vec![on.to_owned()],
        since: since.to_vec(),
    };
    let expected = [
        entry("both", &["seen", "seen_2"], "seen", &[(6, 15), (5, 5)]),
        entry("fexit", &["made"], "made", &[(5, 7)]),
    ];
    assert_eq!(entries(source), expected);
}
