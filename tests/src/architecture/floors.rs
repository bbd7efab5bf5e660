//! The rule for a crate's files: its top-level modules have floors, and an import
//! leads to the same floor or a lower one. Neither modules nor files import in a
//! circle.
//!
//! A parent module and its children are ordinary files here: a child that needs a
//! definition of its parent, while the parent uses the child, is a circle. An
//! intended circle is declared with its reason (`Circle`).
//!
//! Not here: finding imports (`imports`).

use std::collections::{BTreeMap, BTreeSet};

use petgraph::algo::tarjan_scc;
use petgraph::graphmap::DiGraphMap;

use super::imports::Imports;

/// The declared layout of one crate.
pub(super) struct Layout {
    /// The crate's root file, from the repository's root.
    pub(super) root: &'static str,
    /// Top-level modules, lowest floor first.
    pub(super) floors: &'static [&'static [&'static str]],
    /// Circles that are there on purpose.
    pub(super) circles: &'static [Circle],
}

/// Files that import one another, on purpose.
pub(super) struct Circle {
    /// All of them, in alphabetical order.
    pub(super) files: &'static [&'static str],
    /// Why the circle is allowed.
    pub(super) reason: &'static str,
}

/// Sentences about imports that break the layout, and about false declarations of the layout.
pub(super) fn violations(layout: &Layout, imports: &Imports) -> Vec<String> {
    let mut found = misplaced(layout, imports);
    found.extend(upward(layout, imports));
    found.extend(circles_on_a_floor(layout, imports));
    found.extend(circles_of_files(layout, imports));
    found
}

/// The top-level module that a module is in; the crate's root is in none.
fn top(module: &str) -> Option<&str> {
    let first = module.split("::").next().unwrap_or(module);
    (first != "crate").then_some(first)
}

fn floor_of(layout: &Layout, module: &str) -> Option<usize> {
    let top = top(module)?;
    layout.floors.iter().position(|floor| floor.contains(&top))
}

/// Top-level modules without a floor, and floors' modules that no longer exist.
fn misplaced(layout: &Layout, imports: &Imports) -> Vec<String> {
    let there: BTreeSet<&str> = imports.modules.iter().filter_map(|m| top(m)).collect();
    let declared: BTreeSet<&str> = layout.floors.iter().copied().flatten().copied().collect();
    let homeless = there
        .difference(&declared)
        .map(|module| format!("`{module}` stands on no floor"));
    let gone = declared
        .difference(&there)
        .map(|module| format!("`{module}` has a floor and is not there"));
    homeless.chain(gone).collect()
}

fn upward(layout: &Layout, imports: &Imports) -> Vec<String> {
    let mut found = Vec::new();
    for ((from, to), written) in &imports.edges {
        if to == "crate" {
            found.push(format!("`{from}` imports from the crate's root: {written}"));
        }
        let (Some(below), Some(above)) = (floor_of(layout, from), floor_of(layout, to)) else {
            continue;
        };
        if below < above {
            found.push(format!("`{from}` imports upward, from `{to}`: {written}"));
        }
    }
    found
}

/// Circles between top-level modules of one floor: between floors, one of the
/// imports is upward.
fn circles_on_a_floor(layout: &Layout, imports: &Imports) -> Vec<String> {
    let mut written = BTreeMap::new();
    for ((from, to), path) in &imports.edges {
        if let (Some(from_top), Some(to_top)) = (top(from), top(to))
            && from_top != to_top
            && floor_of(layout, from) == floor_of(layout, to)
        {
            written
                .entry((from_top, to_top))
                .or_insert_with(|| format!("{from}: {path}"));
        }
    }
    circles(written.keys().copied())
        .iter()
        .map(|members| {
            format!(
                "top-level modules in a circle: {}",
                shown(members, &written)
            )
        })
        .collect()
}

fn circles_of_files(layout: &Layout, imports: &Imports) -> Vec<String> {
    let written: BTreeMap<(&str, &str), String> = imports
        .edges
        .iter()
        .map(|((from, to), path)| ((from.as_str(), to.as_str()), path.clone()))
        .collect();
    let there = circles(written.keys().copied());
    let undeclared = there
        .iter()
        .filter(|members| !layout.circles.iter().any(|c| c.files == members.as_slice()))
        .map(|members| format!("files in a circle: {}", shown(members, &written)));
    let gone = layout
        .circles
        .iter()
        .filter(|circle| !there.iter().any(|members| circle.files == *members))
        .map(|circle| {
            format!(
                "a circle is declared (\"{}\") and is not there: {}",
                circle.reason,
                circle.files.join(", ")
            )
        });
    undeclared.chain(gone).collect()
}

/// Sets of nodes that all reach one another, each in alphabetical order.
fn circles<'a>(edges: impl Iterator<Item = (&'a str, &'a str)>) -> Vec<Vec<&'a str>> {
    let graph: DiGraphMap<&str, ()> = edges.map(|(from, to)| (from, to, ())).collect();
    let mut found: Vec<Vec<&str>> = tarjan_scc(&graph)
        .into_iter()
        .filter(|members| members.len() > 1)
        .collect();
    for members in &mut found {
        members.sort_unstable();
    }
    found.sort_unstable();
    found
}

/// A circle's members, and the imports between them.
fn shown(members: &[&str], written: &BTreeMap<(&str, &str), String>) -> String {
    let mut lines = vec![members.join(", ")];
    for ((from, to), path) in written {
        if members.contains(from) && members.contains(to) {
            lines.push(format!("    {from} -> {to}: {path}"));
        }
    }
    lines.join("\n")
}
