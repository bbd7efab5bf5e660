//! Mount points of file systems, for objects that a hook saw without their mount.
//!
//! Paths are those of the recorder's mount namespace, or of the process's own where
//! it has another one. There, under a root directory of its own, they begin at that
//! root.

use std::io::Read as _;

/// Most bytes that are read of a table of mounts: some thousands of lines. A process
/// that may mount can make it longer.
const TABLE_BYTES: u64 = 1 << 20;

/// A line of proc_pid_mountinfo(5).
#[derive(Clone, Debug, PartialEq, Eq)]
struct Mount {
    /// Device as stat(2) returns it.
    dev: u64,
    /// The mounted directory of the file system.
    root: Vec<u8>,
    point: Vec<u8>,
}

/// The mounts that a process sees.
#[derive(Clone, Debug)]
pub struct MountTable {
    mounts: Vec<Mount>,
    /// Whether they are those of another mount namespace than the recorder's.
    is_other: bool,
}

impl MountTable {
    /// Reads the table of a process, or the recorder's own where both have one namespace.
    /// `None` where the process is gone, or had other mounts than the recorder and is
    /// gone by now.
    pub fn of(pid: u32) -> Option<Self> {
        let namespace = |pid: &str| std::fs::read_link(format!("/proc/{pid}/ns/mnt"));
        let pid = pid.to_string();
        let is_other = match (namespace(&pid), namespace("self")) {
            (Ok(theirs), Ok(ours)) => theirs != ours,
            _ => false,
        };
        let whose = if is_other { &pid } else { "self" };
        let mut table = Vec::new();
        let file = std::fs::File::open(format!("/proc/{whose}/mountinfo")).ok()?;
        file.take(TABLE_BYTES).read_to_end(&mut table).ok()?;
        let mounts = table.split(|&byte| byte == b'\n').filter_map(Mount::of);
        Some(Self {
            mounts: mounts.collect(),
            is_other,
        })
    }

    /// Whether the paths are those of another mount namespace than the recorder's.
    pub fn is_other(&self) -> bool {
        self.is_other
    }

    /// The paths that lead to a file, through the mounts in their order. `dev` (as stat(2)
    /// returns it) and `inside` are the file system and the path in it.
    pub fn paths_of(&self, dev: u64, inside: &[u8]) -> Vec<Vec<u8>> {
        self.mounts
            .iter()
            .filter(|mount| mount.dev == dev)
            .filter_map(|mount| mount.path_of(inside))
            .collect()
    }
}

/// The paths by which a process can reach a file, through its mounts in their order.
/// `dev` (as stat(2) returns it) and `inside` are the file system and the path in it.
/// Empty where the process is gone and had other mounts than the recorder.
pub(super) fn paths_of(pid: u32, dev: u64, inside: &[u8]) -> Vec<Vec<u8>> {
    MountTable::of(pid).map_or_else(Vec::new, |table| table.paths_of(dev, inside))
}

impl Mount {
    /// `ID PARENT MAJOR:MINOR ROOT POINT …`.
    fn of(line: &[u8]) -> Option<Self> {
        let mut words = line.split(|&byte| byte == b' ').skip(2);
        let (major, minor) = std::str::from_utf8(words.next()?).ok()?.split_once(':')?;
        Some(Self {
            dev: libc::makedev(major.parse().ok()?, minor.parse().ok()?),
            root: unescaped(words.next()?),
            point: unescaped(words.next()?),
        })
    }

    fn path_of(&self, inside: &[u8]) -> Option<Vec<u8>> {
        let below = |path: &[u8]| path.strip_suffix(b"/").unwrap_or(path).to_vec();
        let rest = inside.strip_prefix(below(&self.root).as_slice())?;
        if !rest.is_empty() && !rest.starts_with(b"/") {
            return None;
        }
        let mut path = below(&self.point);
        if rest != b"/" {
            path.extend_from_slice(rest);
        }
        if path.is_empty() {
            path.push(b'/');
        }
        Some(path)
    }
}

/// Decodes a word of the table: spaces and some other bytes are a backslash and three
/// octal digits (`mangle()`, fs/proc_namespace.c).
fn unescaped(mut word: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(word.len());
    while let Some((&first, rest)) = word.split_first() {
        let digits = rest.first_chunk::<3>().filter(|_| first == b'\\');
        let octal = digits
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 8).ok());
        plain.push(octal.unwrap_or(first));
        word = if octal.is_some() { &rest[3..] } else { rest };
    }
    plain
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn mount(line: &str) -> Mount {
        Mount::of(line.as_bytes()).unwrap()
    }

    #[test]
    fn a_path_inside_is_one_below_the_mount_point() {
        let whole = mount("36 35 8:1 / /mnt\\040a rw - ext4 /dev/sda1 rw");
        assert_eq!(whole.dev, libc::makedev(8, 1));
        assert_eq!(whole.path_of(b"/x/y").unwrap(), b"/mnt a/x/y");
        assert_eq!(whole.path_of(b"/").unwrap(), b"/mnt a");
        let root = mount("1 0 0:30 / / rw - tmpfs none rw");
        assert_eq!(root.path_of(b"/x").unwrap(), b"/x");
        assert_eq!(root.path_of(b"/").unwrap(), b"/");
    }

    #[test]
    fn of_a_part_that_is_mounted_only_what_is_in_it_has_a_path() {
        let part = mount("37 35 8:1 /srv/data /data rw - ext4 /dev/sda1 rw");
        assert_eq!(part.path_of(b"/srv/data/f").unwrap(), b"/data/f");
        assert_eq!(part.path_of(b"/srv/data").unwrap(), b"/data");
        assert_eq!(part.path_of(b"/srv/database"), None);
    }

    #[test]
    fn a_mount_of_this_machine_leads_to_its_files() {
        use std::os::unix::fs::MetadataExt as _;
        let proc = std::fs::metadata("/proc").unwrap().dev();
        let paths = paths_of(std::process::id(), proc, b"/version");
        assert!(paths.contains(&b"/proc/version".to_vec()), "{paths:?}");
    }
}
