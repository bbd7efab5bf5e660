//! Every file of tests is compiled: the compiler reports no error for a file without
//! a `mod` line.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

#[test]
fn every_file_of_tests_is_a_module() -> anyhow::Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    assert!(sources(&root)?.is_empty(), "a test beside e2e");
    let mut claims = Vec::new();
    for claim in fs::read_dir(root.join("e2e"))? {
        let claim = claim?.path();
        if !claim.is_dir() {
            continue;
        }
        claims.push(stem(&claim));
        let listed = fs::read_to_string(claim.join("mod.rs"))?;
        for file in sources(&claim)? {
            let name = stem(&file);
            let is_listed = name == "mod" || listed.contains(&format!("\nmod {name};\n"));
            assert!(is_listed, "no module: {}", file.display());
        }
    }
    let main = fs::read_to_string(root.join("e2e/main.rs"))?;
    claims.retain(|claim: &String| !main.contains(&format!("\nmod {claim};\n")));
    assert!(claims.is_empty(), "main.rs names no {claims:?}");
    Ok(())
}

fn sources(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut sources = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension() == Some(OsStr::new("rs")) {
            sources.push(path);
        }
    }
    Ok(sources)
}

fn stem(path: &Path) -> String {
    let stem = path.file_stem().unwrap_or_default();
    stem.to_string_lossy().into_owned()
}
