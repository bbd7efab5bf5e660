//! Files: the act of each call, and its effect on the paths of later calls.

use anyhow::{Context as _, bail};

use super::{Opened, Truth, argument, error_of, only};
use crate::oracle::programs::act::{Bytes, Deed, File};
use crate::oracle::programs::line::{self, Call, Outcome};
use crate::oracle::programs::tree::{Node, Thread};

/// open(2).
const O_ACCMODE: i64 = 0o3;
const O_CREAT: i64 = 0o100;
const O_EXCL: i64 = 0o200;
const O_TRUNC: i64 = 0o1000;
const O_NOFOLLOW: i64 = 0o400_000;
const O_TMPFILE: i64 = 0o20_000_000;
/// The flags of creat(2), which has none to give.
const CREAT: i64 = 0o1 | O_CREAT | O_TRUNC;
/// fcntl.h.
const AT_SYMLINK_NOFOLLOW: i64 = 0x100;
const AT_REMOVEDIR: i64 = 0x200;
const AT_SYMLINK_FOLLOW: i64 = 0x400;
/// renameat2(2).
const RENAME_EXCHANGE: i64 = 2;

impl Truth {
    /// Opens for reading are recorded once per program and file, or a session
    /// would consist of little else (`readOnly`, proto/agent_recorder/v1/record.proto).
    pub(super) fn opened(&mut self, doer: Thread, call: &Call) -> anyhow::Result<()> {
        let (path, flags, mode) = self.open_arguments(call)?;
        let error = error_of(call);
        let mut file = File {
            op: "OPEN".to_owned(),
            flags: flags.cast_unsigned(),
            error: error.clone(),
            ..File::default()
        };
        if flags & O_CREAT != 0 || flags & O_TMPFILE == O_TMPFILE {
            file.mode = mode;
        }
        let Outcome::Returned(descriptor) = &call.outcome else {
            // A link as the last name of an exclusive open is not followed (open(2), O_EXCL).
            let exclusive = O_CREAT | O_EXCL;
            let follow = flags & O_NOFOLLOW == 0
                && flags & exclusive != exclusive
                && error.as_deref() != Some("ENOENT");
            let (dirfd, path) = path;
            file.path = Bytes(self.located(doer, call, dirfd, path, follow)?);
            self.expected.push(only(doer.did(Deed::File(file))));
            return Ok(());
        };
        let opened = line::descriptor(descriptor)?.path.context("no path")?;
        let node = self.tree.get(&opened);
        if flags & O_TMPFILE == O_TMPFILE || flags & O_CREAT != 0 && node.is_none() {
            file.op = "CREATE".to_owned();
            if flags & O_TMPFILE != O_TMPFILE {
                self.tree.create(&opened);
            }
        }
        let reads_only = flags & (O_ACCMODE | O_CREAT | O_TRUNC) == 0;
        file.path = Bytes(opened.clone());
        let act = doer.did(Deed::File(file));
        if !reads_only {
            self.expected.push(only(act));
            return Ok(());
        }
        let which = match node {
            Some(Node::File(identity) | Node::Directory(identity)) => Opened::File(identity),
            Some(Node::Link(_)) | None => Opened::Path(opened),
        };
        let image = self.process(doer.pid)?.image;
        match self.read.get(&(doer.pid, image, which.clone())) {
            Some(&first) => self.expected[first].candidates.push(act),
            None => {
                self.read
                    .insert((doer.pid, image, which), self.expected.len());
                self.expected.push(only(act));
            }
        }
        Ok(())
    }

    /// Index of the path's argument, after that of its directory; flags; mode.
    fn open_arguments(&self, call: &Call) -> anyhow::Result<((Option<usize>, usize), i64, u32)> {
        let number = |index: usize| -> anyhow::Result<i64> {
            call.arguments
                .get(index)
                .map_or(Ok(0), |text| line::number(text))
        };
        let mode = |index| Ok::<_, anyhow::Error>(u32::try_from(number(index)?)?);
        Ok(match call.name.as_str() {
            "open" => ((None, 0), number(1)?, mode(2)?),
            "openat" => ((Some(0), 1), number(2)?, mode(3)?),
            "creat" => ((None, 0), CREAT, mode(1)?),
            _ => {
                let how = argument(call, 2)?;
                let of = |name| line::field(how, name).map_or(Ok(0), line::number);
                ((Some(0), 1), of("flags")?, u32::try_from(of("mode")?)?)
            }
        })
    }

    fn located(
        &mut self,
        doer: Thread,
        call: &Call,
        dirfd: Option<usize>,
        path: usize,
        follow: bool,
    ) -> anyhow::Result<Vec<u8>> {
        let path = line::string(argument(call, path)?)?;
        let base = match dirfd {
            None => self.process(doer.pid)?.cwd.clone(),
            Some(index) => {
                let directory = line::descriptor(argument(call, index)?)?;
                match directory.path {
                    Some(base) => base,
                    None if path.starts_with(b"/") => b"/".to_vec(),
                    // The descriptor is not open (EBADF): the path stays as given.
                    None => return Ok(path),
                }
            }
        };
        // A name in /proc/self/fd leads to the descriptor's file. A process's number stays
        // as given: only "self" is resolved at the return of the call
        // (agent-recorder-ebpf/src/programs/event/location.rs).
        let descriptor = path
            .strip_prefix(b"/proc/self/fd/")
            .and_then(|number| std::str::from_utf8(number).ok()?.parse().ok())
            .and_then(|number| self.descriptors.get(&(doer.pid, number)));
        Ok(match descriptor {
            Some(file) if follow => file.clone(),
            _ => self.tree.resolve(doer, &base, &path, follow),
        })
    }

    /// Every call that changes a file or a name.
    #[expect(clippy::too_many_lines, reason = "a table, one row a call")]
    pub(super) fn operation(&mut self, doer: Thread, call: &Call) -> anyhow::Result<File> {
        let error = error_of(call);
        // A name that leads nowhere is the name itself.
        let follows = error.as_deref() != Some("ENOENT");
        let number = |index: usize| line::number(argument(call, index)?);
        let flags = |index| Ok::<_, anyhow::Error>(number(index)?.cast_unsigned());
        let mode = |index| Ok::<_, anyhow::Error>(u32::try_from(number(index)?)?);
        let owner = |index| Ok::<_, anyhow::Error>(u32::try_from(number(index)?).ok());
        let string = |index| line::string(argument(call, index)?).map(Bytes);
        let file = |op: &str| File {
            op: op.to_owned(),
            error: error.clone(),
            ..File::default()
        };
        let own = |index| -> anyhow::Result<Bytes> {
            let descriptor = line::descriptor(argument(call, index)?)?;
            Ok(Bytes(descriptor.path.unwrap_or_default()))
        };
        let mut at = |dirfd, path, follow| self.located(doer, call, dirfd, path, follow).map(Bytes);
        Ok(match call.name.as_str() {
            "unlink" => File {
                path: at(None, 0, false)?,
                ..file("DELETE")
            },
            "unlinkat" => File {
                path: at(Some(0), 1, false)?,
                flags: flags(2)?,
                ..file(if number(2)? & AT_REMOVEDIR == 0 {
                    "DELETE"
                } else {
                    "RMDIR"
                })
            },
            "rmdir" => File {
                path: at(None, 0, false)?,
                ..file("RMDIR")
            },
            "mkdir" => File {
                path: at(None, 0, false)?,
                mode: mode(1)?,
                ..file("MKDIR")
            },
            "mkdirat" => File {
                path: at(Some(0), 1, false)?,
                mode: mode(2)?,
                ..file("MKDIR")
            },
            "mknod" => File {
                path: at(None, 0, false)?,
                mode: mode(1)?,
                ..file("CREATE")
            },
            "mknodat" => File {
                path: at(Some(0), 1, false)?,
                mode: mode(2)?,
                ..file("CREATE")
            },
            "rename" => File {
                path: at(None, 0, false)?,
                new_path: Some(at(None, 1, false)?),
                ..file("RENAME")
            },
            "renameat" | "renameat2" => File {
                path: at(Some(0), 1, false)?,
                new_path: Some(at(Some(2), 3, false)?),
                flags: if call.name == "renameat2" {
                    flags(4)?
                } else {
                    0
                },
                ..file("RENAME")
            },
            "link" => File {
                path: at(None, 0, false)?,
                new_path: Some(at(None, 1, false)?),
                ..file("LINK")
            },
            "linkat" => File {
                path: at(Some(0), 1, follows && number(4)? & AT_SYMLINK_FOLLOW != 0)?,
                new_path: Some(at(Some(2), 3, false)?),
                flags: flags(4)?,
                ..file("LINK")
            },
            "symlink" => File {
                path: at(None, 1, false)?,
                new_path: Some(string(0)?),
                ..file("SYMLINK")
            },
            "symlinkat" => File {
                path: at(Some(1), 2, false)?,
                new_path: Some(string(0)?),
                ..file("SYMLINK")
            },
            "chmod" => File {
                path: at(None, 0, follows)?,
                mode: mode(1)?,
                ..file("CHMOD")
            },
            "fchmodat" => File {
                path: at(Some(0), 1, follows)?,
                mode: mode(2)?,
                ..file("CHMOD")
            },
            "fchmod" => File {
                path: own(0)?,
                mode: mode(1)?,
                ..file("CHMOD")
            },
            "chown" | "lchown" => File {
                path: at(None, 0, follows && call.name == "chown")?,
                uid: owner(1)?,
                gid: owner(2)?,
                ..file("CHOWN")
            },
            "fchownat" => File {
                path: at(Some(0), 1, follows && number(4)? & AT_SYMLINK_NOFOLLOW == 0)?,
                uid: owner(2)?,
                gid: owner(3)?,
                flags: flags(4)?,
                ..file("CHOWN")
            },
            "fchown" => File {
                path: own(0)?,
                uid: owner(1)?,
                gid: owner(2)?,
                ..file("CHOWN")
            },
            "truncate" => File {
                path: at(None, 0, follows)?,
                length: flags(1)?,
                ..file("TRUNCATE")
            },
            "ftruncate" => File {
                path: own(0)?,
                length: flags(1)?,
                ..file("TRUNCATE")
            },
            "setxattr" | "lsetxattr" => File {
                path: at(None, 0, follows && call.name == "setxattr")?,
                xattr: string(1)?,
                flags: flags(4)?,
                ..file("XATTR")
            },
            "fsetxattr" => File {
                path: own(0)?,
                xattr: string(1)?,
                flags: flags(4)?,
                ..file("XATTR")
            },
            "removexattr" | "lremovexattr" => File {
                path: at(None, 0, follows && call.name == "removexattr")?,
                xattr: string(1)?,
                ..file("XATTR")
            },
            "fremovexattr" => File {
                path: own(0)?,
                xattr: string(1)?,
                ..file("XATTR")
            },
            "chdir" => File {
                path: at(None, 0, follows)?,
                ..file("CHDIR")
            },
            "fchdir" => File {
                path: own(0)?,
                ..file("CHDIR")
            },
            other => bail!("no program here is known to call {other}"),
        })
    }

    /// Applies a successful operation to the paths of later calls.
    pub(super) fn effect(&mut self, doer: Thread, file: &File, call: &Call) -> anyhow::Result<()> {
        let path = &file.path.0;
        let new = file.new_path.as_ref().map(|new| new.0.as_slice());
        match (file.op.as_str(), new) {
            ("DELETE" | "RMDIR", _) => self.tree.remove(path),
            ("MKDIR", _) => self.tree.make_directory(path),
            ("CREATE", _) => self.tree.create(path),
            ("SYMLINK", Some(target)) => self.tree.make_link(path, target),
            ("LINK", Some(new)) => self.tree.link(path, new),
            ("RENAME", Some(new))
                if line::number(call.arguments.get(4).map_or("0", String::as_str))?
                    & RENAME_EXCHANGE
                    != 0 =>
            {
                self.tree.exchange(path, new);
            }
            ("RENAME", Some(new)) => self.tree.rename(path, new),
            ("CHDIR", _) => self.process(doer.pid)?.cwd.clone_from(path),
            _ => {}
        }
        Ok(())
    }
}
