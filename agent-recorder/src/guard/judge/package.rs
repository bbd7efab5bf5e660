//! Files that an installed Debian package owns, from dpkg's lists.
//!
//! dpkg removes files before it rewrites their list, and unpacks an upgrade before it
//! replaces the old list (`pkg_remove_old_files` precedes `write_filelist_except` in
//! src/main/unpack.c), so a file that a transaction removes is still in a list. The names
//! that unpacking uses meanwhile belong to the file itself.
//!
//! A conffile is the administrator's, and so is a file that was changed after its
//! package was installed: files have the times of the package, which are older than the
//! list.
//!
//! Not here: rpm, whose database is in SQLite, and diverted files.

use std::collections::{HashMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::ErrorKind;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Instant;

use super::bounded_read::{open_regular, read_open};
use super::ground::root_of;
use super::loss::{Fault, Loss, Modified};
use super::settings::Settings;

/// dpkg's lists, below the root of an installation.
const INFO: &str = "var/lib/dpkg/info";
/// Most bytes of one list: the longest of Debian 13 has 6 MB.
const MOST_LIST: u64 = 16 << 20;
/// Most bytes of all lists of an installation.
const MOST_LISTS: u64 = 96 << 20;
/// Most files of the folder.
const MOST_ENTRIES: usize = 60_000;
/// Directories of the Filesystem Hierarchy Standard that are no package's.
const NO_PACKAGE: [&str; 9] = [
    "home", "root", "tmp", "srv", "mnt", "media", "run", "proc", "sys",
];
/// Directories that a merged /usr has as links into it.
const MERGED: [&str; 7] = ["bin", "sbin", "lib", "lib32", "lib64", "libx32", "libo32"];
/// What dpkg appends to a name while it unpacks (`DPKGTEMPEXT` and others, lib/dpkg/dpkg.h).
const SUFFIXES: [&str; 4] = [".dpkg-new", ".dpkg-tmp", ".dpkg-old", ".dpkg-dist"];

/// One loss that a package may own.
struct Claim {
    loss: usize,
    modified: Modified,
}

/// Names of packages by the number of the loss.
pub(super) type Owners = HashMap<usize, String>;

/// The packages that own losses.
pub(super) fn owners(
    losses: &[(usize, &Loss)],
    settings: &Settings,
    deadline: Instant,
    faults: &mut Vec<Fault>,
) -> Owners {
    let mut installations: HashMap<PathBuf, Vec<(usize, &Loss)>> = HashMap::new();
    let mut known = HashMap::new();
    for (number, loss) in losses {
        if let Some(root) = installation(&loss.path, settings, &mut known) {
            installations.entry(root).or_default().push((*number, loss));
        }
    }
    let mut owners = Owners::new();
    for (root, losses) in installations {
        if let Err(fault) = search(&root, &losses, deadline, &mut owners) {
            faults.push(fault);
        }
    }
    owners
}

/// The nearest directory above with dpkg's lists. Lists that another user than root wrote
/// are believed below another root only, where root may be a user namespace's.
fn installation(
    path: &Path,
    settings: &Settings,
    known: &mut HashMap<PathBuf, bool>,
) -> Option<PathBuf> {
    let seen_from = root_of(path);
    for directory in path.ancestors().skip(1) {
        let is_installation = *known.entry(directory.to_owned()).or_insert_with(|| {
            let info = directory.join(INFO);
            fs::symlink_metadata(&info).is_ok_and(|found| {
                let is_owned = found.uid() == 0 || seen_from != Path::new("/");
                found.is_dir() && is_owned && !settings.is_planted(&info)
            })
        });
        if is_installation {
            let first = path.strip_prefix(directory).ok()?.iter().next()?;
            let is_no_package = NO_PACKAGE.iter().any(|name| first == *name);
            return (!is_no_package).then(|| directory.to_owned());
        }
        if directory == seen_from {
            break;
        }
    }
    None
}

fn search(
    root: &Path,
    losses: &[(usize, &Loss)],
    deadline: Instant,
    owners: &mut Owners,
) -> Result<(), Fault> {
    let mut claims: HashMap<Vec<u8>, Vec<Claim>> = HashMap::new();
    for (number, loss) in losses {
        for name in names(root, &loss.path) {
            claims.entry(name).or_default().push(Claim {
                loss: *number,
                modified: loss.modified,
            });
        }
    }
    let info = root.join(INFO);
    let (lists, conffiles) = folder(&info)?;
    let mut kept_by_hand = HashSet::new();
    let mut budget = MOST_LISTS;
    for file in conffiles {
        let (bytes, _) = read(&info.join(file), &mut budget)?;
        for line in lines(&bytes).filter(|line| claims.contains_key(*line)) {
            kept_by_hand.insert(line.to_owned());
        }
    }
    claims.retain(|name, _| !kept_by_hand.contains(name));
    let sieve = Sieve::of(claims.keys());
    let wanted: HashSet<usize> = claims.values().flatten().map(|one| one.loss).collect();
    let mut found = 0;
    for file in lists {
        // dpkg writes a list once for a package: most searches end before the last one.
        if found == wanted.len() || Instant::now() >= deadline {
            break;
        }
        let (bytes, written) = match read(&info.join(&file), &mut budget) {
            Ok(read) => read,
            // dpkg has removed a package since the folder was read.
            Err(Fault::Unreadable { source, .. }) if source.kind() == ErrorKind::NotFound => {
                continue;
            }
            Err(fault) => return Err(fault),
        };
        let package = Path::new(&file).file_stem().unwrap_or_default();
        let owned = lines(&bytes).filter(|line| sieve.passes(line));
        for claim in owned.filter_map(|line| claims.get(line)).flatten() {
            if claim.modified <= written && !owners.contains_key(&claim.loss) {
                // A package's name is ASCII by Debian's policy; a forged one is shown
                // with replacements and compared with nothing.
                let name = package.to_string_lossy().into_owned();
                owners.insert(claim.loss, name);
                found += 1;
            }
        }
    }
    Ok(())
}

/// Lets lines pass that may be one of the names, by length and last bytes: hashing each
/// of 200,000 lines would take most of the time.
struct Sieve(Vec<bool>);

impl Sieve {
    const SLOTS: usize = 1 << 16;

    fn of<'a>(names: impl Iterator<Item = &'a Vec<u8>>) -> Self {
        let mut slots = vec![false; Self::SLOTS];
        for name in names {
            slots[Self::slot(name)] = true;
        }
        Self(slots)
    }

    fn passes(&self, line: &[u8]) -> bool {
        self.0[Self::slot(line)]
    }

    fn slot(line: &[u8]) -> usize {
        let tail = line.iter().rev().take(4);
        let tail = tail.fold(0_usize, |sum, byte| sum * 31 + usize::from(*byte));
        (tail * 131 + line.len()) % Self::SLOTS
    }
}

/// Lists and lists of conffiles, by name.
fn folder(info: &Path) -> Result<(Vec<OsString>, Vec<OsString>), Fault> {
    let unreadable = |source| Fault::Unreadable {
        path: info.to_owned(),
        source,
    };
    let (mut lists, mut conffiles) = (vec![], vec![]);
    for entry in fs::read_dir(info).map_err(unreadable)?.take(MOST_ENTRIES) {
        let name = entry.map_err(unreadable)?.file_name();
        let extension = Path::new(&name).extension();
        if extension == Some(OsStr::new("list")) {
            lists.push(name);
        } else if extension == Some(OsStr::new("conffiles")) {
            conffiles.push(name);
        }
    }
    Ok((lists, conffiles))
}

fn read(path: &Path, budget: &mut u64) -> Result<(Vec<u8>, Modified), Fault> {
    let (file, metadata) = open_regular(path)?;
    let bytes = read_open(path, &file, &metadata, MOST_LIST.min(*budget))?;
    *budget = budget.saturating_sub(metadata.len());
    let written = Modified {
        seconds: metadata.mtime(),
        nanoseconds: u32::try_from(metadata.mtime_nsec()).unwrap_or(0),
    };
    Ok((bytes, written))
}

fn lines(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    bytes.split(|byte| *byte == b'\n')
}

/// The names under which a list may have the path.
fn names(root: &Path, path: &Path) -> Vec<Vec<u8>> {
    let Ok(relative) = path.strip_prefix(root) else {
        return vec![];
    };
    let mut plain = relative.as_os_str().as_bytes();
    for suffix in SUFFIXES {
        plain = plain.strip_suffix(suffix.as_bytes()).unwrap_or(plain);
    }
    let plain = Path::new(OsStr::from_bytes(plain));
    let mut names = vec![plain.to_owned()];
    names.extend(source_of_bytecode(plain));
    let other_half: Vec<_> = names.iter().filter_map(|name| across_usr(name)).collect();
    names.extend(other_half);
    let absolute = |name: PathBuf| Path::new("/").join(name).into_os_string().into_vec();
    names.into_iter().map(absolute).collect()
}

/// `lib/x` for `usr/lib/x`, and the other way round: a list has the name that the package
/// was built with.
fn across_usr(name: &Path) -> Option<PathBuf> {
    let is_merged = |name: &Path| {
        let first = name.iter().next();
        first.is_some_and(|first| MERGED.iter().any(|merged| first == *merged))
    };
    match name.strip_prefix("usr") {
        Ok(below) => is_merged(below).then(|| below.to_owned()),
        Err(_) => is_merged(name).then(|| Path::new("usr").join(name)),
    }
}

/// `x.py` for `__pycache__/x.cpython-313.pyc`: a package's scripts compile its modules
/// after the installation, and remove the result.
fn source_of_bytecode(name: &Path) -> Option<PathBuf> {
    let folder = name.parent()?;
    if folder.file_name()? != "__pycache__" || name.extension()? != "pyc" {
        return None;
    }
    let module = name.file_name()?.as_bytes();
    let module = &module[..module.iter().position(|byte| *byte == b'.')?];
    let mut source = OsStr::from_bytes(module).to_owned();
    source.push(".py");
    Some(folder.parent()?.join(source))
}

#[cfg(test)]
#[path = "package_tests.rs"]
mod tests;
