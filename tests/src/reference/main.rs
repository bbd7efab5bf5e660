//! Writes the pages of docs/reference, and the guide's table of what the guard counts: `cargo xtask reference`.

use std::fs;

use agent_recorder_tests::reference::{folder, pages};
use anyhow::{Context as _, Result};

fn main() -> Result<()> {
    let folder = folder();
    let reference = folder.join("reference");
    fs::create_dir_all(&reference).with_context(|| format!("make {}", reference.display()))?;
    for page in pages()? {
        let path = folder.join(page.name);
        if fs::read_to_string(&path).is_ok_and(|text| text == page.text) {
            continue;
        }
        fs::write(&path, page.text).with_context(|| format!("write {}", path.display()))?;
        println!("wrote {}", path.display());
    }
    Ok(())
}
