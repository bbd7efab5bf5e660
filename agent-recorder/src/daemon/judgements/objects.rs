//! Counted objects as the judge takes them: by the paths by which the recorder reaches
//! their places, and which they had before the session renamed anything.
//!
//! Not here: what holds them (`guard::judge`).

use std::collections::HashMap;
use std::path::Path;

use agent_recorder_abi::event::{COUNTED_CHANGED, COUNTED_REMOVED, COUNTED_REPLACED};

use crate::guard::judge::{Act, Loss, Modified, Object};
use crate::session::{Counted, MountTable, Renames};

/// The counted objects that have a path, and the same for the judge. `pid`: a process that
/// is there, for objects of one that is not.
pub(super) fn objects_of<'a>(
    counted: &'a [Counted],
    pid: u32,
    renames: &Renames,
) -> (Vec<&'a Counted>, Vec<Loss>) {
    let mut tables: HashMap<u32, Option<MountTable>> = HashMap::new();
    let mut objects = Vec::new();
    let mut places = Vec::new();
    for object in counted {
        let of_process = |tables: &mut HashMap<u32, Option<MountTable>>, pid: u32| {
            let table = tables.entry(pid).or_insert_with(|| MountTable::of(pid));
            table.as_ref().and_then(|table| object.place(table, pid))
        };
        let place = of_process(&mut tables, object.pid).or_else(|| of_process(&mut tables, pid));
        let Some(path) = place else {
            continue;
        };
        // An act that failed was taken back, and so is the object of a name that is there.
        if object.body.effect == COUNTED_REMOVED && is_there(&path, object.body.ino) {
            continue;
        }
        objects.push(object);
        places.push(Loss {
            inode: inode_of(&path, object.body.ino),
            path: renames.original(&path),
            name: path,
            act: match object.body.effect {
                COUNTED_REPLACED => Act::Replaced,
                COUNTED_CHANGED => Act::Changed,
                _ => Act::Removed,
            },
            object: match object.body.mode & libc::S_IFMT {
                libc::S_IFREG => Object::File,
                libc::S_IFDIR => Object::Directory,
                libc::S_IFLNK => Object::Link,
                _ => Object::Other,
            },
            size: object.body.size,
            modified: Modified {
                seconds: object.body.modified_s,
                nanoseconds: object.body.modified_ns,
            },
        });
    }
    (objects, places)
}

/// The inode's number as stat(2) returns it; 0 on an overlay, where it can be another than
/// the kernel's own (`ovl_map_dev_ino()`, fs/overlayfs/inode.c).
fn inode_of(path: &Path, ino: u64) -> u64 {
    /// `OVERLAYFS_SUPER_MAGIC` (include/uapi/linux/magic.h).
    const OVERLAY: i64 = 0x794c_7630;
    let above = path.ancestors().skip(1);
    let found = above.map(rustix::fs::statfs).find_map(Result::ok);
    if found.is_some_and(|found| found.f_type == OVERLAY) {
        0
    } else {
        ino
    }
}

fn is_there(path: &Path, ino: u64) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    std::fs::symlink_metadata(path).is_ok_and(|found| found.ino() == ino)
}
