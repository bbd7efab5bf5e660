//! Turns strace's calls on sockets into the acts that are recorded.

use std::collections::BTreeMap;
use std::net::IpAddr;

use agent_recorder::record::errno_name;
use anyhow::{Context as _, bail};

use super::act::{Act, Deed, Network};
use super::line::{self, Call, Outcome};
use super::tree::Thread;
use super::truth::{argument, error_of};

/// SOL_SOCKET and SO_ERROR (socket(7)).
const SOL_SOCKET: i64 = 1;
const SO_ERROR: i64 = 4;
/// The type without SOCK_NONBLOCK and SOCK_CLOEXEC (socket(2)).
const TYPE_MASK: i64 = 0xf;
/// recv(2): peeked bytes are received later.
const MSG_PEEK: i64 = 2;

/// All sockets of a trace, by what strace calls them ("socket:[…]").
#[derive(Debug, Default)]
pub(super) struct Sockets {
    known: BTreeMap<Vec<u8>, Socket>,
}

#[derive(Clone, Debug, Default)]
struct Socket {
    family: i64,
    kind: i64,
    local: Option<String>,
    peer: Option<String>,
    /// The first thread with success: an unused socket has no end.
    used: Option<Thread>,
    /// Whether a pending connect is its only use.
    fresh: bool,
    sent: u64,
    received: u64,
    /// A connect that has begun, and whose outcome is not known.
    begun: Option<Act>,
}

/// Netlink, packet and vsock sockets carry no act on a file, host or service
/// (agent-recorder-ebpf/src/programs/event/address.rs, `is_recorded`).
fn recorded_family(family: i64) -> bool {
    [libc::AF_UNIX, libc::AF_INET, libc::AF_INET6]
        .iter()
        .any(|&known| i64::from(known) == family)
}

impl Sockets {
    /// The acts that are certain after this call.
    pub(super) fn called(&mut self, doer: Thread, call: &Call) -> anyhow::Result<Vec<Act>> {
        if call.name == "socket" {
            return self.made(call).map(|()| Vec::new());
        }
        let name = line::descriptor(argument(call, 0)?)?;
        let name = name.path.context("of no open descriptor")?;
        // Sockets of socketpair(2) have no name, and no process can connect to them.
        let Some(socket) = self.known.get(&name).cloned() else {
            return Ok(Vec::new());
        };
        if !recorded_family(socket.family) {
            return Ok(Vec::new());
        }
        let error = error_of(call);
        let act = |op: &str, peer, local, error| {
            doer.did(Deed::Network(Network {
                op: op.to_owned(),
                transport: transport(&socket),
                peer,
                local,
                bytes: None,
                error,
            }))
        };
        let known = self.known.entry(name).or_default();
        Ok(match call.name.as_str() {
            "connect" => {
                let peer = address(argument(call, 1)?)?;
                if error.is_none() || error.as_deref() == Some("EINPROGRESS") {
                    known.fresh = known.used.is_none() && error.is_some();
                    known.used.get_or_insert(doer);
                    known.peer.clone_from(&peer);
                }
                match error.as_deref() {
                    // The outcome comes later, and is one act.
                    Some("EINPROGRESS") => {
                        known.begun = Some(act("CONNECT", peer, None, error));
                        Vec::new()
                    }
                    // A repeated connect is no act.
                    Some("EALREADY" | "EISCONN") => Vec::new(),
                    _ => vec![act("CONNECT", peer, None, error)],
                }
            }
            "getsockopt" => known.outcome(call)?.into_iter().collect(),
            "getsockname" => {
                known.local = address(argument(call, 1)?)?;
                Vec::new()
            }
            "bind" => {
                let local = address(argument(call, 1)?)?;
                if error.is_none() {
                    known.used.get_or_insert(doer);
                    known.local.clone_from(&local);
                }
                vec![act("BIND", None, local, error)]
            }
            "sendto" | "sendmsg" => {
                known.sent += count(call)?;
                Vec::new()
            }
            "recvfrom" | "recvmsg" => {
                let flags = if call.name == "recvfrom" { 3 } else { 2 };
                if line::number(argument(call, flags)?)? & MSG_PEEK == 0 {
                    known.received += count(call)?;
                }
                Vec::new()
            }
            "listen" => vec![act("LISTEN", None, known.local.clone(), error)],
            // An accept without a client is no act.
            "accept" | "accept4" if error.as_deref() == Some("EAGAIN") => Vec::new(),
            "accept" | "accept4" => {
                let peer = address(argument(call, 1)?)?;
                if let Outcome::Returned(made) = &call.outcome {
                    let made = line::descriptor(made)?.path.context("no name")?;
                    let accepted = Socket {
                        peer: peer.clone(),
                        used: Some(doer),
                        sent: 0,
                        received: 0,
                        ..socket.clone()
                    };
                    self.known.insert(made, accepted);
                }
                vec![act("ACCEPT", peer, None, error)]
            }
            other => bail!("{other} is not looked at"),
        })
    }

    fn made(&mut self, call: &Call) -> anyhow::Result<()> {
        if let Outcome::Returned(made) = &call.outcome {
            let name = line::descriptor(made)?.path.context("no name")?;
            let socket = Socket {
                family: line::number(argument(call, 0)?)?,
                kind: line::number(argument(call, 1)?)? & TYPE_MASK,
                ..Socket::default()
            };
            self.known.insert(name, socket);
        }
        Ok(())
    }

    /// The acts at the end of all processes: pending connects, and ends of used sockets.
    pub(super) fn ended(self) -> Vec<Act> {
        let mut acts = Vec::new();
        for socket in self.known.into_values() {
            acts.extend(socket.end());
            acts.extend(socket.begun);
        }
        acts
    }
}

impl Socket {
    fn end(&self) -> Option<Act> {
        // Which thread closed it last is not followed.
        let Thread { pid, .. } = self.used?;
        // A socket whose only use is a pending connect has no end.
        if self.fresh {
            return None;
        }
        let deed = Deed::Network(Network {
            op: "CLOSE".to_owned(),
            transport: transport(self),
            peer: self.peer.clone(),
            local: self.local.clone(),
            bytes: Some((self.sent, self.received)),
            error: None,
        });
        let tid = None;
        Some(Act { pid, tid, deed })
    }

    /// SO_ERROR returns the outcome of a pending connect (connect(2), EINPROGRESS).
    fn outcome(&mut self, call: &Call) -> anyhow::Result<Option<Act>> {
        if line::number(argument(call, 1)?)? != SOL_SOCKET
            || line::number(argument(call, 2)?)? != SO_ERROR
        {
            return Ok(None);
        }
        let value = argument(call, 3)?.trim_matches(['[', ']']);
        let errno = u32::try_from(line::number(value)?)?;
        let Some(mut act) = self.begun.take() else {
            return Ok(None);
        };
        if errno != 0 && self.fresh {
            self.used = None;
        }
        self.fresh = false;
        if let Deed::Network(network) = &mut act.deed {
            network.error = errno_name(errno).map(str::to_owned);
        }
        Ok(Some(act))
    }
}

/// Transferred bytes.
fn count(call: &Call) -> anyhow::Result<u64> {
    match &call.outcome {
        Outcome::Returned(count) => Ok(count.parse()?),
        Outcome::Failed(_) | Outcome::Never => Ok(0),
    }
}

fn transport(socket: &Socket) -> String {
    const STREAM: i64 = libc::SOCK_STREAM as i64;
    const DATAGRAM: i64 = libc::SOCK_DGRAM as i64;
    let unix = socket.family == i64::from(libc::AF_UNIX);
    match (unix, socket.kind) {
        (true, STREAM) => "UNIX_STREAM",
        (true, DATAGRAM) => "UNIX_DGRAM",
        (true, _) => "UNIX_SEQPACKET",
        (false, STREAM) => "TCP",
        (false, DATAGRAM) => "UDP",
        (false, _) => "OTHER",
    }
    .to_owned()
}

/// A `struct sockaddr` as records show it.
fn address(text: &str) -> anyhow::Result<Option<String>> {
    let Some(family) = line::field(text, "sa_family") else {
        return Ok(None);
    };
    let bytes = |name| line::string(line::field(text, name).context("no such field")?);
    let port = |name| -> anyhow::Result<u16> {
        let port: [u8; 2] = bytes(name)?.try_into().ok().context("no port")?;
        Ok(u16::from_be_bytes(port))
    };
    let family = i32::try_from(line::number(family)?)?;
    Ok(match family {
        libc::AF_INET => {
            let host: [u8; 4] = bytes("sin_addr")?.try_into().ok().context("no host")?;
            Some(format!("{}:{}", IpAddr::from(host), port("sin_port")?))
        }
        libc::AF_INET6 => {
            let host: [u8; 16] = bytes("sin6_addr")?.try_into().ok().context("no host")?;
            Some(format!("[{}]:{}", IpAddr::from(host), port("sin6_port")?))
        }
        libc::AF_UNIX => match line::field(text, "sun_path") {
            None => None,
            Some(name) => {
                let (mark, name) = name
                    .strip_prefix('@')
                    .map_or(("", name), |rest| ("@", rest));
                let name = line::string(name)?;
                Some(format!("{mark}{}", String::from_utf8_lossy(&name)))
            }
        },
        _ => None,
    })
}
