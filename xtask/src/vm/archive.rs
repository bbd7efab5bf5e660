//! Writes an initramfs in the kernel's own format: cpio's "newc"
//! (Documentation/driver-api/early-userspace/buffer-format.rst). It contains no
//! device nodes, so that root is not needed.

use std::collections::BTreeSet;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

const DIRECTORY: u32 = 0o040_755;
const FILE: u32 = 0o100_644;
const PROGRAM: u32 = 0o100_755;
const LINK: u32 = 0o120_777;

/// An archive that is being written. The kernel unpacks several archives in one file,
/// each over the earlier ones.
#[derive(Debug, Default)]
pub(crate) struct Archive {
    bytes: Vec<u8>,
    directories: BTreeSet<Vec<u8>>,
    entries: u32,
}

impl Archive {
    /// Adds a directory and its parents.
    pub(crate) fn directory(&mut self, path: &Path) {
        let path = relative(path);
        let ends = path
            .iter()
            .enumerate()
            .filter(|(_, byte)| **byte == b'/')
            .map(|(at, _)| at)
            .chain([path.len()]);
        for end in ends.filter(|end| *end > 0) {
            let name = path[..end].to_vec();
            if self.directories.insert(name.clone()) {
                self.entry(&name, DIRECTORY, &[]);
            }
        }
    }

    /// Adds a readable file.
    pub(crate) fn file(&mut self, path: &Path, content: &[u8]) {
        self.place(path, FILE, content);
    }

    /// Adds an executable file.
    pub(crate) fn program(&mut self, path: &Path, content: &[u8]) {
        self.place(path, PROGRAM, content);
    }

    /// Adds a symbolic link.
    pub(crate) fn link(&mut self, path: &Path, target: &Path) {
        self.place(path, LINK, target.as_os_str().as_bytes());
    }

    /// Returns the archive with its trailer.
    pub(crate) fn finish(mut self) -> Vec<u8> {
        self.entry(b"TRAILER!!!", 0, &[]);
        self.bytes
    }

    fn place(&mut self, path: &Path, mode: u32, content: &[u8]) {
        if let Some(parent) = path.parent() {
            self.directory(parent);
        }
        self.entry(relative(path), mode, content);
    }

    fn entry(&mut self, name: &[u8], mode: u32, content: &[u8]) {
        self.entries += 1;
        let links = 1;
        // ino, mode, uid, gid, nlink, mtime, filesize, devmajor, devminor,
        // rdevmajor, rdevminor, namesize with its NUL, check.
        let fields = [
            self.entries as usize,
            mode as usize,
            0,
            0,
            links,
            0,
            content.len(),
            0,
            0,
            0,
            0,
            name.len() + 1,
            0,
        ];
        self.bytes.extend(b"070701");
        for field in fields {
            self.bytes.extend(format!("{field:08x}").into_bytes());
        }
        self.bytes.extend(name);
        self.bytes.push(0);
        self.align();
        self.bytes.extend(content);
        self.align();
    }

    fn align(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

/// The path relative to the root to which the kernel unpacks.
fn relative(path: &Path) -> &[u8] {
    path.strip_prefix("/")
        .unwrap_or(path)
        .as_os_str()
        .as_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(bytes: &[u8]) -> Vec<String> {
        let number = |at: usize| {
            let text = String::from_utf8_lossy(&bytes[at..at + 8]).into_owned();
            usize::from_str_radix(&text, 16).unwrap_or_default()
        };
        let mut found = Vec::new();
        let mut at = 0;
        while at < bytes.len() {
            assert_eq!(&bytes[at..at + 6], b"070701");
            let (size, length) = (number(at + 54), number(at + 94));
            let name = &bytes[at + 110..at + 110 + length - 1];
            found.push(String::from_utf8_lossy(name).into_owned());
            at = (at + 110 + length).next_multiple_of(4);
            at = (at + size).next_multiple_of(4);
        }
        found
    }

    #[test]
    fn directories_come_once_and_before_what_is_in_them() {
        let mut archive = Archive::default();
        archive.program(Path::new("/a/b/run"), b"12345");
        archive.file(Path::new("/a/b/text"), b"");
        archive.link(Path::new("/a/link"), Path::new("b"));
        assert_eq!(
            names(&archive.finish()),
            ["a", "a/b", "a/b/run", "a/b/text", "a/link", "TRAILER!!!"]
        );
    }

    #[test]
    fn archives_can_follow_each_other() {
        assert_eq!(Archive::default().finish().len() % 4, 0);
    }
}
