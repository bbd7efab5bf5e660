//! What strace tells of sockets, brought into the acts that are recorded.

use std::collections::BTreeMap;
use std::net::IpAddr;

use agent_recorder::record::errno_name;
use anyhow::{Context as _, bail};

use super::act::{Act, Deed, Network};
use super::line::{self, Call, Outcome};
use super::truth::{Doer, argument, error_of};

/// SOL_SOCKET and SO_ERROR (socket(7)).
const SOL_SOCKET: i64 = 1;
const SO_ERROR: i64 = 4;
/// The type without SOCK_NONBLOCK and SOCK_CLOEXEC (socket(2)).
const TYPE_MASK: i64 = 0xf;

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
    /// A connect that has begun, and whose outcome is not known.
    begun: Option<Act>,
}

/// Netlink, packet and vsock sockets carry no act on a file, host or service
/// (agent-recorder-ebpf/src/net.rs, `is_recorded`).
fn recorded_family(family: i64) -> bool {
    [libc::AF_UNIX, libc::AF_INET, libc::AF_INET6]
        .iter()
        .any(|&known| i64::from(known) == family)
}

impl Sockets {
    /// The acts that are certain after this call.
    pub(super) fn called(&mut self, doer: Doer, call: &Call) -> anyhow::Result<Vec<Act>> {
        if call.name == "socket" {
            return self.made(call).map(|()| Vec::new());
        }
        let name = line::descriptor(argument(call, 0)?)?;
        let name = name.path.context("of no open descriptor")?;
        let socket = self.known.get(&name).cloned();
        let socket = socket.context("a socket that nobody made")?;
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
                error,
            }))
        };
        let known = self.known.entry(name).or_default();
        Ok(match call.name.as_str() {
            "connect" => {
                let peer = address(argument(call, 1)?)?;
                match error.as_deref() {
                    // Its outcome is known later, and told once.
                    Some("EINPROGRESS") => {
                        known.begun = Some(act("CONNECT", peer, None, error));
                        Vec::new()
                    }
                    // Asked again about the one that was told of.
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
                known.local = address(argument(call, 1)?)?;
                vec![act("BIND", None, known.local.clone(), error)]
            }
            "listen" => vec![act("LISTEN", None, known.local.clone(), error)],
            // Nothing was there to accept: no act.
            "accept" | "accept4" if error.as_deref() == Some("EAGAIN") => Vec::new(),
            "accept" | "accept4" => {
                let peer = address(argument(call, 1)?)?;
                if let Outcome::Returned(made) = &call.outcome {
                    let made = line::descriptor(made)?.path.context("no name")?;
                    self.known.insert(made, socket.clone());
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

    /// Connects that were given up before an answer came: told as under way.
    pub(super) fn unanswered(&mut self) -> Vec<Act> {
        self.known
            .values_mut()
            .filter_map(|socket| socket.begun.take())
            .collect()
    }
}

impl Socket {
    /// SO_ERROR tells how a connect that had begun ended (connect(2), EINPROGRESS).
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
        if let Deed::Network(network) = &mut act.deed {
            network.error = errno_name(errno).map(str::to_owned);
        }
        Ok(Some(act))
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
