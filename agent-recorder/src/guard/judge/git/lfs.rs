//! Files of Git LFS: the object store has a pointer, `.git/lfs/objects` the contents
//! (<https://github.com/git-lfs/git-lfs/blob/main/docs/spec.md>).

use std::fs;
use std::str;

use gix::ObjectId;

use super::open::Opened;

/// Most bytes of a pointer, by the specification.
const MOST_POINTER: u64 = 1024;

/// Whether the blob is a pointer to a file of this length that the store has.
pub(super) fn holds(opened: &Opened, blob: ObjectId, size: u64) -> bool {
    find(opened, blob, size).is_some()
}

fn find(opened: &Opened, blob: ObjectId, size: u64) -> Option<()> {
    let header = opened.gix.try_find_header(blob).ok()??;
    if header.size() > MOST_POINTER {
        return None;
    }
    let object = opened.gix.try_find_object(blob).ok()??;
    let text = str::from_utf8(&object.data).ok()?;
    let mut lines = text.lines();
    lines
        .next()?
        .strip_prefix("version https://git-lfs.github.com/spec/v1")?;
    let digest = lines.next()?.strip_prefix("oid sha256:")?;
    let is_digest = digest.len() == 64 && digest.bytes().all(|byte| byte.is_ascii_hexdigit());
    if !is_digest {
        return None;
    }
    let place = format!("lfs/objects/{}/{}/{digest}", &digest[..2], &digest[2..4]);
    let found = fs::symlink_metadata(opened.common_dir.join(place)).ok()?;
    (found.is_file() && found.len() == size).then_some(())
}
