//! Operations on files.

use serde_json::json;

use super::fields::{Object, bytes, error, object, path, truncated};
use super::message::Render;
use crate::record::{OpenFlags, proto};

impl Render for proto::File {
    fn json(&self) -> Object {
        let proto::File {
            op: _,
            path: first,
            new_path,
            flags,
            mode,
            dev,
            ino,
            replaced,
            error: errno,
            via: _,
            path_source: _,
            path_truncated,
            path_bytes,
            uid,
            gid,
            length,
            xattr,
            read_only,
            subvolume,
            attributes,
            new_path_truncated,
            new_path_bytes,
            xattr_truncated,
        } = self;
        let op = self.op();
        let mut out = object([("op", json!(op.as_str_name()))]);
        bytes(&mut out, "path", first);
        if !new_path.is_empty() {
            bytes(&mut out, "newPath", new_path);
        }
        out.insert("flags".into(), json!(flags));
        if matches!(
            op,
            proto::FileOp::Create | proto::FileOp::Mkdir | proto::FileOp::Chmod
        ) || *mode != 0
        {
            out.insert("mode".into(), json!(mode));
        }
        if *ino != 0 {
            out.insert("dev".into(), json!(dev));
            out.insert("ino".into(), json!(ino));
        }
        if let Some(replaced) = replaced {
            out.insert("replaced".into(), json!(replaced));
        }
        if let Some(uid) = uid {
            out.insert("uid".into(), json!(uid));
        }
        if let Some(gid) = gid {
            out.insert("gid".into(), json!(gid));
        }
        if matches!(op, proto::FileOp::Truncate | proto::FileOp::Device) {
            out.insert("length".into(), json!(length));
        }
        if !xattr.is_empty() {
            bytes(&mut out, "xattr", xattr);
            truncated(&mut out, "xattr", *xattr_truncated, 0);
        }
        if *subvolume != 0 {
            out.insert("subvolume".into(), json!(subvolume));
        }
        if op == proto::FileOp::Attributes {
            out.insert("attributes".into(), json!(attributes));
        }
        if *read_only {
            out.insert("readOnly".into(), json!(true));
        }
        error(&mut out, *errno);
        out.insert("via".into(), json!(self.via().as_str_name()));
        out.insert("pathSource".into(), json!(self.path_source().as_str_name()));
        truncated(&mut out, "path", *path_truncated, *path_bytes);
        truncated(&mut out, "newPath", *new_path_truncated, *new_path_bytes);
        out
    }

    fn line(&self) -> String {
        let mut line = format!(
            "{:<8} {}",
            self.op().as_str_name().to_lowercase(),
            path(&self.path, self.path_truncated, self.path_bytes)
        );
        if !self.new_path.is_empty() {
            let second = path(&self.new_path, self.new_path_truncated, self.new_path_bytes);
            line.push_str(&format!(" → {second}"));
        }
        match self.op() {
            proto::FileOp::Chmod => line.push_str(&format!(" mode {:o}", self.mode & 0o7777)),
            proto::FileOp::Device => line.push_str(&format!(" {} bytes discarded", self.length)),
            proto::FileOp::SubvolumeDelete if self.subvolume != 0 => {
                line.push_str(&format!(" number {}", self.subvolume));
            }
            proto::FileOp::Attributes => line.push_str(&format!(" {:#x}", self.attributes)),
            proto::FileOp::Truncate => line.push_str(&format!(" to {} bytes", self.length)),
            proto::FileOp::Xattr => {
                let name = path(&self.xattr, self.xattr_truncated, 0);
                line.push_str(&format!(" {name}"));
            }
            proto::FileOp::Rename if self.replaced == Some(true) => line.push_str(" (replaced)"),
            proto::FileOp::Open if OpenFlags(self.flags).truncates() => {
                line.push_str(" (truncated)")
            }
            proto::FileOp::Open if OpenFlags(self.flags).writes() => {
                line.push_str(" (for writing)")
            }
            _ => {}
        }
        line
    }

    fn errno(&self) -> u32 {
        self.error
    }
}
