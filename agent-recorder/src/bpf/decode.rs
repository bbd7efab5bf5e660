//! Decodes the bytes of a ring into an event: by copy, with every length checked.
//!
//! Not here: joining an event with its process (`session`).

use agent_recorder_abi::Pod;
use agent_recorder_abi::address::Address;
use agent_recorder_abi::event::{
    ControlBody, CountedBody, DnsBody, ExecBody, ExitBody, FileBody, ForkBody, GuardBody, Header,
    Kind, NetBody, SessionBody,
};

use super::Error;

/// One event.
#[derive(Clone, Debug)]
pub struct Event<'a> {
    /// Process and time.
    pub header: Header,
    /// Content.
    pub body: Body<'a>,
}

/// Content of an event, by kind.
#[derive(Clone, Debug)]
pub enum Body<'a> {
    /// A rule began a session.
    Session(SessionBody),
    /// A program was started, or its start failed.
    Exec {
        /// Numbers of the exec.
        body: ExecBody,
        /// Path of the program, walked in the kernel.
        exe: &'a [u8],
        /// Path as the caller passed it.
        filename: &'a [u8],
        /// Working directory, walked in the kernel.
        cwd: &'a [u8],
        /// Each argument ended by a NUL.
        argv: &'a [u8],
    },
    /// A process ended.
    Exit(ExitBody),
    /// A process was made.
    Fork(ForkBody),
    /// A session met the guard's limit.
    Guard(GuardBody),
    /// An object was counted.
    Counted(CountedEvent<'a>),
    /// A file operation.
    File(FileEvent<'a>),
    /// The result of an announced file operation of io_uring.
    Uring(FileEvent<'a>),
    /// The object that a security hook saw; the result of the operation follows.
    Object(FileEvent<'a>),
    /// A socket operation.
    Network(NetworkEvent),
    /// Something done to another process, or to the kernel's programs.
    Control(ControlBody),
    /// A DNS question.
    Dns {
        /// Destination of the question.
        server: Address,
        /// The datagram's beginning.
        payload: &'a [u8],
    },
}

/// A file operation.
#[derive(Clone, Debug)]
pub struct FileEvent<'a> {
    /// Numbers of the operation.
    pub body: FileBody,
    /// Directory that the first path starts from, walked in the kernel; the file
    /// itself when `path` is empty.
    pub base: &'a [u8],
    /// First path as the caller passed it.
    pub path: &'a [u8],
    /// Directory that the second path starts from.
    pub base2: &'a [u8],
    /// Second path as the caller passed it.
    pub path2: &'a [u8],
    /// An attribute's name, a link's target, or a mount's source.
    pub extra: &'a [u8],
}

/// An object that was counted against its session's budgets.
#[derive(Clone, Debug)]
pub struct CountedEvent<'a> {
    /// State of the object.
    pub body: CountedBody,
    /// Path within the object's file system, walked in the kernel; empty where no hook
    /// showed its name.
    pub path: &'a [u8],
}

/// A socket operation.
#[derive(Clone, Debug)]
pub struct NetworkEvent {
    /// Numbers of the operation.
    pub body: NetBody,
    /// Local address.
    pub local: Address,
    /// Address of the peer.
    pub peer: Address,
}

/// Decodes an event.
///
/// # Errors
///
/// The event is shorter than its lengths, or of an unknown kind.
pub fn decode(bytes: &[u8]) -> Result<Event<'_>, Error> {
    let mut input = Input {
        rest: bytes,
        total: bytes.len(),
    };
    let header: Header = input.value("header")?;
    let kind = Kind::from_number(header.kind).ok_or(input.damaged("kind"))?;
    let body = match kind {
        Kind::Session => Body::Session(input.value("body")?),
        Kind::Exec => exec(&mut input)?,
        Kind::Exit => Body::Exit(input.value("body")?),
        Kind::Fork => Body::Fork(input.value("body")?),
        Kind::Guard => Body::Guard(input.value("body")?),
        Kind::Counted => {
            let body: CountedBody = input.value("body")?;
            let path = input.segment(body.path_len)?;
            Body::Counted(CountedEvent { body, path })
        }
        Kind::Delete | Kind::File | Kind::Open => Body::File(file(&mut input)?),
        Kind::Uring => Body::Uring(file(&mut input)?),
        Kind::Victim | Kind::Object => Body::Object(file(&mut input)?),
        Kind::Control => Body::Control(input.value("body")?),
        Kind::Network => {
            let body: NetBody = input.value("body")?;
            let local = input.address(body.local_len)?;
            let peer = input.address(body.peer_len)?;
            Body::Network(NetworkEvent { body, local, peer })
        }
        Kind::Dns => {
            let body: DnsBody = input.value("body")?;
            let server = input.address(body.server_len)?;
            Body::Dns {
                server,
                payload: input.segment(body.payload_len)?,
            }
        }
    };
    Ok(Event { header, body })
}

fn exec<'a>(input: &mut Input<'a>) -> Result<Body<'a>, Error> {
    let body: ExecBody = input.value("body")?;
    Ok(Body::Exec {
        exe: input.segment(body.exe_len)?,
        filename: input.segment(body.filename_len)?,
        cwd: input.segment(body.cwd_len)?,
        argv: input.segment(body.argv_len)?,
        body,
    })
}

fn file<'a>(input: &mut Input<'a>) -> Result<FileEvent<'a>, Error> {
    let body: FileBody = input.value("body")?;
    Ok(FileEvent {
        base: input.segment(body.base_len)?,
        path: input.segment(body.path_len)?,
        base2: input.segment(body.base2_len)?,
        path2: input.segment(body.path2_len)?,
        extra: input.segment(body.extra_len)?,
        body,
    })
}

struct Input<'a> {
    rest: &'a [u8],
    total: usize,
}

impl<'a> Input<'a> {
    fn damaged(&self, part: &'static str) -> Error {
        Error::Event {
            part,
            length: self.total,
        }
    }

    fn take(&mut self, length: usize, part: &'static str) -> Result<&'a [u8], Error> {
        let (taken, rest) = self
            .rest
            .split_at_checked(length)
            .ok_or_else(|| self.damaged(part))?;
        self.rest = rest;
        Ok(taken)
    }

    fn value<T: Pod + Default>(&mut self, part: &'static str) -> Result<T, Error> {
        let bytes = self.take(size_of::<T>(), part)?;
        Ok(copy(bytes))
    }

    fn segment(&mut self, length: u16) -> Result<&'a [u8], Error> {
        self.take(length.into(), "segment")
    }

    /// The address takes only as many bytes as its family needs.
    fn address(&mut self, length: u16) -> Result<Address, Error> {
        let bytes = self.take(length.into(), "address")?;
        if bytes.len() > size_of::<Address>() {
            return Err(self.damaged("address"));
        }
        let mut whole = [0; size_of::<Address>()];
        whole[..bytes.len()].copy_from_slice(bytes);
        Ok(copy(&whole))
    }
}

/// Copies a value out of `bytes`, which have the value's size.
fn copy<T: Pod + Default>(bytes: &[u8]) -> T {
    assert_eq!(bytes.len(), size_of::<T>());
    let mut value = T::default();
    // SAFETY: `T` is `Pod`, so any bytes are a valid value; `bytes` has the size of
    // `T`, and the two do not overlap.
    unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), (&raw mut value).cast(), bytes.len()) };
    value
}
