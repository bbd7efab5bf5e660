//! The pages of docs/reference, and the guide's table of what the guard counts,
//! generated from the command line's definition, the configuration's types, the
//! protocol and the guard's criteria.
//!
//! `cargo xtask reference` writes them, and a test here compares the committed files.
//! Not here: the text about a command, a key or a field, which is a comment beside
//! its definition.

mod command_line;
mod configuration;
mod criteria;
mod json_names;
mod markdown;
mod records;
mod source;

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

/// A page of docs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// Its file's path below docs.
    pub name: &'static str,
    /// Markdown.
    pub text: String,
}

/// The first line of each page of docs/reference. HTML, so that it is not shown.
const NOTE: &str =
    "<!-- Made by `cargo xtask reference`; edit what it is made from instead. -->\n\n";

/// The repository's root.
fn root() -> &'static Path {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package.parent().unwrap_or(package)
}

/// Where the pages are.
pub fn folder() -> PathBuf {
    root().join("docs")
}

/// Makes every page.
///
/// # Errors
///
/// A source does not parse, or it uses a form that the page cannot show.
pub fn pages() -> Result<Vec<Page>> {
    let page = |name, text: String| Page {
        name,
        text: format!("{NOTE}{}\n", text.trim_end()),
    };
    Ok(vec![
        page("reference/command-line.md", command_line::page()?),
        page(
            "reference/configuration.md",
            configuration::page().context("make the page of the configuration")?,
        ),
        page(
            "reference/records.md",
            records::page().context("make the page of the records")?,
        ),
        Page {
            name: "guide.md",
            text: criteria::guide().context("make the guide's table of criteria")?,
        },
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_committed_pages_are_those_that_their_sources_make() -> Result<()> {
        for page in pages()? {
            let committed = std::fs::read_to_string(folder().join(page.name)).unwrap_or_default();
            let differs = committed
                .lines()
                .zip(page.text.lines())
                .position(|(committed, made)| committed != made);
            assert!(
                committed == page.text,
                "docs/{} is not what its sources make (line {}): run `cargo xtask reference`",
                page.name,
                differs.map_or(committed.lines().count(), |line| line) + 1,
            );
        }
        Ok(())
    }
}
