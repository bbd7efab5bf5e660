//! The tests that the list of faults names exist.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, ensure};

#[test]
fn each_test_that_the_list_of_faults_names_is_there() -> anyhow::Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let list = fs::read_to_string(root.join("docs/evidence/faults.md"))?;
    let named: Vec<_> = list
        .split('`')
        .filter_map(|word| word.split_once("::"))
        .filter(|(file, _)| file.ends_with(".rs"))
        .collect();
    ensure!(named.len() > 92, "{} tests are named", named.len());
    for (file, test) in named {
        let source = fs::read_to_string(root.join(file)).with_context(|| file.to_owned())?;
        let is_there = [format!("fn {test}("), format!("{test}: ")];
        assert!(
            is_there.iter().any(|it| source.contains(it)),
            "{file} has no {test}"
        );
    }
    Ok(())
}
