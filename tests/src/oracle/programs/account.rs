//! The recorder's records as acts.

use anyhow::{Context as _, bail, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::act::{Act, Bytes, Deed, File, Network};

/// One record as an act, and when it was done (CLOCK_BOOTTIME, ns). `None`
/// for a record that is not about an act of a process.
///
/// # Errors
///
/// The record has an unknown kind or form.
pub fn act(record: &Value) -> anyhow::Result<Option<(u64, Act)>> {
    let Some(process) = record.get("process") else {
        return Ok(None);
    };
    let Some(deed) = deed(record)? else {
        return Ok(None);
    };
    let time = record["bootNs"].as_u64().context("no time")?;
    let pid = number(process, "pid")?;
    let tid = match &deed {
        Deed::Exit { .. } => None,
        Deed::Network(network) if network.op == "CLOSE" => None,
        _ => Some(number(process, "tid")?),
    };
    Ok(Some((time, Act { pid, tid, deed })))
}

fn deed(record: &Value) -> anyhow::Result<Option<Deed>> {
    let of = |name: &str| record.get(name);
    Ok(Some(if let Some(exec) = of("exec") {
        ensure!(exec["argvTruncated"] == false || exec.get("error").is_some());
        Deed::Exec {
            exe: bytes(exec, "exe")?,
            filename: bytes(exec, "filename")?,
            argv: arguments(exec)?,
            cwd: bytes(exec, "cwd")?,
            error: text(exec, "error"),
        }
    } else if let Some(fork) = of("fork") {
        Deed::Fork {
            child: number(fork, "childPid")?,
            parent: number(fork, "childPpid")?,
        }
    } else if let Some(exit) = of("exit") {
        Deed::Exit {
            code: number(exit, "code")?,
            signal: number(exit, "signal")?,
            core: exit["coreDumped"] == true,
        }
    } else if let Some(file) = of("file") {
        Deed::File(file_of(file)?)
    } else if let Some(network) = of("network") {
        Deed::Network(network_of(network)?)
    } else if let Some(dns) = of("dns") {
        Deed::Dns(dns.to_string())
    } else if let Some(control) = of("control") {
        Deed::Control(control.to_string())
    } else if of("sessionStart").is_some() || of("tamper").is_some() {
        // A tamper record explains an act that has a record of its own.
        return Ok(None);
    } else {
        bail!("an unexpected record: {record}");
    }))
}

fn file_of(file: &Value) -> anyhow::Result<File> {
    ensure!(file["via"] == "SYSCALL" && file.get("pathTruncated").is_none());
    let small = |name| {
        let value = file.get(name).and_then(Value::as_u64).unwrap_or(0);
        u32::try_from(value)
    };
    let optional = |name| {
        let value = file.get(name).map(|_| number(file, name));
        value.transpose()
    };
    Ok(File {
        op: text(file, "op").context("no operation")?,
        path: bytes(file, "path")?,
        new_path: match file.get("newPath") {
            None => None,
            Some(_) => Some(bytes(file, "newPath")?),
        },
        flags: file["flags"].as_u64().context("no flags")?,
        mode: small("mode")?,
        length: file.get("length").and_then(Value::as_u64).unwrap_or(0),
        xattr: match file.get("xattr") {
            None => Bytes::default(),
            Some(_) => bytes(file, "xattr")?,
        },
        uid: optional("uid")?,
        gid: optional("gid")?,
        error: text(file, "error"),
    })
}

fn network_of(network: &Value) -> anyhow::Result<Network> {
    let op = text(network, "op").context("no operation")?;
    let count = |name| network.get(name).and_then(Value::as_u64);
    Ok(Network {
        transport: text(network, "transport").context("no transport")?,
        peer: text(network, "peer"),
        local: text(network, "local"),
        bytes: count("bytesSent").zip(count("bytesReceived")),
        error: text(network, "error"),
        op,
    })
}

fn arguments(exec: &Value) -> anyhow::Result<Vec<Bytes>> {
    if let Some(exact) = exec.get("argvB64").and_then(Value::as_array) {
        let decode = |one: &Value| Ok(Bytes(STANDARD.decode(one.as_str().context("no text")?)?));
        return exact.iter().map(decode).collect();
    }
    let argv = exec["argv"].as_array().context("no argv")?;
    argv.iter()
        .map(|one| Ok(Bytes::from(one.as_str().context("no text")?.as_bytes())))
        .collect()
}

fn text(object: &Value, name: &str) -> Option<String> {
    object.get(name)?.as_str().map(str::to_owned)
}

fn number(object: &Value, name: &str) -> anyhow::Result<u32> {
    let value = object.get(name).and_then(Value::as_u64);
    Ok(u32::try_from(value.with_context(|| format!("no {name}"))?)?)
}

fn bytes(object: &Value, name: &str) -> anyhow::Result<Bytes> {
    if let Some(exact) = text(object, &format!("{name}B64")) {
        return Ok(Bytes(STANDARD.decode(exact)?));
    }
    let text = text(object, name).with_context(|| format!("no {name}"))?;
    Ok(Bytes(text.into_bytes()))
}
