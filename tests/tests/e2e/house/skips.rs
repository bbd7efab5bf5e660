//! The tests in the table of expected skips exist.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, ensure};

const TABLE: &str = include_str!("../../expected_skips.tsv");

#[test]
fn each_test_that_may_skip_is_there() -> anyhow::Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/e2e");
    for line in TABLE.lines().skip(1) {
        let fields: Vec<_> = line.split('\t').collect();
        let [_, name, rule, why] = fields[..] else {
            anyhow::bail!("not four columns: {line}");
        };
        ensure!(matches!(rule, "must" | "may") && !why.is_empty(), "{line}");
        // `CLAIM::FILE::TEST#PART`.
        let (test, _) = name.split_once('#').unwrap_or((name, ""));
        let (file, test) = test.rsplit_once("::").context("a test in no file")?;
        let source = root.join(file.replace("::", "/")).with_extension("rs");
        let source = fs::read_to_string(&source).with_context(|| line.to_owned())?;
        ensure!(
            source.contains(&format!("fn {test}(")),
            "no such test: {line}"
        );
    }
    Ok(())
}
