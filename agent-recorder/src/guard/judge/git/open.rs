//! Opens the repository of a work tree without believing it.
//!
//! gix opens it with isolated permissions and reduced trust: no environment, no
//! configuration but the repository's own, no includes, no excludes file that it names,
//! no program. What redirects (a link, a `.git` file, `core.worktree`) is followed only
//! where the other side points back: a forged pointer would judge a directory by
//! somebody else's index.
//!
//! Not here: what the repository holds (`repository`).

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use crate::guard::judge::bounded_read::read_bounded;
use crate::guard::judge::ground::outside;
use crate::guard::judge::loss::Fault;

/// Most bytes of a file that names a path (`.git`, `commondir`, `gitdir`).
const MOST_POINTER: u64 = 8 << 10;
/// Most bytes of a file that gix reads as a whole without a bound of its own.
const MOST_SMALL: u64 = 1 << 20;
/// Most bytes of packed-refs, which gix maps: 600,000 references.
const MOST_REFS: u64 = 64 << 20;

/// A repository that belongs to its work tree.
pub(super) struct Opened {
    pub(super) gix: gix::Repository,
    /// With the index and HEAD.
    pub(super) git_dir: PathBuf,
    /// With objects and references; equal to `git_dir` but in a linked work tree.
    pub(super) common_dir: PathBuf,
}

/// Opens the repository of `work_tree`, seen from `root`.
pub(super) fn open(work_tree: &Path, root: &Path) -> Result<Opened, Fault> {
    let dot_git = work_tree.join(".git");
    let found = fs::symlink_metadata(&dot_git).map_err(|source| Fault::Unreadable {
        path: dot_git.clone(),
        source,
    })?;
    let is_pointer = found.is_file();
    let git_dir = if is_pointer {
        pointed(&dot_git, work_tree, root, b"gitdir: ")?
    } else {
        dot_git.clone()
    };
    require_directory(&git_dir)?;
    let common_file = git_dir.join("commondir");
    let is_linked = fs::symlink_metadata(&common_file).is_ok();
    let common_dir = if is_linked {
        pointed(&common_file, &git_dir, root, b"")?
    } else {
        git_dir.clone()
    };
    let elsewhere = || Fault::Elsewhere {
        work_tree: work_tree.to_owned(),
    };
    if is_linked {
        // gix resolves the pointer itself, from the recorder's own root.
        let resolved = read_pointer(&common_file, b"")?;
        let is_seen_alike = resolved.is_relative() || root == Path::new("/");
        let back = pointed(&git_dir.join("gitdir"), &git_dir, root, b"")?;
        if !is_pointer || !is_seen_alike || !is_same(&back, &dot_git) {
            return Err(elsewhere());
        }
    }
    examine(&git_dir, &common_dir)?;
    let mut gix = gix::open::Options::isolated()
        .with(gix::sec::Trust::Reduced)
        .open_path_as_is(true)
        .open(&git_dir)
        .map_err(|error| fault(work_tree, &error))?
        .to_thread_local();
    let named = gix.config_snapshot().plumbing().raw_value("core.worktree");
    let named = named.ok().map(|value| {
        let value = Path::new(OsStr::from_bytes(&value)).to_owned();
        outside(root, &git_dir, &value)
    });
    // A submodule's `.git` file is proven by the work tree that its repository names, a
    // linked one by the pointer above. A linked work tree shares the main one's
    // configuration, where the name means the main one.
    let belongs = match named {
        _ if is_linked => true,
        Some(named) => is_same(&named, work_tree),
        None => !is_pointer,
    };
    if !belongs {
        return Err(elsewhere());
    }
    gix.set_workdir(work_tree.to_owned())
        .map_err(|error| fault(work_tree, &error))?;
    Ok(Opened {
        gix,
        git_dir,
        common_dir,
    })
}

/// gix's error as the judge's.
pub(super) fn fault(work_tree: &Path, error: &gix::Error) -> Fault {
    Fault::Repository {
        work_tree: work_tree.to_owned(),
        reason: format!("{error:#}"),
    }
}

/// Refuses what gix would follow out of the repository, wait for, or read without end.
fn examine(git_dir: &Path, common_dir: &Path) -> Result<(), Fault> {
    require_directory(common_dir)?;
    require_directory(&common_dir.join("objects"))?;
    require_directory(&common_dir.join("refs"))?;
    for (file, most) in [
        (git_dir.join("HEAD"), MOST_POINTER),
        (git_dir.join("config.worktree"), MOST_SMALL),
        (common_dir.join("config"), MOST_SMALL),
        (common_dir.join("info/exclude"), MOST_SMALL),
        (common_dir.join("objects/info/alternates"), MOST_SMALL),
        (common_dir.join("packed-refs"), MOST_REFS),
        (common_dir.join("refs/stash"), MOST_POINTER),
    ] {
        require_short_file(&file, most)?;
    }
    Ok(())
}

fn require_directory(path: &Path) -> Result<(), Fault> {
    match fs::symlink_metadata(path) {
        Ok(found) if found.is_dir() => Ok(()),
        Ok(_) => Err(Fault::WrongKind(path.to_owned())),
        Err(source) => Err(Fault::Unreadable {
            path: path.to_owned(),
            source,
        }),
    }
}

/// Accepts a regular file of bounded length, or none.
pub(super) fn require_short_file(path: &Path, most: u64) -> Result<(), Fault> {
    let found = match fs::symlink_metadata(path) {
        Ok(found) => found,
        Err(error) if is_absence(&error) => return Ok(()),
        Err(source) => {
            return Err(Fault::Unreadable {
                path: path.to_owned(),
                source,
            });
        }
    };
    if !found.is_file() {
        return Err(Fault::WrongKind(path.to_owned()));
    }
    if found.len() > most {
        return Err(Fault::TooLong {
            path: path.to_owned(),
            size: found.len(),
            most,
        });
    }
    Ok(())
}

/// ENOTDIR is absence as well: a directory on the way is a file now.
fn is_absence(error: &io::Error) -> bool {
    let kind = error.kind();
    kind == io::ErrorKind::NotFound || kind == io::ErrorKind::NotADirectory
}

fn read_pointer(file: &Path, prefix: &[u8]) -> Result<PathBuf, Fault> {
    let bytes = read_bounded(file, MOST_POINTER)?;
    let named = bytes.strip_prefix(prefix).map(<[u8]>::trim_ascii_end);
    let named = named.filter(|named| !named.is_empty());
    let named = named.ok_or_else(|| Fault::WrongKind(file.to_owned()))?;
    Ok(PathBuf::from(OsStr::from_bytes(named)))
}

/// The path that a pointer file names, as the recorder reaches it.
fn pointed(file: &Path, base: &Path, root: &Path, prefix: &[u8]) -> Result<PathBuf, Fault> {
    Ok(outside(root, base, &read_pointer(file, prefix)?))
}

/// Whether both paths lead to one object.
fn is_same(one: &Path, other: &Path) -> bool {
    let key = |path| fs::metadata(path).map(|found| (found.dev(), found.ino()));
    match (key(one), key(other)) {
        (Ok(one), Ok(other)) => one == other,
        _ => false,
    }
}
