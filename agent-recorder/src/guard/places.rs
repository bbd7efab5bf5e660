//! Directories of the policy in the kernel's form: device of the file system and
//! inode. They are looked up again at intervals, because they come and go.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use agent_recorder_abi::policy::{PLACE_ABOVE, PLACE_PROTECTED, PLACE_TEMPORARY, Place, PlaceKey};
use rustix::fs::{AtFlags, CWD, StatxFlags, statx};

use super::Policy;

/// Every directory of the policy that exists now. A protected directory stays
/// protected where it is also temporary.
pub fn resolve(policy: &Policy) -> HashMap<PlaceKey, Place> {
    let mounts = Mounts::read();
    let mut places = HashMap::new();
    let place = |kind, slot, limit| Place {
        kind,
        slot,
        limit,
        spare: 0,
    };
    for path in &policy.temporary {
        if let Some(key) = mounts.key_of(path) {
            places.insert(key, place(PLACE_TEMPORARY, 0, 0));
        }
    }
    for (path, _) in &policy.protected {
        let real = fs::canonicalize(path).unwrap_or_else(|_| path.clone());
        for above in real.ancestors().skip(1) {
            if let Some(key) = mounts.key_of(above) {
                places.entry(key).or_insert(place(PLACE_ABOVE, 0, 0));
            }
        }
    }
    for (slot, (path, limit)) in (0..).zip(&policy.protected) {
        if let Some(key) = mounts.key_of(path) {
            places.insert(key, place(PLACE_PROTECTED, slot, *limit));
        }
    }
    places
}

/// Keys of the programs' files.
pub fn programs(policy: &Policy) -> Vec<PlaceKey> {
    let mounts = Mounts::read();
    policy
        .programs
        .iter()
        .filter_map(|file| mounts.key_of(file))
        .collect()
}

/// Devices of file systems by mount. stat(2) returns another device on btrfs, where
/// each subvolume has one.
#[derive(Debug)]
pub struct Mounts(HashMap<u64, u32>);

impl Mounts {
    /// Reads the mounts of this process (proc_pid_mountinfo(5)); empty where they
    /// cannot be read.
    pub fn read() -> Self {
        let text = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        Self(text.lines().filter_map(parse).collect())
    }

    /// The key of the file at a path, after symbolic links; `None` where there is
    /// none.
    pub fn key_of(&self, path: &Path) -> Option<PlaceKey> {
        let wanted = StatxFlags::INO | StatxFlags::MNT_ID;
        let found = statx(CWD, path, AtFlags::empty(), wanted).ok()?;
        let of_stat = kernel_device(found.stx_dev_major, found.stx_dev_minor);
        Some(PlaceKey {
            ino: found.stx_ino,
            dev: self.0.get(&found.stx_mnt_id).copied().unwrap_or(of_stat),
            spare: 0,
        })
    }
}

/// `36 35 98:0 /mnt1 /mnt2 …`: the mount's id and its device.
fn parse(line: &str) -> Option<(u64, u32)> {
    let mut fields = line.split(' ');
    let id = fields.next()?.parse().ok()?;
    let (major, minor) = fields.nth(1)?.split_once(':')?;
    Some((id, kernel_device(major.parse().ok()?, minor.parse().ok()?)))
}

/// `MKDEV` (include/linux/kdev_t.h).
fn kernel_device(major: u32, minor: u32) -> u32 {
    major << 20 | minor
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use crate::config::{Guard, Protect};

    #[test]
    fn a_protected_path_and_what_is_above_it_are_found() {
        let directory = tempfile::tempdir().unwrap();
        let inner = directory.path().join("a/b");
        fs::create_dir_all(&inner).unwrap();
        let guard = Guard {
            builtin: false,
            protect: vec![Protect {
                path: inner.clone(),
                limit: 3,
            }],
            ..Guard::default()
        };
        let places = resolve(&Policy::of(&guard));
        let mounts = Mounts::read();
        let kind = |path: &Path| places.get(&mounts.key_of(path).unwrap()).map(|p| p.kind);
        assert_eq!(kind(&inner), Some(PLACE_PROTECTED));
        assert_eq!(kind(directory.path()), Some(PLACE_ABOVE));
        assert_eq!(kind(Path::new("/")), Some(PLACE_ABOVE));
    }
}
