//! Directories that a tool fills: a throwaway name, with the tool's own file beside it.
//! The name alone says nothing: a person can have a home `build`.
//!
//! Not here: the tools and their names (`tools`), how far up a name may speak
//! (`ground`), and whether the repository tracks what lies below (`bench`).

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use super::settings::Settings;
use super::tools::{ROWS, Row};

/// Most names of a project directory that are compared with the patterns of markers.
const MOST_NAMES: usize = 4096;

/// How much a name proves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Proof {
    /// The tool's own name for what it makes.
    Name,
    /// Also a usual name for sources: the repository must ignore it.
    IfIgnored,
}

/// A directory that a tool fills.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Throwaway {
    /// The directory.
    pub(super) directory: PathBuf,
    pub(super) proof: Proof,
}

/// Most components of a name in the table.
const LONGEST_NAME: usize = 3;

/// Project directories and directories that were examined.
#[derive(Debug)]
pub(super) struct Throwaways<'a> {
    settings: &'a Settings,
    names: HashMap<PathBuf, Vec<OsString>>,
    known: HashMap<PathBuf, Option<Proof>>,
}

impl<'a> Throwaways<'a> {
    pub(super) fn new(settings: &'a Settings) -> Self {
        Self {
            settings,
            names: HashMap::new(),
            known: HashMap::new(),
        }
    }

    /// Whether a tool fills this directory. `admits` says whether a project's directory
    /// lies where a project may speak.
    pub(super) fn examine(
        &mut self,
        directory: &Path,
        admits: impl Fn(&Path) -> bool,
    ) -> Option<Throwaway> {
        let known = self.known.get(directory).copied();
        let proof = known.unwrap_or_else(|| {
            let proof = self.prove(directory, admits);
            self.known.insert(directory.to_owned(), proof);
            proof
        })?;
        Some(Throwaway {
            directory: directory.to_owned(),
            proof,
        })
    }

    fn prove(&mut self, directory: &Path, admits: impl Fn(&Path) -> bool) -> Option<Proof> {
        let mut best = None;
        for project in directory.ancestors().skip(1).take(LONGEST_NAME) {
            if !admits(project) {
                break;
            }
            let Ok(name) = directory.strip_prefix(project) else {
                break;
            };
            for row in ROWS {
                let is = |pattern: &&str| matches(pattern, name.as_os_str());
                let proof = if row.names.iter().any(is) {
                    Proof::Name
                } else if row.if_ignored.iter().any(is) {
                    Proof::IfIgnored
                } else {
                    continue;
                };
                if best != Some(Proof::Name) && self.has_marker(project, row) {
                    best = Some(proof);
                }
            }
        }
        best
    }

    fn has_marker(&mut self, project: &Path, row: &Row) -> bool {
        if let Some(beside) = row.beside {
            let found = fs::symlink_metadata(project.join(beside));
            if !found.is_ok_and(|found| found.is_dir()) {
                return false;
            }
        }
        row.markers.iter().any(|marker| {
            if marker.contains('*') {
                let names = self.names_in(project);
                let named: Vec<_> = names
                    .iter()
                    .filter(|name| matches(marker, name))
                    .map(|name| project.join(name))
                    .collect();
                named.iter().any(|marker| self.stands(marker))
            } else {
                self.stands(&project.join(marker))
            }
        })
    }

    /// A marker that is gone says that the project goes as a whole.
    fn stands(&self, marker: &Path) -> bool {
        // A project of Xcode is a directory; a link says nothing.
        let is_there = fs::symlink_metadata(marker).is_ok_and(|found| !found.is_symlink());
        is_there && !self.settings.is_planted(marker)
    }

    fn names_in(&mut self, project: &Path) -> &[OsString] {
        self.names.entry(project.to_owned()).or_insert_with(|| {
            // A directory that cannot be read has no marker.
            let entries = fs::read_dir(project).into_iter().flatten();
            let names = entries.take(MOST_NAMES).flatten();
            names.map(|entry| entry.file_name()).collect()
        })
    }
}

/// Whether an object of this name could prove that something beside it may go: a tool's
/// marker, a cache's tag, a repository.
pub fn may_prove(name: &OsStr) -> bool {
    name == ".git"
        || name == super::cache_tag::NAME
        || ROWS
            .iter()
            .flat_map(|row| row.markers)
            .any(|marker| matches(marker, name))
}

/// `*` stands for any bytes of one component.
fn matches(pattern: &str, name: &OsStr) -> bool {
    let mode = gix::glob::wildmatch::Mode::NO_MATCH_SLASH_LITERAL;
    gix::glob::wildmatch(pattern.into(), name.as_bytes().into(), mode)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn proof(project: &Path, name: &str) -> Option<Proof> {
        let settings = Settings::default();
        let mut throwaways = Throwaways::new(&settings);
        let found = throwaways.examine(&project.join(name), |at| at.starts_with(project));
        found.map(|found| found.proof)
    }

    #[test]
    fn each_name_needs_its_own_tools_marker_beside_it() {
        let directory = tempfile::tempdir().unwrap();
        for row in ROWS {
            for marker in row.markers {
                let project = directory.path().join("project");
                fs::create_dir_all(&project).unwrap();
                let sample = |pattern: &str| pattern.replace('*', "x");
                let names = row.names.iter().chain(row.if_ignored);
                for name in names.clone() {
                    assert_eq!(proof(&project, &sample(name)), None, "{name}");
                }
                if let Some(beside) = row.beside {
                    fs::create_dir(project.join(beside)).unwrap();
                }
                fs::write(project.join(sample(marker)), "").unwrap();
                for name in names {
                    let found = proof(&project, &sample(name));
                    assert!(found.is_some(), "{name} beside {marker}");
                }
                fs::remove_dir_all(&project).unwrap();
            }
        }
    }

    #[test]
    fn a_name_that_sources_have_too_proves_less() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("package.json"), "{}").unwrap();
        assert_eq!(proof(directory.path(), "node_modules"), Some(Proof::Name));
        assert_eq!(proof(directory.path(), "lib"), Some(Proof::IfIgnored));
        assert_eq!(proof(directory.path(), "src"), None);
    }

    #[test]
    fn a_marker_that_the_session_planted_proves_nothing() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("package.json"), "{}").unwrap();
        let settings = Settings {
            homes: vec![],
            planted: Some(std::sync::Arc::new(|path: &Path| {
                path.ends_with("package.json")
            })),
        };
        let mut throwaways = Throwaways::new(&settings);
        let found = throwaways.examine(&directory.path().join("dist"), |_| true);
        assert_eq!(found, None);
    }

    #[test]
    fn no_name_is_longer_than_the_search_reaches() {
        let names = ROWS
            .iter()
            .flat_map(|row| row.names.iter().chain(row.if_ignored));
        for name in names {
            assert!(Path::new(name).iter().count() <= LONGEST_NAME, "{name}");
        }
    }
}
