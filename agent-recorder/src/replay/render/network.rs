//! Connections, addresses and DNS questions. An address is "addr:port",
//! "[v6]:port" or a unix path ("@name" for an abstract one).

use std::net::IpAddr;

use serde_json::json;

use super::fields::{Object, bytes, error, object};
use super::message::Render;
use crate::record::proto;
use crate::replay::escaped;

impl Render for proto::Network {
    fn json(&self) -> Object {
        let proto::Network {
            op: _,
            transport: _,
            local,
            peer,
            bytes_sent,
            bytes_received,
            error: errno,
            via: _,
        } = self;
        let mut out = object([
            ("op", json!(self.op().as_str_name())),
            ("transport", json!(self.transport().as_str_name())),
        ]);
        address(&mut out, "local", local.as_ref());
        address(&mut out, "peer", peer.as_ref());
        if self.op() == proto::NetworkOp::Close {
            out.insert("bytesSent".into(), json!(bytes_sent));
            out.insert("bytesReceived".into(), json!(bytes_received));
        }
        error(&mut out, *errno);
        out.insert("via".into(), json!(self.via().as_str_name()));
        out
    }

    fn line(&self) -> String {
        let mut line = format!(
            "{:<8} {}",
            self.op().as_str_name().to_lowercase(),
            self.transport().as_str_name().to_lowercase()
        );
        for (sign, address) in [("from", &self.local), ("to", &self.peer)] {
            if let Some(address) = address {
                line.push_str(&format!(" {sign} {}", escaped(&address_name(address))));
            }
        }
        if self.op() == proto::NetworkOp::Close {
            line.push_str(&format!(
                " ({} bytes out, {} in)",
                self.bytes_sent, self.bytes_received
            ));
        }
        line
    }

    fn errno(&self) -> u32 {
        self.error
    }
}

impl Render for proto::Dns {
    fn json(&self) -> Object {
        let proto::Dns {
            query,
            r#type,
            server,
        } = self;
        let mut out = object([("query", json!(query)), ("type", json!(r#type))]);
        address(&mut out, "server", server.as_ref());
        out
    }

    fn line(&self) -> String {
        format!(
            "dns      {} {}",
            escaped(self.r#type.as_bytes()),
            escaped(self.query.as_bytes())
        )
    }
}

fn address(object: &mut Object, name: &str, address: Option<&proto::Address>) {
    match address.and_then(|address| address.kind.as_ref()) {
        None => {}
        Some(proto::address::Kind::Unix(path)) => bytes(object, name, &unix_name(path)),
        Some(proto::address::Kind::Inet(inet)) => {
            object.insert(name.into(), inet_name(inet).into());
        }
    }
}

/// An address in its usual notation.
fn address_name(address: &proto::Address) -> Vec<u8> {
    match &address.kind {
        None => Vec::new(),
        Some(proto::address::Kind::Unix(path)) => unix_name(path),
        Some(proto::address::Kind::Inet(inet)) => inet_name(inet).into_bytes(),
    }
}

fn unix_name(path: &[u8]) -> Vec<u8> {
    match path.split_first() {
        Some((0, name)) => [b"@", name].concat(),
        _ => path.to_vec(),
    }
}

fn inet_name(inet: &proto::Inet) -> String {
    let proto::Inet { addr, port } = inet;
    if let Ok(v4) = <[u8; 4]>::try_from(addr.as_slice()) {
        return format!("{}:{port}", IpAddr::from(v4));
    }
    match <[u8; 16]>::try_from(addr.as_slice()) {
        Ok(v6) => format!("[{}]:{port}", IpAddr::from(v6)),
        Err(_) => format!("?:{port}"),
    }
}
