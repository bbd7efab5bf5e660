//! The names under one folder at each moment of a trace: the live file system no longer
//! shows where a path led when it was used.
//!
//! Outside the folder the programs under test change nothing, so the live file system is read.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use anyhow::Context as _;

/// Links followed in a row (MAXSYMLINKS, include/linux/namei.h).
const MAX_FOLLOWED: usize = 40;

/// The thread that resolves a path: procfs differs for each (proc(5)).
#[derive(Clone, Copy, Debug)]
pub struct Thread {
    /// Its process.
    pub pid: u32,
    /// The thread.
    pub tid: u32,
}

/// The object of a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Node {
    /// A directory, by its identity.
    Directory(Identity),
    /// Any other file.
    File(Identity),
    /// A symbolic link with its target.
    Link(Vec<u8>),
}

/// A file, independent of its names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Identity {
    /// One that the live file system has: `st_dev`, `st_ino`.
    Live(u64, u64),
    /// One that was made during the trace.
    Made(u64),
}

/// All names.
#[derive(Debug)]
pub struct Tree {
    root: Vec<u8>,
    names: BTreeMap<Vec<u8>, Node>,
    made: u64,
}

impl Tree {
    /// The names under a folder as they are now.
    ///
    /// # Errors
    ///
    /// It cannot be read.
    pub fn of(root: &Path) -> anyhow::Result<Self> {
        let mut tree = Self {
            root: root.as_os_str().as_bytes().to_vec(),
            names: BTreeMap::new(),
            made: 0,
        };
        tree.take_in(root)?;
        Ok(tree)
    }

    fn take_in(&mut self, path: &Path) -> anyhow::Result<()> {
        let name = path.as_os_str().as_bytes();
        let node = live(name).with_context(|| format!("look at {}", path.display()))?;
        let is_directory = matches!(node, Node::Directory(_));
        self.names.insert(name.to_vec(), node);
        if is_directory {
            for entry in fs::read_dir(path)? {
                self.take_in(&entry?.path())?;
            }
        }
        Ok(())
    }

    fn holds(&self, path: &[u8]) -> bool {
        path.strip_prefix(self.root.as_slice())
            .is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
    }

    /// The object of a path without links in its middle.
    pub fn get(&self, path: &[u8]) -> Option<Node> {
        if self.holds(path) {
            self.names.get(path).cloned()
        } else {
            live(path)
        }
    }

    /// The destination of `path` from `base` for a thread. Links in its middle are
    /// followed, and the last name if `follow`. From the first missing name on, the rest
    /// stays as written.
    pub fn resolve(&self, whose: Thread, base: &[u8], path: &[u8], follow: bool) -> Vec<u8> {
        let Thread { pid, tid } = whose;
        let mut done: Vec<Vec<u8>> = Vec::new();
        let mut rest: Vec<Vec<u8>> = Vec::new();
        push_names(&mut rest, path);
        if !path.starts_with(b"/") {
            push_names(&mut rest, base);
        }
        let follow = follow || path.ends_with(b"/") || path.ends_with(b"/.");
        let mut followed = 0;
        while let Some(name) = rest.pop() {
            if name == b".." {
                done.pop();
                continue;
            }
            done.push(name);
            if rest.is_empty() && !follow {
                break;
            }
            let here = joined(&done);
            let target = match self.get(&here) {
                _ if here == b"/proc/self" => pid.to_string().into_bytes(),
                _ if here == b"/proc/thread-self" => format!("{pid}/task/{tid}").into_bytes(),
                Some(Node::Link(target)) if followed < MAX_FOLLOWED => target,
                _ => continue,
            };
            followed += 1;
            if target.starts_with(b"/") {
                done.clear();
            } else {
                done.pop();
            }
            push_names(&mut rest, &target);
        }
        joined(&done)
    }

    /// Adds a file at this path.
    pub fn create(&mut self, path: &[u8]) {
        let identity = self.identity();
        self.names.insert(path.to_vec(), Node::File(identity));
    }

    /// Adds a directory.
    pub fn make_directory(&mut self, path: &[u8]) {
        let identity = self.identity();
        self.names.insert(path.to_vec(), Node::Directory(identity));
    }

    /// Adds a symbolic link.
    pub fn make_link(&mut self, path: &[u8], target: &[u8]) {
        self.names
            .insert(path.to_vec(), Node::Link(target.to_vec()));
    }

    /// Adds one more name of a file.
    pub fn link(&mut self, path: &[u8], new: &[u8]) {
        if let Some(node) = self.get(path) {
            self.names.insert(new.to_vec(), node);
        }
    }

    /// Removes a name.
    pub fn remove(&mut self, path: &[u8]) {
        self.names.remove(path);
    }

    /// Renames a name, with all that is below it.
    pub fn rename(&mut self, old: &[u8], new: &[u8]) {
        // rename(2) leaves two names of one file as they are.
        if let (Some(Node::File(one)), Some(Node::File(other))) = (self.get(old), self.get(new))
            && one == other
        {
            return;
        }
        let moved = self.take(old);
        self.take(new);
        self.names.extend(
            moved
                .into_iter()
                .map(|(below, node)| ([new, &below].concat(), node)),
        );
    }

    /// Exchanges two names (RENAME_EXCHANGE, renameat2(2)).
    pub fn exchange(&mut self, one: &[u8], other: &[u8]) {
        for (names, to) in [(self.take(one), other), (self.take(other), one)] {
            let names = names.into_iter();
            self.names
                .extend(names.map(|(below, node)| ([to, &below].concat(), node)));
        }
    }

    /// Removes a name and all below it, and returns each by the rest of its name.
    fn take(&mut self, path: &[u8]) -> Vec<(Vec<u8>, Node)> {
        let below = |name: &[u8]| -> Option<Vec<u8>> {
            let rest = name.strip_prefix(path)?;
            (rest.is_empty() || rest.starts_with(b"/")).then(|| rest.to_vec())
        };
        let taken: Vec<_> = self
            .names
            .iter()
            .filter_map(|(name, node)| Some((name.clone(), below(name)?, node.clone())))
            .collect();
        taken
            .into_iter()
            .map(|(name, rest, node)| {
                self.names.remove(&name);
                (rest, node)
            })
            .collect()
    }

    fn identity(&mut self) -> Identity {
        self.made += 1;
        Identity::Made(self.made)
    }
}

fn live(path: &[u8]) -> Option<Node> {
    let path = Path::new(OsStr::from_bytes(path));
    let about = path.symlink_metadata().ok()?;
    let identity = Identity::Live(about.dev(), about.ino());
    Some(if about.is_dir() {
        Node::Directory(identity)
    } else if about.is_symlink() {
        let target = fs::read_link(path).ok()?;
        Node::Link(target.into_os_string().into_encoded_bytes())
    } else {
        Node::File(identity)
    })
}

/// Puts a path's names before the rest, which is kept last name first.
fn push_names(rest: &mut Vec<Vec<u8>>, path: &[u8]) {
    let names = path
        .split(|&byte| byte == b'/')
        .filter(|name| !name.is_empty() && *name != b".");
    rest.extend(names.rev().map(<[u8]>::to_vec));
}

fn joined(names: &[Vec<u8>]) -> Vec<u8> {
    if names.is_empty() {
        return b"/".to_vec();
    }
    names
        .iter()
        .flat_map(|name| [b"/".as_slice(), name].concat())
        .collect()
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failed unwrap fails the test")]
mod tests {
    use super::*;

    const ANYONE: Thread = Thread { pid: 7, tid: 8 };

    #[test]
    fn a_path_leads_where_it_led_at_that_moment() {
        let folder = tempfile::tempdir().unwrap();
        let root = fs::canonicalize(folder.path()).unwrap();
        fs::create_dir(root.join("real")).unwrap();
        std::os::unix::fs::symlink("real", root.join("link")).unwrap();
        let mut tree = Tree::of(&root).unwrap();
        let under = |name: &str| root.join(name).into_os_string().into_encoded_bytes();
        let base = under("");
        let lead =
            |tree: &Tree, path: &str, follow| tree.resolve(ANYONE, &base, path.as_bytes(), follow);
        assert_eq!(lead(&tree, "link/x/../y", false), under("real/y"));
        assert_eq!(lead(&tree, "link", false), under("link"));
        assert_eq!(lead(&tree, "link", true), under("real"));
        tree.make_directory(&under("other"));
        tree.create(&under("other/f"));
        tree.rename(&under("other"), &under("moved"));
        tree.remove(&under("link"));
        assert_eq!(lead(&tree, "link/y", false), under("link/y"));
        assert!(tree.get(&under("moved/f")).is_some());
        assert!(tree.get(&under("other/f")).is_none());
        assert_eq!(lead(&tree, "/proc/self/x", false), b"/proc/7/x");
        assert_eq!(
            lead(&tree, "/proc/thread-self/x", false),
            b"/proc/7/task/8/x"
        );
    }
}
