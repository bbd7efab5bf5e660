//! Performs file and network operations through io_uring inside the given directory,
//! and reports each.
//!
//! `stimulus uring DIRECTORY [submit|workers|poll]`: the submitting thread does the
//! work, or the kernel's workers do (IOSQE_ASYNC), or its polling thread takes
//! the requests (IORING_SETUP_SQPOLL). `stimulus uring DIRECTORY unlink` deletes
//! every file of the directory.

use std::ffi::OsString;
use std::net::{SocketAddr, SocketAddrV4, TcpListener};
use std::os::fd::{AsRawFd as _, FromRawFd as _, IntoRawFd as _, OwnedFd};
use std::path::PathBuf;

use agent_recorder_tests::stimuli::{
    Argument, Outcome, Script, Who, c_path, named, sockaddr_in, syscall,
};
use anyhow::Context as _;
use io_uring::squeue::{Entry, Flags};
use io_uring::{IoUring, Probe, opcode, types};
use serde_json::{Value, json};

const CWD: types::Fd = types::Fd(libc::AT_FDCWD);
const ENTRIES: u32 = 64;
/// Names the first request that holds a socket; the next one has the next number.
const HELD: u64 = 77;

struct Stimulus {
    root: PathBuf,
    ring: IoUring,
    flags: Flags,
    /// Operations of this kernel's io_uring.
    probe: Probe,
    script: Script,
    /// Requests that wait on a socket.
    held: u64,
}

pub(crate) fn run(words: &[OsString]) -> anyhow::Result<()> {
    let mut words = words.iter();
    let root = PathBuf::from(words.next().context("stimulus uring DIRECTORY [MODE]")?);
    let mode = words.next().cloned().unwrap_or_default();
    let mut builder = IoUring::builder();
    if mode == "poll" {
        builder.setup_sqpoll(1000);
    }
    let ring = builder.build(ENTRIES)?;
    let mut probe = Probe::new();
    ring.submitter().register_probe(&mut probe)?;
    let mut stimulus = Stimulus {
        root,
        ring,
        probe,
        flags: if mode == "workers" {
            Flags::ASYNC
        } else {
            Flags::empty()
        },
        script: Script::default(),
        held: 0,
    };
    if mode == "unlink" {
        return stimulus.unlink_all();
    }
    stimulus.files()?;
    stimulus.attributes()?;
    stimulus.links()?;
    stimulus.removals()?;
    stimulus.sockets()?;
    stimulus.script.tell()?;
    Ok(())
}

impl Stimulus {
    fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    fn shown(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    /// Submits one request and waits for it.
    fn ask(&mut self, entry: Entry) -> anyhow::Result<Outcome> {
        // SAFETY: what the request points to is an `Argument`, which is never freed, or outlives this call.
        unsafe { self.ring.submission().push(&entry.flags(self.flags))? };
        self.ring.submit_and_wait(1)?;
        let done = self.ring.completion().next().context("a completion")?;
        anyhow::ensure!(done.user_data() == 0, "a held request ended: {done:?}");
        Ok(outcome_of(done.result()))
    }

    fn did(&mut self, kind: &str, fields: Value, outcome: Outcome) {
        // Which of the process's threads does it is the kernel's choice.
        let who = Who {
            tid: 0,
            ..Who::running()
        };
        self.script.did_as(who, kind, fields, outcome);
    }

    fn file(&mut self, op: &str, name: &str, more: Value, outcome: Outcome) {
        let mut fields = json!({"op": op, "path": self.shown(name), "via": "IO_URING"});
        if let (Some(fields), Some(more)) = (fields.as_object_mut(), more.as_object()) {
            fields.extend(more.clone());
        }
        self.did("file", fields, outcome);
    }

    fn close(&mut self, opened: Outcome) -> anyhow::Result<()> {
        if let Ok(fd) = opened {
            let closed = self.ask(opcode::Close::new(types::Fd(i32::try_from(fd)?)).build())?;
            closed.map_err(anyhow::Error::msg)?;
        }
        Ok(())
    }

    fn create(&mut self, name: &str) -> anyhow::Result<Outcome> {
        let path = c_path(self.path(name));
        let flags = libc::O_CREAT | libc::O_RDWR;
        let entry = opcode::OpenAt::new(CWD, path.as_ptr().cast())
            .flags(flags)
            .mode(0o640);
        let opened = self.ask(entry.build())?;
        let more = json!({"flags": flags, "mode": 0o640});
        self.file("CREATE", name, more, opened.map(|_| 0));
        Ok(opened)
    }

    fn files(&mut self) -> anyhow::Result<()> {
        let opened = self.create("by_openat")?;
        // IORING_OP_FTRUNCATE exists since 6.9.
        if let Ok(fd) = opened
            && self.probe.is_supported(opcode::Ftruncate::CODE)
        {
            let cut =
                self.ask(opcode::Ftruncate::new(types::Fd(i32::try_from(fd)?), 77).build())?;
            self.file("TRUNCATE", "by_openat", json!({"length": 77}), cut);
        }
        self.close(opened)?;
        let path = c_path(self.path("by_openat2"));
        let how = types::OpenHow::new()
            .flags((libc::O_CREAT | libc::O_WRONLY) as u64)
            .mode(0o600);
        let opened =
            self.ask(opcode::OpenAt2::new(CWD, path.as_ptr().cast(), &raw const how).build())?;
        self.file(
            "CREATE",
            "by_openat2",
            json!({"mode": 0o600}),
            opened.map(|_| 0),
        );
        self.close(opened)?;
        let path = c_path(self.path("by_openat"));
        let opened = self.ask(
            opcode::OpenAt::new(CWD, path.as_ptr().cast())
                .flags(libc::O_RDWR | libc::O_TRUNC)
                .build(),
        )?;
        let more = json!({"flags": libc::O_RDWR | libc::O_TRUNC});
        self.file("OPEN", "by_openat", more, opened.map(|_| 0));
        self.close(opened)?;
        self.open_into_slot()?;
        let path = c_path(self.path("absent"));
        let failed = self.ask(opcode::OpenAt::new(CWD, path.as_ptr().cast()).build())?;
        self.file("OPEN", "absent", json!({}), failed);
        for name in ["d1", "d2", "d1"] {
            let path = c_path(self.path(name));
            let entry = opcode::MkDirAt::new(CWD, path.as_ptr().cast()).mode(0o755);
            let made = self.ask(entry.build())?;
            self.file("MKDIR", name, json!({"mode": 0o755}), made);
        }
        Ok(())
    }

    /// The file goes to a slot of the ring, and the result is no descriptor. Sparse tables
    /// exist since 5.19.
    fn open_into_slot(&mut self) -> anyhow::Result<()> {
        if self.ring.submitter().register_files_sparse(4).is_err() {
            return Ok(());
        }
        let path = c_path(self.path("by_openat"));
        let slot = types::DestinationSlot::try_from_slot_target(1)
            .map_err(|slot| anyhow::anyhow!("slot {slot}"))?;
        let entry = opcode::OpenAt::new(CWD, path.as_ptr().cast())
            .flags(libc::O_WRONLY)
            .file_index(Some(slot));
        let opened = self.ask(entry.build())?;
        self.file(
            "OPEN",
            "by_openat",
            json!({"flags": libc::O_WRONLY}),
            opened,
        );
        self.ring.submitter().unregister_files()?;
        Ok(())
    }

    fn attributes(&mut self) -> anyhow::Result<()> {
        let (name, value) = (c_path("user.agent"), Argument::new(b"x"));
        let path = c_path(self.path("by_openat"));
        let entry = opcode::SetXattr::new(
            name.as_ptr().cast(),
            value.as_ptr().cast(),
            path.as_ptr().cast(),
            1,
        );
        let set = self.ask(entry.build())?;
        self.file("XATTR", "by_openat", json!({"xattr": "user.agent"}), set);
        let opened = self.create("with_xattr")?;
        if let Ok(fd) = opened {
            let fd = types::Fd(i32::try_from(fd)?);
            let entry = opcode::FSetXattr::new(fd, name.as_ptr().cast(), value.as_ptr().cast(), 1);
            let set = self.ask(entry.build())?;
            self.file("XATTR", "with_xattr", json!({"xattr": "user.agent"}), set);
        }
        self.close(opened)
    }

    fn links(&mut self) -> anyhow::Result<()> {
        let (from, to) = (c_path(self.path("by_openat")), c_path(self.path("hard")));
        let entry = opcode::LinkAt::new(CWD, from.as_ptr().cast(), CWD, to.as_ptr().cast());
        let linked = self.ask(entry.build())?;
        self.file(
            "LINK",
            "by_openat",
            json!({"newPath": self.shown("hard")}),
            linked,
        );
        let (target, link) = (c_path("by_openat"), c_path(self.path("soft")));
        let entry = opcode::SymlinkAt::new(CWD, target.as_ptr().cast(), link.as_ptr().cast());
        let linked = self.ask(entry.build())?;
        self.file("SYMLINK", "soft", json!({"newPath": "by_openat"}), linked);
        for (from, to, flags) in [
            ("hard", "d1/moved", 0),
            ("d1/moved", "by_openat2", libc::RENAME_EXCHANGE),
            ("d1/moved", "by_openat2", libc::RENAME_NOREPLACE),
            ("absent", "never", 0),
        ] {
            let (old, new) = (c_path(self.path(from)), c_path(self.path(to)));
            let entry = opcode::RenameAt::new(CWD, old.as_ptr().cast(), CWD, new.as_ptr().cast())
                .flags(flags);
            let moved = self.ask(entry.build())?;
            self.file("RENAME", from, json!({"newPath": self.shown(to)}), moved);
        }
        Ok(())
    }

    fn removals(&mut self) -> anyhow::Result<()> {
        // Relative to a descriptor.
        let directory = std::fs::File::open(self.path("d1"))?;
        let fields = json!({"op": "OPEN", "path": self.shown("d1"), "via": "SYSCALL"});
        self.did("file", fields, Ok(0));
        let name = c_path("../d1/moved");
        let fd = types::Fd(directory.as_raw_fd());
        let removed = self.ask(opcode::UnlinkAt::new(fd, name.as_ptr().cast()).build())?;
        self.file("DELETE", "d1/moved", json!({}), removed);
        for (name, flags, op) in [
            ("soft", 0, "DELETE"),
            ("absent", 0, "DELETE"),
            ("d2", 0, "DELETE"),
            ("d2", libc::AT_REMOVEDIR, "RMDIR"),
            ("d2", libc::AT_REMOVEDIR, "RMDIR"),
        ] {
            let path = c_path(self.path(name));
            let entry = opcode::UnlinkAt::new(CWD, path.as_ptr().cast()).flags(flags);
            let removed = self.ask(entry.build())?;
            self.file(op, name, json!({}), removed);
        }
        Ok(())
    }

    fn network(&mut self, op: &str, fields: Value, outcome: Outcome) {
        let mut line = json!({"op": op, "transport": "TCP", "via": "IO_URING"});
        if let (Some(line), Some(fields)) = (line.as_object_mut(), fields.as_object()) {
            line.extend(fields.clone());
        }
        self.did("network", line, outcome);
    }

    fn sockets(&mut self) -> anyhow::Result<()> {
        let listener = tcp_socket()?;
        let fd = types::Fd(listener.as_raw_fd());
        let any = sockaddr_in(SocketAddrV4::new([127, 0, 0, 1].into(), 0));
        let size = size_of::<libc::sockaddr_in>() as u32;
        // IORING_OP_BIND and IORING_OP_LISTEN exist since 6.11.
        let by_ring = self.probe.is_supported(opcode::Bind::CODE)
            && self.probe.is_supported(opcode::Listen::CODE);
        let via = if by_ring { "IO_URING" } else { "SYSCALL" };
        let bound = if by_ring {
            self.ask(opcode::Bind::new(fd, any.as_ptr().cast(), size).build())?
        } else {
            let arguments = [fd.0.into(), any.as_ptr() as i64, size.into(), 0, 0, 0];
            syscall(libc::SYS_bind, arguments)
        };
        let listener = TcpListener::from(listener);
        let SocketAddr::V4(address) = listener.local_addr()? else {
            anyhow::bail!("not an IPv4 address");
        };
        let here = address.to_string();
        self.network("BIND", json!({"local": here, "via": via}), bound);
        let listening = if by_ring {
            self.ask(opcode::Listen::new(fd, 8).build())?
        } else {
            syscall(libc::SYS_listen, [fd.0.into(), 8, 0, 0, 0, 0])
        };
        self.network("LISTEN", json!({"local": here, "via": via}), listening);
        let client = tcp_socket()?;
        let to = sockaddr_in(address);
        let entry = opcode::Connect::new(types::Fd(client.as_raw_fd()), to.as_ptr().cast(), size);
        let connected = self.ask(entry.build())?;
        let client = std::net::TcpStream::from(client);
        let there = client.local_addr()?.to_string();
        self.network("CONNECT", json!({"local": there, "peer": here}), connected);
        let entry = opcode::Accept::new(fd, std::ptr::null_mut(), std::ptr::null_mut());
        let accepted = self.ask(entry.build())?;
        self.network(
            "ACCEPT",
            json!({"local": here, "peer": there}),
            accepted.map(|_| 0),
        );
        let server = accepted.map_err(anyhow::Error::msg)?;
        let payload = Argument::new(&[7; 100]);
        let entry = opcode::Send::new(types::Fd(client.as_raw_fd()), payload.as_ptr(), 100);
        let sent = self.ask(entry.build())?;
        anyhow::ensure!(sent == Ok(100), "{sent:?}");
        let (client, listener) = (OwnedFd::from(client), OwnedFd::from(listener));
        // Two requests outlive the close of both descriptors.
        let buffer = Argument::new(&[0; 100]);
        let fd = types::Fd(client.as_raw_fd());
        self.hold(opcode::Recv::new(fd, buffer.as_ptr().cast_mut(), 100).build())?;
        let fd = types::Fd(listener.as_raw_fd());
        self.hold(opcode::PollAdd::new(fd, libc::POLLIN as u32).build())?;
        let server = i32::try_from(server)?;
        // The ring closes one descriptor of the server, and close(2) the last one.
        let mut copy = Some(duplicate(server)?);
        for (fd, local, peer, bytes) in [
            (client.into_raw_fd(), &there, Some(&here), (100, 0)),
            (listener.into_raw_fd(), &here, None, (0, 0)),
            (server, &here, Some(&there), (0, 0)),
        ] {
            if fd == server {
                self.let_go()?;
            }
            self.close(Ok(fd.into()))?;
            let mut fields =
                json!({"local": local, "bytesSent": bytes.0, "bytesReceived": bytes.1});
            if let Some(peer) = peer {
                fields["peer"] = json!(peer);
            }
            if fd == server {
                drop(copy.take());
                fields["via"] = json!("SYSCALL");
            }
            self.network("CLOSE", fields, Ok(0));
        }
        Ok(())
    }

    /// A request that never completes holds its socket after the close of the descriptor.
    /// It has no IOSQE_ASYNC: a worker would look the descriptor up later.
    fn hold(&mut self, waits: Entry) -> anyhow::Result<()> {
        let waits = waits.user_data(HELD + self.held);
        // SAFETY: what it points to is an `Argument`, which is never freed.
        unsafe { self.ring.submission().push(&waits)? };
        self.ring.submit()?;
        self.held += 1;
        Ok(())
    }

    /// Cancels the held requests, and waits for all completions.
    fn let_go(&mut self) -> anyhow::Result<()> {
        let count = std::mem::take(&mut self.held);
        for held in HELD..HELD + count {
            // SAFETY: the request has no pointer.
            unsafe {
                let entry = opcode::AsyncCancel::new(held).build();
                self.ring.submission().push(&entry)?;
            }
        }
        let mut answers = 0;
        while answers < 2 * count {
            self.ring.submit_and_wait(1)?;
            answers += self.ring.completion().count() as u64;
        }
        Ok(())
    }

    /// Deletes many files with one system call for each batch.
    fn unlink_all(mut self) -> anyhow::Result<()> {
        let names: Vec<_> = std::fs::read_dir(&self.root)?
            .map(|entry| Ok(c_path(entry?.path())))
            .collect::<std::io::Result<_>>()?;
        for batch in names.chunks(ENTRIES as usize) {
            for name in batch {
                let entry = opcode::UnlinkAt::new(CWD, name.as_ptr().cast()).build();
                // SAFETY: an `Argument` is never freed.
                unsafe { self.ring.submission().push(&entry)? };
            }
            self.ring.submit_and_wait(batch.len())?;
            for done in self.ring.completion() {
                outcome_of(done.result()).map_err(anyhow::Error::msg)?;
            }
        }
        Ok(())
    }
}

fn outcome_of(result: i32) -> Outcome {
    if result >= 0 {
        Ok(result.into())
    } else {
        Err(named(result.unsigned_abs()))
    }
}

fn duplicate(fd: i32) -> anyhow::Result<OwnedFd> {
    // SAFETY: dup(2) takes a number.
    let copy = unsafe { libc::dup(fd) };
    anyhow::ensure!(copy >= 0, "{}", std::io::Error::last_os_error());
    // SAFETY: `copy` is a new descriptor without another owner.
    Ok(unsafe { OwnedFd::from_raw_fd(copy) })
}

fn tcp_socket() -> anyhow::Result<OwnedFd> {
    // SAFETY: socket(2) takes numbers.
    let fd = unsafe { libc::socket(libc::AF_INET, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0) };
    anyhow::ensure!(fd >= 0, "{}", std::io::Error::last_os_error());
    // SAFETY: `fd` is a new descriptor without another owner.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}
