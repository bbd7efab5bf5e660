//! Callers' paths: symbolic links and `..` are resolved a moment after the act, by
//! the links at that time (`links`) as far as they are known.
//!
//! Not here: paths that the kernel walked (`walk`).

use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags, ResolveFlags};

use crate::session::links::Links;

/// Joins a caller's path to the directory that it starts from, without resolving
/// anything.
pub(in crate::session) fn join(base: &[u8], path: &[u8]) -> Vec<u8> {
    let mut joined = if base == b"/" {
        Vec::new()
    } else {
        base.to_vec()
    };
    for name in path
        .split(|&byte| byte == b'/')
        .filter(|name| !name.is_empty() && *name != b".")
    {
        joined.push(b'/');
        joined.extend_from_slice(name);
    }
    if joined.is_empty() {
        joined.push(b'/');
    }
    joined
}

/// Removes each `..` with the name before it.
fn without_parents(path: &[u8]) -> Vec<u8> {
    let mut kept: Vec<&[u8]> = Vec::new();
    for name in path
        .split(|&byte| byte == b'/')
        .filter(|name| !name.is_empty() && *name != b".")
    {
        if name == b".." {
            kept.pop();
        } else {
            kept.push(name);
        }
    }
    let mut out = Vec::with_capacity(path.len());
    for name in kept {
        out.push(b'/');
        out.extend_from_slice(name);
    }
    if out.is_empty() {
        out.push(b'/');
    }
    out
}

fn split_last(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|&byte| byte == b'/') {
        Some(0) => (b"/", &path[1..]),
        Some(at) => (&path[..at], &path[at + 1..]),
        None => (b"/", path),
    }
}

/// The process that used the path.
#[derive(Clone, Copy, Debug)]
pub(in crate::session) struct Whose<'a> {
    /// Root directory of the process; `None` when it is the recorder's own.
    pub(in crate::session) root: Option<&'a OwnedFd>,
    pub(in crate::session) pid: u32,
    pub(in crate::session) tid: u32,
    /// Time of the use, ns since 1970.
    pub(in crate::session) used_unix_ns: i64,
}

impl Whose<'_> {
    /// Whether this is the process's own link to its root (`/proc/PID/root`,
    /// proc(5)), and the root is the recorder's own.
    fn has_root_at(self, path: &[u8]) -> bool {
        let pid = self.pid;
        self.root.is_none() && path == format!("/proc/{pid}/root").as_bytes()
    }

    /// Replaces `/proc/self` and `/proc/thread-self` (proc(5)) by the process's
    /// numbers, because for the recorder they lead to itself. Under another root they
    /// stay: its procfs can be of another pid namespace.
    fn by_number(self, path: Vec<u8>) -> Vec<u8> {
        let Self { root, pid, tid, .. } = self;
        if !path.starts_with(b"/proc/") {
            return path;
        }
        let ours = [
            ("/proc/self", format!("/proc/{pid}")),
            ("/proc/thread-self", format!("/proc/{pid}/task/{tid}")),
        ];
        for (name, number) in ours {
            if root.is_none()
                && let Some(rest) = path.strip_prefix(name.as_bytes())
                && (rest.is_empty() || rest.starts_with(b"/"))
            {
                return [number.as_bytes(), rest].concat();
            }
        }
        path
    }
}

/// Bytes of a path before its last slash.
fn directory_length(path: &[u8]) -> usize {
    path.iter().rposition(|&byte| byte == b'/').unwrap_or(0)
}

/// Resolves callers' paths.
#[derive(Debug, Default)]
pub(in crate::session) struct Resolver {
    /// Symbolic links of sessions and of the file system.
    pub(in crate::session) links: Links,
}

/// Most links that are followed in a row, as in the kernel (MAXSYMLINKS,
/// include/linux/namei.h).
const MAX_FOLLOWED: usize = 40;

impl Resolver {
    /// The file that `path` named for a process, starting at `base`. `follow`
    /// resolves the last name, too.
    pub(in crate::session) fn resolve(
        &mut self,
        whose: Whose<'_>,
        base: &[u8],
        path: &[u8],
        follow: bool,
    ) -> Vec<u8> {
        let names_directory =
            path.ends_with(b"/") || path.ends_with(b"/.") || path.ends_with(b"..") || path == b".";
        let follow = follow || names_directory;
        match whose.root {
            None => self.walk(whose, base, path, follow),
            Some(root) => resolve_in(root, &join(base, path), path, follow),
        }
    }

    /// Walks name by name, as the kernel did, with each link as it was then.
    fn walk(&mut self, whose: Whose<'_>, base: &[u8], path: &[u8], follow: bool) -> Vec<u8> {
        let mut done = match path.first() {
            Some(b'/') => Vec::new(),
            _ => base.strip_suffix(b"/").unwrap_or(base).to_vec(),
        };
        let mut rest: Vec<Vec<u8>> = Vec::new();
        push_names(&mut rest, path);
        let mut followed = 0;
        while let Some(name) = rest.pop() {
            if name == b".." {
                done.truncate(directory_length(&done));
                continue;
            }
            done.push(b'/');
            done.extend_from_slice(&name);
            done = whose.by_number(done);
            if rest.is_empty() && !follow {
                break;
            }
            let target = if whose.has_root_at(&done) {
                b"/".to_vec()
            } else if let Some(target) = self.links.at(&done, whose.used_unix_ns) {
                target
            } else {
                continue;
            };
            followed += 1;
            if followed > MAX_FOLLOWED {
                continue;
            }
            let from = if target.starts_with(b"/") {
                0
            } else {
                directory_length(&done)
            };
            done.truncate(from);
            push_names(&mut rest, &target);
        }
        if done.is_empty() {
            done.push(b'/');
        }
        done
    }
}

/// Resolves a path under another root, by the present state of the file system there.
fn resolve_in(root: &OwnedFd, joined: &[u8], path: &[u8], follow: bool) -> Vec<u8> {
    if follow && let Some(whole) = real_path(root, joined) {
        return whole;
    }
    let relative_name = !path.starts_with(b"/") && !path.contains(&b'/') && path != b"..";
    if relative_name {
        return joined.to_vec();
    }
    let (directory, name) = split_last(joined);
    if name == b".." {
        return real_prefix(root, joined);
    }
    let mut resolved = real_prefix(root, directory);
    if resolved == b"/" {
        resolved.clear();
    }
    resolved.push(b'/');
    resolved.extend_from_slice(name);
    resolved
}

/// Puts the names of a path before the rest, which is stored last name first.
fn push_names(rest: &mut Vec<Vec<u8>>, path: &[u8]) {
    let names = path
        .split(|&byte| byte == b'/')
        .filter(|name| !name.is_empty() && *name != b".");
    rest.extend(names.rev().map(<[u8]>::to_vec));
}

/// Resolves the longest part of a path that exists, and leaves the rest as it is.
fn real_prefix(root: &OwnedFd, path: &[u8]) -> Vec<u8> {
    let mut existing = path;
    loop {
        if let Some(mut real) = real_path(root, existing) {
            real.extend_from_slice(&path[existing.len().min(path.len())..]);
            return without_parents(&real);
        }
        let (parent, _) = split_last(existing);
        if parent.len() >= existing.len() || parent == b"/" {
            return without_parents(path);
        }
        existing = parent;
    }
}

/// The kernel's name of the file at a path now. Links of processes in procfs are
/// left: they led elsewhere when the path was used.
fn real_path(root: &OwnedFd, path: &[u8]) -> Option<Vec<u8>> {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let opened = rustix::fs::openat2(root.as_fd(), path, flags, Mode::empty(), resolve);
    name_of(opened.ok()?.as_fd())
}

fn name_of(file: BorrowedFd<'_>) -> Option<Vec<u8>> {
    let mut link = *b"/proc/self/fd/\0\0\0\0\0\0\0\0\0\0\0\0";
    let mut rest = &mut link["/proc/self/fd/".len()..];
    std::io::Write::write_fmt(
        &mut rest,
        format_args!("{}", std::os::fd::AsRawFd::as_raw_fd(&file)),
    )
    .ok()?;
    let name = rustix::fs::readlink(
        std::ffi::CStr::from_bytes_until_nul(&link).ok()?,
        Vec::new(),
    )
    .ok()?
    .into_bytes();
    // d_path() adds " (deleted)" to the name of a file that was removed meanwhile.
    (name.starts_with(b"/") && !name.ends_with(b" (deleted)")).then_some(name)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use std::os::unix::ffi::OsStrExt as _;

    #[test]
    fn a_process_reaches_its_own_root_through_procfs() {
        let mut resolver = Resolver::default();
        let mut at = |path: &str| resolver.resolve(OTHER, b"/", path.as_bytes(), true);
        assert_eq!(at("/proc/self/root/no/such"), b"/no/such");
        assert_eq!(at("/proc/1/root/no/such"), b"/no/such");
        assert_eq!(at("/proc/2/root/no/such"), b"/proc/2/root/no/such");
    }

    #[test]
    fn links_in_the_middle_are_resolved_and_the_last_name_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let root = std::fs::canonicalize(dir.path()).unwrap();
        std::fs::create_dir(root.join("real")).unwrap();
        std::os::unix::fs::symlink("real", root.join("link")).unwrap();
        let base = root.as_os_str().as_bytes();
        let mut resolver = Resolver::default();
        let expected = root.join("real/gone");
        assert_eq!(
            resolver.resolve(OTHER, base, b"link/gone", false),
            expected.as_os_str().as_bytes()
        );
        assert_eq!(
            resolver.resolve(OTHER, base, b"link", false),
            root.join("link").as_os_str().as_bytes()
        );
        assert_eq!(
            resolver.resolve(OTHER, base, b"link", true),
            root.join("real").as_os_str().as_bytes()
        );
        assert_eq!(
            resolver.resolve(OTHER, base, b"real/../link/./gone", false),
            expected.as_os_str().as_bytes()
        );
    }

    /// A process other than this one.
    const OTHER: Whose<'static> = Whose {
        root: None,
        pid: 1,
        tid: 1,
        used_unix_ns: i64::MAX,
    };

    #[test]
    fn proc_self_is_the_process_that_acted_and_never_this_one() {
        let mut resolver = Resolver::default();
        let mut lead = |path: &str, follow| {
            let path = resolver.resolve(OTHER, b"/", path.as_bytes(), follow);
            String::from_utf8(path).unwrap()
        };
        for follow in [false, true] {
            assert_eq!(lead("/proc/self/gone", follow), "/proc/1/gone");
            assert_eq!(lead("/proc/self/fd/0", follow), "/proc/1/fd/0");
            assert_eq!(
                lead("/proc/thread-self/gone", follow),
                "/proc/1/task/1/gone"
            );
            let named = format!("/proc/{}/gone", std::process::id());
            assert_eq!(lead(&named, follow), named);
        }
        let folder = tempfile::tempdir().unwrap();
        let root = std::fs::canonicalize(folder.path()).unwrap();
        std::os::unix::fs::symlink("/proc/self", root.join("me")).unwrap();
        let through = root.join("me/gone").into_os_string().into_string().unwrap();
        assert_eq!(lead(&through, false), "/proc/1/gone");
    }

    #[test]
    fn what_became_a_link_afterwards_is_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let root = std::fs::canonicalize(dir.path()).unwrap();
        std::os::unix::fs::symlink("other", root.join("name")).unwrap();
        let about = std::fs::symlink_metadata(root.join("name")).unwrap();
        use std::os::unix::fs::MetadataExt as _;
        let made = about.ctime() * 1_000_000_000 + about.ctime_nsec();
        let lead = |used_unix_ns| {
            let whose = Whose {
                used_unix_ns,
                ..OTHER
            };
            let base = root.as_os_str().as_bytes();
            let path = Resolver::default().resolve(whose, base, b"name/x", false);
            String::from_utf8(path).unwrap()
        };
        assert!(lead(made - 1).ends_with("/name/x"));
        assert!(lead(made + 1_000_000_000).ends_with("/other/x"));
    }

    #[test]
    fn a_link_leads_where_it_led_when_it_was_used() {
        let dir = tempfile::tempdir().unwrap();
        let root = std::fs::canonicalize(dir.path()).unwrap();
        std::fs::create_dir(root.join("late")).unwrap();
        std::os::unix::fs::symlink("late", root.join("way")).unwrap();
        std::os::unix::fs::symlink(&root, root.join("old")).unwrap();
        let under = |name: &str| root.join(name).into_os_string().into_encoded_bytes();
        let base = root.as_os_str().as_bytes();
        let mut resolver = Resolver::default();
        // The session's link led elsewhere than the link of this name does now.
        resolver.links.made(&under("way"), b"early");
        assert_eq!(resolver.resolve(OTHER, base, b"/../x", false), b"/x");
        for path in ["way/file", "old/way/file", "way/x/../file", "./way//file"] {
            assert_eq!(
                resolver.resolve(OTHER, base, path.as_bytes(), false),
                under("early/file")
            );
        }
        assert_eq!(resolver.resolve(OTHER, base, b"way", true), under("early"));
        assert_eq!(resolver.resolve(OTHER, base, b"way", false), under("way"));
        resolver
            .links
            .renamed(&under("way"), &under("moved"), false);
        assert_eq!(
            resolver.resolve(OTHER, base, b"moved/x", false),
            under("early/x")
        );
        resolver.links.made(&under("dir/in"), b"../target");
        resolver
            .links
            .renamed(&under("dir"), &under("elsewhere"), false);
        assert_eq!(
            resolver.resolve(OTHER, base, b"elsewhere/in/x", false),
            under("target/x")
        );
        resolver
            .links
            .renamed(&under("file"), &under("moved"), false);
        assert_eq!(
            resolver.resolve(OTHER, base, b"moved", true),
            under("moved")
        );
        resolver.links.removed(&under("elsewhere/in"));
        assert_eq!(
            resolver.resolve(OTHER, base, b"way/y", false),
            under("late/y")
        );
    }

    #[test]
    fn what_does_not_exist_is_kept_as_it_was_written() {
        let mut resolver = Resolver::default();
        assert_eq!(
            resolver.resolve(OTHER, b"/", b"/no/such/../dir/file", false),
            b"/no/dir/file"
        );
    }
}
