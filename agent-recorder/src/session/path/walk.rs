//! Paths that the kernel programs walked, name by name from the leaf.
//!
//! Not here: callers' paths (`resolve`).

use agent_recorder_abi::event::WALKED_DETACHED;

/// The kernel's prefix for a path in a detached mount (getcwd(2)). It distinguishes
/// such a path from those that begin at a root.
const UNREACHABLE: &[u8] = b"(unreachable)";

/// A walked segment (names, leaf first, each ended by a NUL) as a path.
pub(in crate::session) fn from_walk(segment: &[u8]) -> Vec<u8> {
    let mut path = Vec::with_capacity(segment.len() + 1);
    let names = segment.strip_suffix(b"\0").unwrap_or(segment);
    for name in names
        .rsplit(|&byte| byte == 0)
        .filter(|name| !name.is_empty())
    {
        if name == WALKED_DETACHED {
            path.extend_from_slice(UNREACHABLE);
            continue;
        }
        path.push(b'/');
        path.extend_from_slice(name);
    }
    if path.is_empty() {
        path.push(b'/');
    }
    path
}

/// Converts a segment that was walked inside one file system, whose root has the name
/// `/` there.
pub(in crate::session) fn from_walk_inside(segment: &[u8]) -> Vec<u8> {
    if segment == b"/\0" {
        return b"/".to_vec();
    }
    from_walk(segment)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_walked_segment_is_turned_round() {
        assert_eq!(from_walk(b"passwd\0etc\0"), b"/etc/passwd");
        assert_eq!(from_walk(b"\0"), b"/");
        assert_eq!(from_walk(b"memfd:x\0"), b"/memfd:x");
        assert_eq!(from_walk(b"file\0/\0"), b"(unreachable)/file");
    }
}
