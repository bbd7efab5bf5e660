//! One connection to the collector, according to the address: `https` with mutual
//! TLS, `http` without. Neither ever becomes the other.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tonic::transport::{Channel, Endpoint, Uri};

use super::Options;
use crate::identity::{self, HostPair};

/// Interval of pings, and wait for an answer. A connection without one is closed.
const PING: Duration = Duration::from_secs(10);
const PING_ANSWER: Duration = Duration::from_secs(10);
/// Longest time for TCP and TLS together.
const CONNECT: Duration = Duration::from_secs(10);

/// The reason why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error("its address is no URL")]
    Address,
    #[error("https needs keys: name their directory in `[stream] keys`")]
    NoKeys,
    #[error("{0}")]
    Keys(#[from] identity::Error),
    #[error("cannot reach it: {}", causes(.0))]
    Transport(#[from] tonic::transport::Error),
}

/// A transport's error and its causes: the first line says the least.
fn causes(error: &tonic::transport::Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

/// The key pair for an `https` address; `None` for `http`.
pub(super) fn pair(options: &Options) -> Result<Option<Arc<HostPair>>, Error> {
    let address: Uri = options.collector.parse().map_err(|_| Error::Address)?;
    match address.scheme_str() {
        Some("http") => Ok(None),
        Some("https") => {
            let keys = options.keys.as_ref().ok_or(Error::NoKeys)?;
            Ok(Some(keys.current()?))
        }
        _ => Err(Error::Address),
    }
}

/// Connects.
pub(super) async fn connect(options: &Options, pair: Option<&HostPair>) -> Result<Channel, Error> {
    let endpoint = Endpoint::from_shared(options.collector.clone())?
        .connect_timeout(CONNECT)
        .http2_keep_alive_interval(PING)
        .keep_alive_timeout(PING_ANSWER)
        .keep_alive_while_idle(true);
    let tls = pair.map(|pair| TlsConnector::from(Arc::clone(&pair.config)));
    let connector = tower::service_fn(move |address: Uri| dial(address, tls.clone()));
    Ok(endpoint.connect_with_connector(connector).await?)
}

trait Io: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

async fn dial(address: Uri, tls: Option<TlsConnector>) -> io::Result<TokioIo<Box<dyn Io>>> {
    let host = address
        .host()
        .ok_or_else(|| io::Error::other("the address names no host"))?
        .trim_start_matches('[')
        .trim_end_matches(']');
    let port = address
        .port_u16()
        .ok_or_else(|| io::Error::other("the address names no port"))?;
    let stream = TcpStream::connect((host, port)).await?;
    stream.set_nodelay(true)?;
    let Some(tls) = tls else {
        return Ok(TokioIo::new(Box::new(stream)));
    };
    let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
    let stream = tls.connect(name, stream).await?;
    Ok(TokioIo::new(Box::new(stream)))
}
