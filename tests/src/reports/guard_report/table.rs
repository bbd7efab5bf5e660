//! The table of the report: one row a case, and whether its result is the expected
//! one.

use std::fmt::Write as _;

use super::case::Case;
use super::trial::{Outcome, Ran};

/// The two kinds of cases.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Destroyer,
    Work,
}

/// The fault of a case, if any.
pub(crate) fn fault(kind: Kind, case: &Case, ran: &Ran, refuses: bool) -> Option<String> {
    if ran.survivors > 0 {
        return Some(format!("{} processes survived", ran.survivors));
    }
    if kind == Kind::Work {
        return match &ran.verdict {
            Some(verdict) => Some(format!("stopped: {}", verdict.policy)),
            None if ran.status != Some(0) => {
                Some(format!("did not work: {:?} {}", ran.status, ran.said))
            }
            None => None,
        };
    }
    let beyond = if refuses { 0 } else { case.at_once - 1 };
    (ran.destroyed > case.limit + beyond)
        .then(|| format!("{} destroyed, limit {}", ran.destroyed, case.limit))
}

/// A table's head.
pub(crate) fn head(kind: Kind) -> String {
    match kind {
        Kind::Destroyer => "| way | destroyed | beyond the limit | policy | until the last death, ms | survivors | |\n| --- | --: | --: | --- | --: | --: | --- |\n",
        Kind::Work => "| work | took, s | stopped | counted, files | |\n| --- | --: | --- | --: | --- |\n",
    }
    .to_owned()
}

/// A case's row.
pub(crate) fn row(
    kind: Kind,
    case: &Case,
    outcome: &Outcome,
    refuses: bool,
    weakness: Option<&str>,
) -> String {
    let ran = match outcome {
        Outcome::NotRun(why) if kind == Kind::Destroyer => {
            return format!("| {} | | | | | | not run: {why} |\n", case.name);
        }
        Outcome::NotRun(why) => return format!("| {} | | | | not run: {why} |\n", case.name),
        Outcome::Ran(ran) => ran,
    };
    let remark = match (fault(kind, case, ran, refuses), weakness) {
        (Some(fault), Some(why)) => format!("known: {why} ({fault})"),
        (Some(fault), None) => format!("**{fault}**"),
        (None, _) => "ok".to_owned(),
    };
    let mut text = format!("| {} |", case.name);
    // Writing to a String cannot fail.
    let _ = match kind {
        Kind::Work => {
            let stopped = ran.verdict.as_ref().map_or("no", |verdict| &verdict.policy);
            writeln!(
                text,
                " {:.1} | {stopped} | {} | {remark} |",
                ran.took.as_secs_f64(),
                ran.counted
            )
        }
        Kind::Destroyer => {
            let (policy, death) = match &ran.verdict {
                Some(verdict) => (
                    verdict.policy.as_str(),
                    verdict.death.map_or(String::new(), |ms| format!("{ms:.1}")),
                ),
                None => ("none", String::new()),
            };
            writeln!(
                text,
                " {} | {} | {policy} | {death} | {} | {remark} |",
                ran.destroyed,
                ran.destroyed.saturating_sub(case.limit),
                ran.survivors
            )
        }
    };
    text
}
