//! Connections, addresses and DNS questions as JSON.

use std::net::IpAddr;

use serde_json::json;

use super::{Object, bytes, error, object};
use crate::record::proto;

pub(super) fn network_json(network: &proto::Network) -> Object {
    let proto::Network {
        op: _,
        transport: _,
        local,
        peer,
        bytes_sent,
        bytes_received,
        error: errno,
        via: _,
    } = network;
    let mut out = object([
        ("op", json!(network.op().as_str_name())),
        ("transport", json!(network.transport().as_str_name())),
    ]);
    address(&mut out, "local", local.as_ref());
    address(&mut out, "peer", peer.as_ref());
    if network.op() == proto::NetworkOp::Close {
        out.insert("bytesSent".into(), json!(bytes_sent));
        out.insert("bytesReceived".into(), json!(bytes_received));
    }
    error(&mut out, *errno);
    out.insert("via".into(), json!(network.via().as_str_name()));
    out
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

/// An address as people write it.
pub(in crate::replay) fn address_name(address: &proto::Address) -> Vec<u8> {
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

pub(super) fn dns_json(dns: &proto::Dns) -> Object {
    let proto::Dns {
        query,
        r#type,
        server,
    } = dns;
    let mut out = object([("query", json!(query)), ("type", json!(r#type))]);
    address(&mut out, "server", server.as_ref());
    out
}
