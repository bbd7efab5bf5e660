//! Properties of the documents: the README is short, and every link has a target.
//!
//! Not here: whether their statements are true.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use pulldown_cmark::{Event, Options, Parser, Tag, TagEnd};

/// A reader who decides in two minutes reads no more.
const README_BYTES: usize = 8192;

/// The links of a document, and its link targets.
#[derive(Debug, Default)]
struct Document {
    links: Vec<String>,
    /// Words in code type, outside blocks.
    code: Vec<String>,
    anchors: BTreeSet<String>,
}

impl Document {
    fn parse(text: &str) -> Self {
        let mut document = Self::default();
        let mut heading: Option<String> = None;
        for event in Parser::new_ext(text, Options::ENABLE_TABLES) {
            match event {
                Event::Start(Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. }) => {
                    document.links.push(dest_url.into_string());
                }
                Event::Start(Tag::Heading { .. }) => heading = Some(String::new()),
                Event::End(TagEnd::Heading(_)) => {
                    document
                        .anchors
                        .extend(heading.take().map(|words| anchor(&words)));
                }
                Event::Text(text) | Event::Code(text) if heading.is_some() => {
                    heading.get_or_insert_default().push_str(&text);
                }
                Event::Code(text) => document.code.push(text.into_string()),
                _ => {}
            }
        }
        document
    }
}

/// A heading's anchor, as GitHub makes it: small letters, hyphens for spaces, no punctuation.
fn anchor(heading: &str) -> String {
    heading
        .to_lowercase()
        .chars()
        .filter_map(|letter| match letter {
            ' ' => Some('-'),
            '-' | '_' => Some(letter),
            letter => letter.is_alphanumeric().then_some(letter),
        })
        .collect()
}

/// The links of a document that lead nowhere. Addresses of other hosts are not tried.
fn broken_links(file: &Path, text: &str) -> Result<Vec<String>> {
    let folder = file.parent().context("a file without a folder")?;
    let mut broken = Vec::new();
    for link in Document::parse(text).links {
        if link.contains("://") {
            continue;
        }
        let (path, anchor) = link.split_once('#').unwrap_or((&link, ""));
        let target = if path.is_empty() {
            file.to_owned()
        } else {
            folder.join(path)
        };
        let leads_somewhere = if anchor.is_empty() {
            target.exists()
        } else {
            fs::read_to_string(&target)
                .is_ok_and(|text| Document::parse(&text).anchors.contains(anchor))
        };
        if !leads_somewhere {
            broken.push(format!("{}: {link}", file.display()));
        }
    }
    Ok(broken)
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Every document: those at the root, and those below `docs`.
fn documents() -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut folders = vec![root().join("docs")];
    let mut entries: Vec<_> = fs::read_dir(root())?.collect::<Result<_, _>>()?;
    while let Some(folder) = folders.pop() {
        entries.extend(fs::read_dir(folder)?.collect::<Result<Vec<_>, _>>()?);
        folders.extend(
            entries
                .iter()
                .map(fs::DirEntry::path)
                .filter(|path| path.is_dir() && path.starts_with(root().join("docs"))),
        );
        found.extend(
            entries
                .drain(..)
                .map(|entry| entry.path())
                .filter(|path| path.extension().is_some_and(|it| it == "md")),
        );
    }
    found.sort();
    found.dedup();
    Ok(found)
}

#[test]
fn the_readme_is_read_in_two_minutes() -> Result<()> {
    let readme = fs::read_to_string(root().join("README.md"))?;
    assert!(
        readme.len() <= README_BYTES,
        "{} bytes, of {README_BYTES}",
        readme.len()
    );
    Ok(())
}

#[test]
fn every_link_between_documents_leads_somewhere() -> Result<()> {
    let documents = documents()?;
    assert!(documents.len() > 10, "{documents:?}");
    let mut broken = Vec::new();
    for file in documents {
        broken.extend(broken_links(&file, &fs::read_to_string(&file)?)?);
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
    Ok(())
}

/// The folders of the repository whose files documents name.
const FOLDERS: [&str; 6] = [
    "agent-recorder/",
    "agent-recorder-ebpf/",
    "docs/",
    "proto/",
    "tests/",
    "xtask/",
];

/// The name that documents give to a file that a reader makes.
const YET_TO_BE_MADE: &str = "NEW.rs";

#[test]
fn every_file_that_a_document_names_is_there() -> Result<()> {
    let mut absent = Vec::new();
    for file in documents()? {
        // The changelog may name files that are gone.
        if file.ends_with("CHANGELOG.md") {
            continue;
        }
        for word in Document::parse(&fs::read_to_string(&file)?).code {
            let path = word
                .split_once("::")
                .map_or(word.as_str(), |(path, _)| path);
            let is_path = FOLDERS.iter().any(|folder| path.starts_with(folder))
                && !path.contains([' ', '{', '*', '…']);
            if is_path && !path.ends_with(YET_TO_BE_MADE) && !root().join(path).exists() {
                absent.push(format!("{}: {path}", file.display()));
            }
        }
    }
    assert!(absent.is_empty(), "{}", absent.join("\n"));
    Ok(())
}

#[test]
fn a_link_to_no_file_or_no_heading_is_found() -> Result<()> {
    let here = tempfile::tempdir()?;
    let file = here.path().join("a.md");
    let text = "# The `exec` gate: why\n\n| |\n| --- |\n| [1](b.md) |\n\n\
                [2](#the-exec-gate-why) [3](#elsewhere) [4](a.md#the-exec-gate-why)\n\n\
                `[5](c.md)` [6](https://example.org/d.md)\n";
    fs::write(&file, text)?;
    let broken = broken_links(&file, text)?;
    let links: Vec<_> = broken
        .iter()
        .filter_map(|it| it.split_once(": "))
        .map(|(_, link)| link)
        .collect();
    assert_eq!(links, ["b.md", "#elsewhere"]);
    Ok(())
}
