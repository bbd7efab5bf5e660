//! Network operations of 32-bit code.

use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};

use agent_recorder_tests::stimuli::{Argument, Outcome, compat, sockaddr_in};
use serde_json::json;

use super::{Stimulus, query};

/// How 32-bit code enters the kernel for a socket's operation.
#[derive(Clone, Copy, Debug)]
pub(super) enum Entry {
    /// socketcall(2), for every operation and in every kernel.
    Socketcall,
    /// One call for each operation, since 4.3.
    Direct,
}

/// The number within socketcall(2) (include/uapi/linux/net.h), and the one of the call itself.
type Numbers = (i64, i64);

const SOCKET: Numbers = (1, 359);
const BIND: Numbers = (2, 361);
const CONNECT: Numbers = (3, 362);
const LISTEN: Numbers = (4, 363);
const SENDTO: Numbers = (11, 369);
const SENDMSG: Numbers = (16, 370);
const ACCEPT4: Numbers = (18, 364);
const SENDMMSG: Numbers = (20, 345);

impl Entry {
    fn call(self, numbers: Numbers, arguments: [u32; 6]) -> Outcome {
        match self {
            Self::Direct => compat(numbers.1, arguments.map(i64::from)),
            Self::Socketcall => {
                let words = Argument::words(&arguments);
                compat(102, [numbers.0, words.low().into(), 0, 0, 0, 0])
            }
        }
    }

    fn socket(self, kind: libc::c_int) -> anyhow::Result<OwnedFd> {
        let arguments = [libc::AF_INET as u32, kind as u32, 0, 0, 0, 0];
        let fd = self.call(SOCKET, arguments).map_err(anyhow::Error::msg)?;
        // SAFETY: the descriptor was just created, and has no other owner.
        Ok(unsafe { OwnedFd::from_raw_fd(i32::try_from(fd)?) })
    }
}

/// Operations of 32-bit code.
impl Stimulus {
    pub(super) fn compat(&mut self, entry: Entry) -> anyhow::Result<()> {
        let listener = entry.socket(libc::SOCK_STREAM)?;
        let fd = listener.as_raw_fd() as u32;
        let any = sockaddr_in("127.0.0.1:0".parse()?);
        let bound = entry.call(BIND, [fd, any.low(), 16, 0, 0, 0]);
        let listener = TcpListener::from(listener);
        let address = listener.local_addr()?;
        let here = address.to_string();
        self.network("BIND", "TCP", json!({"local": here}), bound);
        let listening = entry.call(LISTEN, [fd, 8, 0, 0, 0, 0]);
        self.network("LISTEN", "TCP", json!({"local": here}), listening);
        let client = entry.socket(libc::SOCK_STREAM)?;
        let to = sockaddr_in(here.parse()?);
        let connected = entry.call(CONNECT, [client.as_raw_fd() as u32, to.low(), 16, 0, 0, 0]);
        let client = TcpStream::from(client);
        let there = client.local_addr()?.to_string();
        self.network(
            "CONNECT",
            "TCP",
            json!({"local": there, "peer": here}),
            connected,
        );
        let accepted = entry.call(ACCEPT4, [fd, 0, 0, 0, 0, 0]);
        let server = accepted.map_err(anyhow::Error::msg)?;
        self.network(
            "ACCEPT",
            "TCP",
            json!({"local": here, "peer": there}),
            Ok(0),
        );
        for (fd, local, peer) in [
            (
                std::os::fd::IntoRawFd::into_raw_fd(client),
                &there,
                Some(here.as_str()),
            ),
            (i32::try_from(server)?, &here, Some(there.as_str())),
            (std::os::fd::IntoRawFd::into_raw_fd(listener), &here, None),
        ] {
            compat(6, [fd.into(), 0, 0, 0, 0, 0]).map_err(anyhow::Error::msg)?;
            self.closed("TCP", local, peer, (0, 0));
        }
        self.compat_questions(entry)
    }

    fn compat_questions(&mut self, entry: Entry) -> anyhow::Result<()> {
        let (server, here) = self.bound(&self.name_server.clone())?;
        let client = entry.socket(libc::SOCK_DGRAM)?;
        let fd = client.as_raw_fd() as u32;
        let to = sockaddr_in(here.parse()?);
        let payload = query("sendto.example.net", 1);
        let length = payload.len() as u32;
        let buffer = Argument::new(&payload);
        entry
            .call(SENDTO, [fd, buffer.low(), length, 0, to.low(), 16])
            .map_err(anyhow::Error::msg)?;
        let client = UdpSocket::from(client);
        let there = client.local_addr()?;
        // The first send binds the socket to a port, and to no address.
        let local = json!({"local": there.to_string(), "peer": here});
        self.network("SEND", "UDP", local, Ok(0));
        self.question("sendto.example.net", "A");
        let message = |name: &str, kind| {
            let payload = query(name, kind);
            let (length, buffer) = (payload.len() as u32, Argument::new(&payload));
            let vector = Argument::words(&[buffer.low(), length]);
            // struct compat_msghdr, and the length that sendmmsg(2) gives back.
            [to.low(), 16, vector.low(), 1, 0, 0, 0, 0]
        };
        let one = Argument::words(&message("sendmsg.example.net", 28));
        entry
            .call(SENDMSG, [fd, one.low(), 0, 0, 0, 0])
            .map_err(anyhow::Error::msg)?;
        self.question("sendmsg.example.net", "AAAA");
        let two = [
            message("first.example.net", 1),
            message("second.example.net", 28),
        ];
        let two = Argument::words(two.as_flattened());
        entry
            .call(SENDMMSG, [fd, two.low(), 2, 0, 0, 0])
            .map_err(anyhow::Error::msg)?;
        self.question("first.example.net", "A");
        self.question("second.example.net", "AAAA");
        let sent = ["sendto", "sendmsg", "first", "second"];
        let bytes = sent
            .iter()
            .map(|call| query(&format!("{call}.example.net"), 1).len() as u64)
            .sum();
        drop(client);
        self.closed("UDP", &there.to_string(), None, (bytes, 0));
        drop(server);
        self.closed("UDP", &here, None, (0, 0));
        Ok(())
    }
}
