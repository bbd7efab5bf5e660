//! Symbolic links of sessions, as of the moment of an act.
//!
//! A path is resolved after it was used. By then a link on it can be gone, or lead
//! elsewhere; changes by sessions are known in their order.
//! Not here: links of other processes, which are read from the file system.

use std::collections::HashMap;

/// Most links that are remembered. Beyond it all are forgotten, and a removed link
/// stays unresolved.
const MAX_LINKS: usize = 4096;
/// Most names of the file system that are remembered within a batch.
const MAX_FOUND: usize = 4096;

/// Lag of a file system's clock, at most one tick (ktime_get_coarse_real_ts64()): 10
/// ms at HZ=100.
const TICK_NS: i64 = 10_000_000;

/// A link in the file system.
#[derive(Clone, Debug)]
struct Found {
    target: Vec<u8>,
    /// Change time, that of its creation or its last rename (`st_ctime`), ns since
    /// 1970.
    changed_unix_ns: i64,
}

/// Links of sessions and of the file system.
#[derive(Debug, Default)]
pub(super) struct Links {
    made: HashMap<Vec<u8>, Vec<u8>>,
    /// Other names of this batch: each a link, or none.
    found: HashMap<Vec<u8>, Option<Found>>,
}

impl Links {
    /// Forgets the answers of the file system; called once a batch.
    pub(super) fn forget_found(&mut self) {
        self.found.clear();
    }

    /// A session created a link.
    pub(super) fn made(&mut self, link: &[u8], target: &[u8]) {
        if self.made.len() >= MAX_LINKS {
            self.made.clear();
        }
        self.made.insert(link.to_vec(), target.to_vec());
    }

    /// A session gave a file another name. For a link this is the same link.
    pub(super) fn named(&mut self, path: &[u8], new: &[u8]) {
        if let Some(target) = self.made_at(path) {
            self.made(new, &target);
        }
    }

    /// A session removed a name.
    pub(super) fn removed(&mut self, path: &[u8]) {
        self.made.remove(path);
        self.found.remove(path);
    }

    /// A session renamed a file with everything below it; with `exchange` also the
    /// other way.
    pub(super) fn renamed(&mut self, path: &[u8], new: &[u8], exchange: bool) {
        // The rename replaced the file at the new name.
        let back = self.take(new);
        let there = self.take(path);
        self.found.clear();
        self.put(new, there);
        if exchange {
            self.put(path, back);
        }
    }

    /// Takes the remembered links at and below a name out, each with the rest of its
    /// path.
    fn take(&mut self, path: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)> {
        let below = |link: &Vec<u8>| {
            link.strip_prefix(path)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
        };
        self.made
            .extract_if(|link, _| below(link))
            .map(|(link, target)| (link[path.len()..].to_vec(), target))
            .collect()
    }

    fn put(&mut self, path: &[u8], links: Vec<(Vec<u8>, Vec<u8>)>) {
        let links = links.into_iter();
        self.made
            .extend(links.map(|(rest, target)| ([path, &rest].concat(), target)));
    }

    fn made_at(&self, path: &[u8]) -> Option<Vec<u8>> {
        self.made.get(path).cloned()
    }

    /// The target of the link of this name at a moment; `None` where there was no
    /// link. A link that may be younger counts as none: its name stays as it was
    /// written, so that no record names a file that was not meant.
    pub(super) fn at(&mut self, path: &[u8], used_unix_ns: i64) -> Option<Vec<u8>> {
        if let Some(target) = self.made_at(path) {
            return Some(target);
        }
        let found = match self.found.get(path) {
            Some(known) => known.clone(),
            None => {
                let found = look_at(path);
                if self.found.len() < MAX_FOUND {
                    self.found.insert(path.to_vec(), found.clone());
                }
                found
            }
        };
        let older = |found: &Found| found.changed_unix_ns.saturating_add(TICK_NS) <= used_unix_ns;
        found.filter(older).map(|found| found.target)
    }
}

/// The link in the file system now. Links of processes in procfs lead to no path
/// (proc(5)), and "self" there is the reader.
fn look_at(path: &[u8]) -> Option<Found> {
    let of_process = |rest: &[u8]| {
        rest.first().is_some_and(u8::is_ascii_digit)
            || [&b"self"[..], b"thread-self"].contains(&rest)
    };
    if path.strip_prefix(b"/proc/").is_some_and(of_process) {
        return None;
    }
    let target = rustix::fs::readlink(path, Vec::new()).ok()?.into_bytes();
    let about = rustix::fs::lstat(path).ok()?;
    let nanoseconds = i64::try_from(about.st_ctime_nsec).ok()?;
    Some(Found {
        target,
        changed_unix_ns: about.st_ctime.saturating_mul(1_000_000_000) + nanoseconds,
    })
}
