//! Symbolic links that sessions made, as of the moment that is looked at.
//!
//! A path is resolved after it was used. By then a link on it can be gone, or
//! lead elsewhere: what the sessions did themselves is known in its order.
//! Not here: links of others, which the file system is asked for.

use std::collections::HashMap;

/// Links that are remembered; past it all are forgotten, and what is gone stays unresolved.
const MAX_LINKS: usize = 4096;
/// Names that are remembered within one batch.
const MAX_FOUND: usize = 4096;

/// A file system's clock lags by a tick (ktime_get_coarse_real_ts64()): 10 ms at HZ=100.
const TICK_NS: i64 = 10_000_000;

/// A link of the file system.
#[derive(Clone, Debug)]
struct Found {
    target: Vec<u8>,
    /// When it came to be, or to this name (`st_ctime`), ns since 1970.
    changed_unix_ns: i64,
}

/// What is known of links.
#[derive(Debug, Default)]
pub(super) struct Links {
    made: HashMap<Vec<u8>, Vec<u8>>,
    /// What other names of this batch are: a link, or none.
    found: HashMap<Vec<u8>, Option<Found>>,
}

impl Links {
    /// Forgets what the file system said: called once a batch.
    pub(super) fn forget_found(&mut self) {
        self.found.clear();
    }

    /// A session made a link.
    pub(super) fn made(&mut self, link: &[u8], target: &[u8]) {
        if self.made.len() >= MAX_LINKS {
            self.made.clear();
        }
        self.made.insert(link.to_vec(), target.to_vec());
    }

    /// A session gave a file one more name: of a link, it is the same link.
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

    /// A session gave a name, and all below it, another; `exchange` the other way too.
    pub(super) fn renamed(&mut self, path: &[u8], new: &[u8], exchange: bool) {
        // What stood at the new name is gone.
        let back = self.take(new);
        let there = self.take(path);
        self.found.clear();
        self.put(new, there);
        if exchange {
            self.put(path, back);
        }
    }

    /// Takes the remembered links at and below a name out, by what follows the name.
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

    /// Where the link of this name led at a moment; `None` for whatever was no
    /// link then. One that may be younger counts for none: its name stays as
    /// it was written, and nothing is told of a file that was not meant.
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

/// What the name is now. Links of processes in procfs are no paths (proc(5)),
/// and "self" there is who asks.
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
