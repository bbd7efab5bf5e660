//! Tests that skip because a kernel, a profile or a machine lacks something. The
//! tally has each skip, and `tests/tests/expected_skips.tsv` lists the expected ones:
//! a skip outside the table fails the run, and so does a test that must skip and did
//! not.
//!
//! Not here: tests with `#[ignore]`, which are not started.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use serde::Deserialize;

use crate::workspace;

/// The table, below the workspace's folder.
const TABLE: &str = "tests/tests/expected_skips.tsv";
/// The name of a host in the table.
pub(crate) const HOST: &str = "host";
/// The name of every place in the table.
const EVERYWHERE: &str = "*";

/// A skipped test, as it reported itself.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Skip {
    /// The test's name, or `TEST#PART`.
    #[serde(rename = "skipped")]
    pub test: String,
    /// The reason.
    pub why: String,
}

/// An entry of the table: a test in a place.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    place: String,
    test: String,
    rule: Rule,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rule {
    /// A test that runs in this place has to skip.
    Must,
    /// A test that runs in this place may skip, because that depends on the machine.
    May,
}

/// The skips that are expected.
#[derive(Debug, Default)]
pub(crate) struct Expected(Vec<Entry>);

impl Expected {
    /// Reads the workspace's table. Without one, no test may skip.
    ///
    /// # Errors
    ///
    /// It cannot be read, or a line of it is not of the form.
    pub(crate) fn read() -> Result<Self> {
        let path = workspace::root().join(TABLE);
        if !path.exists() {
            return Ok(Self::default());
        }
        let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
        Self::parse(&text).with_context(|| format!("read {}", path.display()))
    }

    /// Parses lines of place, test, `must` or `may`, and the reason, separated by
    /// tabs.
    fn parse(text: &str) -> Result<Self> {
        let mut entries = Vec::new();
        for (number, line) in text.lines().enumerate() {
            let is_head = number == 0 && line.starts_with("where\t");
            if line.trim().is_empty() || line.starts_with('#') || is_head {
                continue;
            }
            entries.push(
                Entry::parse(line).with_context(|| format!("line {}: `{line}`", number + 1))?,
            );
        }
        Ok(Self(entries))
    }

    /// The errors in the skips of one place, a line each; `ran` are the tests that
    /// completed there.
    pub(crate) fn complaints(
        &self,
        place: &str,
        ran: &BTreeSet<String>,
        skips: &[Skip],
    ) -> Vec<String> {
        let skipped: BTreeSet<&Skip> = skips.iter().collect();
        let unexpected = skipped
            .iter()
            .filter(|skip| !self.at(place).any(|entry| entry.test == skip.test))
            .map(|Skip { test, why }| {
                format!("{place}: {test} skipped ({why}), which {TABLE} does not expect")
            });
        let is_skipped = |name: &str| skipped.iter().any(|skip| skip.test == name);
        let missing = self
            .at(place)
            .filter(|entry| entry.rule == Rule::Must && ran.contains(test_of(&entry.test)))
            .filter(|entry| !is_skipped(&entry.test) && !is_skipped(test_of(&entry.test)))
            .map(|entry| format!("{place}: {} ran, and by {TABLE} it must skip", entry.test));
        unexpected.chain(missing).collect()
    }

    fn at(&self, place: &str) -> impl Iterator<Item = &Entry> {
        self.0
            .iter()
            .filter(move |entry| entry.place == place || entry.place == EVERYWHERE)
    }
}

/// The test of a name: in `TEST#PART` the test skipped a part and continued.
fn test_of(name: &str) -> &str {
    name.split_once('#').map_or(name, |(test, _)| test)
}

impl Entry {
    fn parse(line: &str) -> Result<Self> {
        let fields: Vec<_> = line.split('\t').collect();
        let [place, test, rule, why] = fields[..] else {
            bail!("not four columns with tabs between: where, test, must or may, why");
        };
        if why.trim().is_empty() {
            bail!("it gives no reason");
        }
        Ok(Self {
            place: place.to_owned(),
            test: test.to_owned(),
            rule: match rule {
                "must" => Rule::Must,
                "may" => Rule::May,
                other => bail!("`{other}` is neither must nor may"),
            },
        })
    }
}

/// The skips in the lines of a tally.
pub(crate) fn in_tally<'a>(lines: impl Iterator<Item = &'a str>) -> Vec<Skip> {
    lines
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect()
}

/// The skips in a tally's file; empty where no test has written one.
///
/// # Errors
///
/// The file exists and cannot be read.
pub(crate) fn in_file(tally: &Path) -> Result<Vec<Skip>> {
    if !tally.exists() {
        return Ok(Vec::new());
    }
    let text = fs::read_to_string(tally).with_context(|| format!("read {}", tally.display()))?;
    Ok(in_tally(text.lines()))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    const TEXT: &str = "where\ttest\tmust|may\twhy\n# a note\n\n\
        host\tguard::policy::a\tmust\tno hook refuses\n\
        5.10-fentry\tguard::policy::a\tmay\tno such call\n\
        *\trecords::x::b\tmay\tno engine\n";

    fn skip(test: &str) -> Skip {
        Skip {
            test: test.to_owned(),
            why: "so".to_owned(),
        }
    }

    fn ran(tests: &[&str]) -> BTreeSet<String> {
        tests.iter().map(|test| (*test).to_owned()).collect()
    }

    #[test]
    fn a_skip_that_is_expected_is_no_complaint() {
        let expected = Expected::parse(TEXT).unwrap();
        let tests = ["guard::policy::a", "records::x::b"];
        let skips = tests.map(skip);
        assert!(expected.complaints(HOST, &ran(&tests), &skips).is_empty());
    }

    #[test]
    fn a_skip_that_is_not_expected_is_named_with_its_place_and_reason() {
        let expected = Expected::parse(TEXT).unwrap();
        let complaints = expected.complaints("6.12-lsm", &ran(&[]), &[skip("guard::policy::a")]);
        assert_eq!(complaints.len(), 1);
        assert!(complaints[0].starts_with("6.12-lsm: guard::policy::a skipped (so)"));
    }

    #[test]
    fn a_test_that_must_skip_and_did_not_is_named() {
        let expected = Expected::parse(TEXT).unwrap();
        let both = ran(&["guard::policy::a", "records::x::b"]);
        let complaints = expected.complaints(HOST, &both, &[]);
        assert_eq!(complaints.len(), 1, "{complaints:?}");
        assert!(complaints[0].contains("guard::policy::a ran"));
        // The test may skip there, and did not run.
        assert!(expected.complaints("5.10-fentry", &both, &[]).is_empty());
        assert!(expected.complaints(HOST, &ran(&[]), &[]).is_empty());
    }

    #[test]
    fn a_part_that_must_be_skipped_is_missed_unless_the_whole_test_skips() {
        let expected =
            Expected::parse("host\ta::b#acl\tmust\tno acl\nhost\ta::b\tmay\tno git").unwrap();
        let of = |skips: &[Skip]| expected.complaints(HOST, &ran(&["a::b"]), skips).len();
        assert_eq!(of(&[]), 1);
        assert_eq!(of(&[skip("a::b#acl")]), 0);
        assert_eq!(of(&[skip("a::b")]), 0);
        assert_eq!(of(&[skip("a::b#acl"), skip("a::b#quota")]), 1);
    }

    #[test]
    fn a_skip_that_was_said_twice_is_one_complaint() {
        let skips = [skip("x"), skip("x")];
        assert_eq!(
            Expected::default()
                .complaints(HOST, &ran(&[]), &skips)
                .len(),
            1
        );
    }

    #[test]
    fn a_line_of_another_form_is_refused() {
        for line in [
            "host\ta\tmust",
            "host\ta\tcan\twhy",
            "host\ta\tmay\t ",
            "host a may why",
        ] {
            assert!(Expected::parse(line).is_err(), "{line}");
        }
    }

    #[test]
    fn of_a_tally_only_skips_are_read() {
        let lines = [
            r#"{"done":3,"recorded":3}"#,
            "torn",
            r#"{"skipped":"a::b","why":"no git here"}"#,
        ];
        let skips = in_tally(lines.into_iter());
        assert_eq!(skips.len(), 1);
        assert_eq!((&*skips[0].test, &*skips[0].why), ("a::b", "no git here"));
    }
}
