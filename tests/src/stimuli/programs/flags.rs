//! Sets a file's flags in every way, and reports each result.
//!
//! `stimulus flags FILE`. The flag restricts no other process: dump(8) leaves the file out.

use std::ffi::OsString;
use std::fs::File;
use std::os::fd::AsRawFd as _;

use agent_recorder_tests::stimuli::{Argument, Script, c_path, syscall};
use anyhow::Context as _;
use serde_json::json;

/// `FS_IOC_SETFLAGS` with `FS_NODUMP_FL`, and `FS_IOC_FSSETXATTR` with
/// `FS_XFLAG_NODUMP` (include/uapi/linux/fs.h).
const BY_IOCTL: [(i64, u32); 2] = [(0x4008_6602, 0x40), (0x401c_5820, 0x80)];
/// file_setattr(2), 6.17, and the size of its `struct file_attr`.
const FILE_SETATTR: libc::c_long = 469;
const ATTR_BYTES: i64 = 24;

pub(crate) fn run(words: &[OsString]) -> anyhow::Result<()> {
    let path = words.first().and_then(|path| path.to_str());
    let path = path.context("stimulus flags FILE")?;
    let mut script = Script::default();
    let file = File::open(path)?;
    for (command, flags) in BY_IOCTL {
        // Both begin with 32 bits of flags; what follows stays as it is by default.
        let argument = Argument::words(&[flags, 0, 0, 0, 0, 0, 0]).as_ptr() as i64;
        let fd = file.as_raw_fd().into();
        let set = syscall(libc::SYS_ioctl, [fd, command, argument, 0, 0, 0]);
        let fields =
            json!({"op": "ATTRIBUTES", "path": path, "flags": command, "attributes": flags});
        script.did("file", fields, set);
    }
    let (_, flags) = BY_IOCTL[1];
    let argument = Argument::words(&[flags, 0, 0, 0, 0, 0]).as_ptr() as i64;
    let (at, name) = (i64::from(libc::AT_FDCWD), c_path(path).as_ptr() as i64);
    let set = syscall(FILE_SETATTR, [at, name, argument, ATTR_BYTES, 0, 0]);
    let fields = json!({"op": "ATTRIBUTES", "path": path, "flags": 0, "attributes": flags});
    script.did("file", fields, set);
    Ok(script.tell()?)
}
