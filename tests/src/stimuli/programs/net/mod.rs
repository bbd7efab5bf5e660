//! Performs every kind of network operation over loopback, with sockets in the given
//! directory, and reports each.

mod compat;
mod transfers;

use std::ffi::OsString;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::path::PathBuf;

use agent_recorder_tests::stimuli::{Outcome, Script, outcome, syscall};
use anyhow::Context as _;
use compat::Entry;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::net::{
    AddressFamily, RecvFlags, SendAncillaryBuffer, SendFlags, SocketFlags, SocketType, connect,
    sendmsg_addr, socket_with,
};
use serde_json::{Value, json};

struct Stimulus {
    root: PathBuf,
    /// A loopback address of this process alone.
    name_server: String,
    script: Script,
}

pub(crate) fn run(words: &[OsString]) -> anyhow::Result<()> {
    let root = PathBuf::from(words.first().context("stimulus net DIRECTORY")?);
    let pid = std::process::id();
    let mut stimulus = Stimulus {
        root,
        name_server: format!("127.53.{}.{}:53", pid >> 8 & 0xff, pid & 0xff),
        script: Script::default(),
    };
    for host in ["127.0.0.1", "[::1]"] {
        stimulus.tcp(host)?;
        stimulus.asynchronous(host)?;
        stimulus.udp(host)?;
    }
    stimulus.refused()?;
    stimulus.unix()?;
    stimulus.transfers()?;
    stimulus.descriptors()?;
    stimulus.questions()?;
    for entry in [Entry::Socketcall, Entry::Direct] {
        stimulus.compat(entry)?;
    }
    stimulus.script.tell()?;
    Ok(())
}

fn errno(error: &std::io::Error) -> &'static str {
    let number = error.raw_os_error().unwrap_or_default();
    agent_recorder::record::errno_name(number.unsigned_abs()).unwrap_or("?")
}

impl Stimulus {
    fn network(&mut self, op: &str, transport: &str, fields: Value, outcome: Outcome) {
        let mut line = json!({"op": op, "transport": transport});
        if let (Some(line), Some(fields)) = (line.as_object_mut(), fields.as_object()) {
            line.extend(fields.clone());
        }
        self.script.did("network", line, outcome);
    }

    fn closed(&mut self, transport: &str, local: &str, peer: Option<&str>, bytes: (u64, u64)) {
        let mut fields = json!({"local": local, "bytesSent": bytes.0, "bytesReceived": bytes.1});
        if let Some(peer) = peer {
            fields["peer"] = json!(peer);
        }
        self.network("CLOSE", transport, fields, Ok(0));
    }

    fn listener(&mut self, host: &str) -> anyhow::Result<(TcpListener, String)> {
        let listener = TcpListener::bind(format!("{host}:0"))?;
        let here = listener.local_addr()?.to_string();
        self.network("BIND", "TCP", json!({"local": here}), Ok(0));
        self.network("LISTEN", "TCP", json!({"local": here}), Ok(0));
        Ok((listener, here))
    }

    fn accept(&mut self, listener: &TcpListener) -> anyhow::Result<TcpStream> {
        let (stream, from) = listener.accept()?;
        let fields = json!({
            "local": listener.local_addr()?.to_string(),
            "peer": from.to_string(),
        });
        self.network("ACCEPT", "TCP", fields, Ok(0));
        Ok(stream)
    }

    fn tcp(&mut self, host: &str) -> anyhow::Result<()> {
        let (listener, here) = self.listener(host)?;
        let mut client = TcpStream::connect(&here)?;
        let there = client.local_addr()?.to_string();
        self.network(
            "CONNECT",
            "TCP",
            json!({"local": there, "peer": here}),
            Ok(0),
        );
        let mut server = self.accept(&listener)?;
        client.write_all(&[7; 1000])?;
        server.read_exact(&mut [0; 1000])?;
        server.write_all(&[7; 500])?;
        client.read_exact(&mut [0; 500])?;
        self.plainly_accepted(&listener)?;
        // An accept without a client is not recorded.
        listener.set_nonblocking(true)?;
        anyhow::ensure!(listener.accept().is_err());
        drop(client);
        self.closed("TCP", &there, Some(&here), (1000, 500));
        drop(server);
        self.closed("TCP", &here, Some(&there), (500, 1000));
        let taken = TcpListener::bind(&here);
        if let Err(error) = &taken {
            let error = errno(error);
            self.network("BIND", "TCP", json!({"local": here}), Err(error));
        }
        drop(listener);
        self.closed("TCP", &here, None, (0, 0));
        Ok(())
    }

    /// Accepts by accept(2); the standard library calls accept4(2).
    fn plainly_accepted(&mut self, listener: &TcpListener) -> anyhow::Result<()> {
        let here = listener.local_addr()?.to_string();
        let client = TcpStream::connect(&here)?;
        let there = client.local_addr()?.to_string();
        self.network(
            "CONNECT",
            "TCP",
            json!({"local": there, "peer": here}),
            Ok(0),
        );
        let accepted = syscall(
            libc::SYS_accept,
            [listener.as_raw_fd().into(), 0, 0, 0, 0, 0],
        );
        let ends = json!({"local": here, "peer": there});
        self.network("ACCEPT", "TCP", ends, accepted.map(|_| 0));
        let fd = i32::try_from(accepted.map_err(anyhow::Error::msg)?)?;
        // SAFETY: the descriptor was just created, and has no other owner.
        drop(unsafe { OwnedFd::from_raw_fd(fd) });
        self.closed("TCP", &here, Some(&there), (0, 0));
        drop(client);
        self.closed("TCP", &there, Some(&here), (0, 0));
        Ok(())
    }

    /// A socket that connects without waiting; its outcome comes later.
    fn begin_connect(to: SocketAddr) -> anyhow::Result<(OwnedFd, Result<(), rustix::io::Errno>)> {
        let family = if to.is_ipv4() {
            AddressFamily::INET
        } else {
            AddressFamily::INET6
        };
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let socket = socket_with(family, SocketType::STREAM, flags, None)?;
        let begun = connect(&socket, &to);
        poll(&mut [PollFd::new(&socket, PollFlags::OUT)], None)?;
        Ok((socket, begun))
    }

    fn asynchronous(&mut self, host: &str) -> anyhow::Result<()> {
        let (listener, here) = self.listener(host)?;
        let (socket, begun) = Self::begin_connect(listener.local_addr()?)?;
        anyhow::ensure!(begun == Err(rustix::io::Errno::INPROGRESS), "{begun:?}");
        let client = TcpStream::from(socket);
        let there = client.local_addr()?.to_string();
        let fields = json!({"local": there, "peer": here});
        self.network("CONNECT", "TCP", fields, Ok(0));
        // connect(2) of a connected socket is not recorded.
        anyhow::ensure!(connect(&client, &listener.local_addr()?).is_ok());
        drop(client);
        self.closed("TCP", &there, Some(&here), (0, 0));
        drop(listener);
        self.closed("TCP", &here, None, (0, 0));
        Ok(())
    }

    fn refused(&mut self) -> anyhow::Result<()> {
        for host in ["127.0.0.1", "[::1]"] {
            // A UDP socket finds a port at which no TCP socket listens.
            let holder = UdpSocket::bind(format!("{host}:0"))?;
            let nobody = holder.local_addr()?;
            self.network("BIND", "UDP", json!({"local": nobody.to_string()}), Ok(0));
            drop(holder);
            self.closed("UDP", &nobody.to_string(), None, (0, 0));
            let Err(error) = TcpStream::connect(nobody) else {
                anyhow::bail!("somebody listens at {nobody}");
            };
            let peer = json!({"peer": nobody.to_string()});
            self.network("CONNECT", "TCP", peer.clone(), Err(errno(&error)));
            let (socket, begun) = Self::begin_connect(nobody)?;
            anyhow::ensure!(begun == Err(rustix::io::Errno::INPROGRESS), "{begun:?}");
            self.network("CONNECT", "TCP", peer, Err("ECONNREFUSED"));
            // The close of a socket that was never connected is not recorded.
            drop(socket);
        }
        Ok(())
    }

    fn bound(&mut self, at: &str) -> anyhow::Result<(UdpSocket, String)> {
        let socket = UdpSocket::bind(at)?;
        let here = socket.local_addr()?.to_string();
        self.network("BIND", "UDP", json!({"local": here}), Ok(0));
        Ok((socket, here))
    }

    fn udp(&mut self, host: &str) -> anyhow::Result<()> {
        let any = format!("{host}:0");
        let (server, here) = self.bound(&any)?;
        let (other, elsewhere) = self.bound(&any)?;
        let (client, there) = self.bound(&any)?;
        let send = |peer: &str| json!({"local": there, "peer": peer});
        // Each destination is recorded once.
        client.send_to(&[1; 10], &here)?;
        self.network("SEND", "UDP", send(&here), Ok(0));
        client.send_to(&[1; 10], &here)?;
        let to: SocketAddr = elsewhere.parse()?;
        sendmsg_addr(
            &client,
            &to,
            &[std::io::IoSlice::new(&[2; 20])],
            &mut SendAncillaryBuffer::default(),
            SendFlags::empty(),
        )?;
        self.network("SEND", "UDP", send(&elsewhere), Ok(0));
        rustix::net::recv(&other, &mut [0; 64][..], RecvFlags::empty())?;
        for _ in 0..2 {
            server.recv_from(&mut [0; 64])?;
        }
        server.connect(&there)?;
        self.network(
            "CONNECT",
            "UDP",
            json!({"local": here, "peer": there}),
            Ok(0),
        );
        server.send(&[3; 30])?;
        client.recv_from(&mut [0; 64])?;
        // More than a datagram holds.
        if let Err(error) = client.send_to(&vec![0; 70_000], &here) {
            self.network("SEND", "UDP", send(&here), Err(errno(&error)));
        }
        drop(client);
        self.closed("UDP", &there, None, (40, 30));
        drop(server);
        self.closed("UDP", &here, Some(&there), (30, 20));
        drop(other);
        self.closed("UDP", &elsewhere, None, (0, 20));
        Ok(())
    }

    fn unix(&mut self) -> anyhow::Result<()> {
        let path = self.root.join("listener");
        let here = path.display().to_string();
        let listener = UnixListener::bind(&path)?;
        self.network("BIND", "UNIX_STREAM", json!({"local": here}), Ok(0));
        self.network("LISTEN", "UNIX_STREAM", json!({"local": here}), Ok(0));
        let mut client = UnixStream::connect(&path)?;
        self.network("CONNECT", "UNIX_STREAM", json!({"peer": here}), Ok(0));
        let (mut server, _) = listener.accept()?;
        self.network("ACCEPT", "UNIX_STREAM", json!({"local": here}), Ok(0));
        client.write_all(&[1; 300])?;
        server.read_exact(&mut [0; 300])?;
        drop(client);
        let fields = json!({"peer": here, "bytesSent": 300, "bytesReceived": 0});
        self.network("CLOSE", "UNIX_STREAM", fields, Ok(0));
        drop(server);
        self.closed("UNIX_STREAM", &here, None, (0, 300));
        drop(listener);
        self.closed("UNIX_STREAM", &here, None, (0, 0));
        if let Err(error) = UnixStream::connect(self.root.join("absent")) {
            let peer = self.root.join("absent").display().to_string();
            self.network(
                "CONNECT",
                "UNIX_STREAM",
                json!({"peer": peer}),
                Err(errno(&error)),
            );
        }
        self.unix_datagrams()
    }

    fn unix_datagrams(&mut self) -> anyhow::Result<()> {
        use std::os::linux::net::SocketAddrExt as _;
        let path = self.root.join("datagrams");
        let here = path.display().to_string();
        let server = UnixDatagram::bind(&path)?;
        self.network("BIND", "UNIX_DGRAM", json!({"local": here}), Ok(0));
        let name = format!("agent-recorder-test-{}", std::process::id());
        let address = std::os::unix::net::SocketAddr::from_abstract_name(&name)?;
        let client = UnixDatagram::bind_addr(&address)?;
        let shown = format!("@{name}");
        self.network("BIND", "UNIX_DGRAM", json!({"local": shown}), Ok(0));
        client.send_to(&[1; 11], &path)?;
        self.network(
            "SEND",
            "UNIX_DGRAM",
            json!({"local": shown, "peer": here}),
            Ok(0),
        );
        server.recv(&mut [0; 64])?;
        drop(client);
        self.closed("UNIX_DGRAM", &shown, None, (11, 0));
        drop(server);
        self.closed("UNIX_DGRAM", &here, None, (0, 11));
        Ok(())
    }

    /// Every way in which the last descriptor of a socket goes.
    fn descriptors(&mut self) -> anyhow::Result<()> {
        let close_range = |fd: i32| {
            // SAFETY: the caller owns `fd` and does not use it afterwards.
            outcome(unsafe { libc::syscall(libc::SYS_close_range, fd, fd, 0) })
        };
        // dup2(2) replaces the last descriptor.
        let (socket, here) = self.bound("127.0.0.1:0")?;
        let null = std::fs::File::open("/dev/null")?;
        let fd = std::os::fd::IntoRawFd::into_raw_fd(socket);
        // SAFETY: `fd` was just taken out of its owner, and has no other user.
        outcome(i64::from(unsafe { libc::dup2(null.as_raw_fd(), fd) }))
            .map_err(anyhow::Error::msg)?;
        self.closed("UDP", &here, None, (0, 0));
        // SAFETY: `fd` is open after dup2(2), as the null device, and has no other
        // owner.
        drop(unsafe { OwnedFd::from_raw_fd(fd) });
        // close_range(2) closes the last descriptor.
        let (socket, here) = self.bound("127.0.0.1:0")?;
        close_range(std::os::fd::IntoRawFd::into_raw_fd(socket)).map_err(anyhow::Error::msg)?;
        self.closed("UDP", &here, None, (0, 0));
        // A copy keeps it open.
        let (socket, here) = self.bound("127.0.0.1:0")?;
        let copy = socket.try_clone()?;
        drop(socket);
        drop(copy);
        self.closed("UDP", &here, None, (0, 0));
        self.inherited()
    }

    /// The last descriptor is a child's, which closes it, exits or execs.
    fn inherited(&mut self) -> anyhow::Result<()> {
        for ending in ["close", "exit", "exec"] {
            let (socket, here) = self.bound("127.0.0.1:0")?;
            let (gate, release) = rustix::pipe::pipe()?;
            let fd = socket.as_raw_fd();
            // SAFETY: the child calls async-signal-safe functions only.
            let child = unsafe { libc::fork() };
            if child == 0 {
                drop(release);
                let _ = rustix::io::read(&gate, &mut [0; 1]);
                match ending {
                    // SAFETY: the child has its own copy of the descriptor, and does
                    // not drop `socket`.
                    "close" => unsafe { libc::close(fd) },
                    // SAFETY: both strings end with a NUL, the array with a null
                    // pointer, and all live through the call.
                    "exec" => unsafe {
                        let argv = [c"true".as_ptr(), std::ptr::null()];
                        libc::execv(c"/bin/true".as_ptr(), argv.as_ptr())
                    },
                    _ => 0,
                };
                // SAFETY: _exit(2) ends the child without destructors of the parent's
                // values.
                unsafe { libc::_exit(0) };
            }
            drop(gate);
            drop(socket);
            drop(release);
            let mut status = 0;
            // SAFETY: `child` is a child of this process, and `status` outlives the
            // call.
            outcome(i64::from(unsafe {
                libc::waitpid(child, &raw mut status, 0)
            }))
            .map_err(anyhow::Error::msg)?;
            let who = agent_recorder_tests::stimuli::Who::child(child.unsigned_abs());
            let fields = json!({
                "op": "CLOSE", "transport": "UDP", "local": here,
                "bytesSent": 0, "bytesReceived": 0,
            });
            self.script.did_as(who, "network", fields, Ok(0));
        }
        Ok(())
    }

    fn question(&mut self, name: &str, kind: &str) {
        let fields = json!({"query": name, "type": kind, "server": self.name_server});
        self.script.did("dns", fields, Ok(0));
    }

    /// Questions through each call that can send a datagram.
    fn questions(&mut self) -> anyhow::Result<()> {
        let (server, here) = self.bound(&self.name_server.clone())?;
        let (client, there) = self.bound("127.0.0.1:0")?;
        client.send_to(&query("sendto.example.org", 1), &here)?;
        self.network("SEND", "UDP", json!({"local": there, "peer": here}), Ok(0));
        self.question("sendto.example.org", "A");
        let to: SocketAddr = here.parse()?;
        let payload = query("sendmsg.example.org", 28);
        sendmsg_addr(
            &client,
            &to,
            &[std::io::IoSlice::new(&payload)],
            &mut SendAncillaryBuffer::default(),
            SendFlags::empty(),
        )?;
        self.question("sendmsg.example.org", "AAAA");
        client.connect(to)?;
        self.network(
            "CONNECT",
            "UDP",
            json!({"local": there, "peer": here}),
            Ok(0),
        );
        client.send(&query("send.example.org", 15))?;
        self.question("send.example.org", "MX");
        rustix::io::write(&client, &query("write.example.org", 16))?;
        self.question("write.example.org", "TXT");
        let payload = query("writev.example.org", 2);
        rustix::io::writev(&client, &[std::io::IoSlice::new(&payload)])?;
        self.question("writev.example.org", "NS");
        self.several(&client)?;
        let sent = [
            "sendto", "sendmsg", "send", "write", "writev", "first", "second",
        ];
        // Header, name, type and class of each.
        let bytes = sent
            .iter()
            .map(|call| query(&format!("{call}.example.org"), 1).len() as u64)
            .sum();
        drop(client);
        self.closed("UDP", &there, Some(&here), (bytes, 0));
        drop(server);
        self.closed("UDP", &here, None, (0, 0));
        Ok(())
    }

    /// One sendmmsg(2) for both kinds of address, as the C library asks.
    fn several(&mut self, client: &UdpSocket) -> anyhow::Result<()> {
        let payloads = [
            query("first.example.org", 1),
            query("second.example.org", 28),
        ];
        let mut vectors = payloads.each_ref().map(|payload| libc::iovec {
            iov_base: payload.as_ptr().cast_mut().cast(),
            iov_len: payload.len(),
        });
        let mut messages = vectors.each_mut().map(|vector| {
            // SAFETY: all-zero is a valid `mmsghdr`: no name, no control.
            let mut message: libc::mmsghdr = unsafe { std::mem::zeroed() };
            message.msg_hdr.msg_iov = vector;
            message.msg_hdr.msg_iovlen = 1;
            message
        });
        // SAFETY: both messages, their vectors and payloads outlive the call.
        let sent = unsafe { libc::sendmmsg(client.as_raw_fd(), messages.as_mut_ptr(), 2, 0) };
        anyhow::ensure!(sent == 2, "{sent} of 2 messages were sent");
        self.question("first.example.org", "A");
        self.question("second.example.org", "AAAA");
        Ok(())
    }
}

/// One question (RFC 1035, section 4.1).
fn query(name: &str, kind: u16) -> Vec<u8> {
    let mut bytes = vec![0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.') {
        bytes.push(label.len() as u8);
        bytes.extend(label.as_bytes());
    }
    bytes.push(0);
    bytes.extend(kind.to_be_bytes());
    bytes.extend(1u16.to_be_bytes());
    bytes
}
