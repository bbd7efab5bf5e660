//! An object that was counted against a session's budgets, as the judge is told of it.
//!
//! Not here: what it is judged by (`guard::judge`).

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};

use agent_recorder_abi::event::{CountedBody, Header};

use super::MountTable;
use super::path::from_walk_inside;
use super::translate::device;
use crate::bpf::CountedEvent;

/// A counted object.
#[derive(Clone, Debug)]
pub struct Counted {
    /// When it was counted, CLOCK_BOOTTIME ns.
    pub time: u64,
    /// The process that acted.
    pub pid: u32,
    /// Its state.
    pub body: CountedBody,
    /// Path within its file system; `None` where it is unknown, or cut.
    inside: Option<Vec<u8>>,
}

impl Counted {
    /// The object of an event.
    pub fn of(header: &Header, event: &CountedEvent<'_>) -> Self {
        let is_known = !event.path.is_empty() && event.body.is_cut == 0;
        Self {
            time: header.time,
            pid: header.pid,
            body: event.body,
            inside: is_known.then(|| from_walk_inside(event.path)),
        }
    }

    /// Whether it was a file inside a `.git`, as far as its name is known.
    pub fn is_of_repository(&self) -> bool {
        let inside = self.inside.as_deref().unwrap_or_default();
        let is_file = self.body.mode & libc::S_IFMT == libc::S_IFREG;
        is_file && inside.windows(6).any(|part| part == b"/.git/")
    }

    /// Path by which the recorder reaches the object's place, through these mounts of
    /// `pid`: the first that leads to the file system still, because a mount can hide
    /// another. `None` where the path is unknown or no mount leads there.
    pub fn place(&self, mounts: &MountTable, pid: u32) -> Option<PathBuf> {
        let device = device(self.body.dev);
        let paths = mounts.paths_of(device, self.inside.as_deref()?);
        let mut places = paths.into_iter().map(|path| {
            let path = PathBuf::from(OsString::from_vec(path));
            if mounts.is_other() {
                let below = path.strip_prefix("/").unwrap_or(&path);
                Path::new("/proc")
                    .join(pid.to_string())
                    .join("root")
                    .join(below)
            } else {
                path
            }
        });
        let first = places.next()?;
        if is_on(&first, device) {
            return Some(first);
        }
        // Of btrfs, stat(2) returns another device for each subvolume.
        Some(places.find(|place| is_on(place, device)).unwrap_or(first))
    }
}

/// Whether the nearest directory above a path that exists is on this device.
fn is_on(path: &Path, device: u64) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    path.ancestors()
        .skip(1)
        .find_map(|above| std::fs::symlink_metadata(above).ok())
        .is_some_and(|found| found.dev() == device)
}
