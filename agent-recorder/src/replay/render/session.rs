//! A session's start and end.

use serde_json::{Value, json};

use super::fields::{Object, bytes, kind_counts, object};
use super::message::Render;
use crate::record::proto;
use crate::replay::escaped;

impl Render for proto::SessionStart {
    fn json(&self) -> Object {
        let proto::SessionStart {
            agent,
            rule,
            authority,
            name,
            origin: _,
            host,
            boot_id,
            profile,
        } = self;
        let mut out = object([
            ("agent", json!(agent)),
            ("rule", json!(rule)),
            ("origin", json!(self.origin().as_str_name())),
        ]);
        if !name.is_empty() {
            out.insert("name".into(), json!(name));
        }
        bytes(&mut out, "host", host);
        out.insert("bootId".into(), json!(boot_id));
        out.insert("profile".into(), json!(profile));
        if let Some(authority) = authority {
            out.insert("authority".into(), authority_json(authority).into());
        }
        out
    }

    fn line(&self) -> String {
        "session begins".to_owned()
    }
}

impl Render for proto::SessionEnd {
    fn json(&self) -> Object {
        let proto::SessionEnd { reason: _, totals } = self;
        let mut out = object([("reason", json!(self.reason().as_str_name()))]);
        if let Some(totals) = totals {
            let proto::Totals {
                records,
                processes,
                execs,
                files_destroyed,
                duration_ns,
                produced,
                delivered,
                lost,
                guard_counted,
            } = totals;
            let totals = object([
                ("records", json!(records)),
                ("processes", json!(processes)),
                ("execs", json!(execs)),
                ("filesDestroyed", json!(files_destroyed)),
                ("durationNs", json!(duration_ns)),
                ("produced", kind_counts(produced)),
                ("delivered", kind_counts(delivered)),
                ("lost", kind_counts(lost)),
                ("guardCounted", json!(guard_counted)),
            ]);
            out.insert("totals".into(), totals.into());
        }
        out
    }

    fn line(&self) -> String {
        let totals = self.totals.clone().unwrap_or_default();
        let lost: u64 = totals.lost.iter().map(|kind| kind.count).sum();
        format!(
            "session ends: {}; {} records, {} processes, {} files destroyed, {} lost, {:.3} s",
            self.reason().as_str_name(),
            totals.records,
            totals.processes,
            totals.files_destroyed,
            lost,
            totals.duration_ns as f64 / 1e9,
        )
    }
}

fn authority_json(authority: &proto::Authority) -> Object {
    let proto::Authority {
        uid,
        gid,
        user,
        loginuid,
        login_user,
        tty,
        ssh_connection,
        sudo_user,
        capabilities,
        ancestors,
    } = authority;
    let mut out = object([
        ("uid", json!(uid)),
        ("gid", json!(gid)),
        ("user", json!(user)),
    ]);
    if let Some(loginuid) = loginuid {
        out.insert("loginuid".into(), json!(loginuid));
        out.insert("loginUser".into(), json!(login_user));
    }
    if !tty.is_empty() {
        bytes(&mut out, "tty", tty);
    }
    if !ssh_connection.is_empty() {
        out.insert("sshConnection".into(), json!(ssh_connection));
    }
    if !sudo_user.is_empty() {
        out.insert("sudoUser".into(), json!(sudo_user));
    }
    out.insert("capabilities".into(), json!(format!("{capabilities:016x}")));
    let ancestors: Vec<Value> = ancestors
        .iter()
        .map(
            |proto::Ancestor {
                 pid,
                 start_time_ns,
                 uid,
                 comm,
                 exe,
             }| {
                let mut out = object([
                    ("pid", json!(pid)),
                    ("startTimeNs", json!(start_time_ns)),
                    ("uid", json!(uid)),
                ]);
                bytes(&mut out, "comm", comm);
                bytes(&mut out, "exe", exe);
                out.into()
            },
        )
        .collect();
    out.insert("ancestors".into(), ancestors.into());
    out
}

/// The author of an act, as text.
pub(in crate::replay) fn authority_line(authority: &proto::Authority) -> String {
    let mut line = format!("uid {}", authority.uid);
    if !authority.user.is_empty() {
        line = format!("{line} ({})", escaped(authority.user.as_bytes()));
    }
    match authority.loginuid {
        Some(login) => line.push_str(&format!(
            ", logged in as {login} {}",
            escaped(authority.login_user.as_bytes())
        )),
        None => line.push_str(", no login"),
    }
    if !authority.tty.is_empty() {
        line.push_str(&format!(", at {}", escaped(&authority.tty)));
    }
    if !authority.ssh_connection.is_empty() {
        line.push_str(&format!(
            ", ssh from {}",
            escaped(authority.ssh_connection.as_bytes())
        ));
    }
    if let Some(parent) = authority.ancestors.first() {
        line.push_str(&format!(
            ", started by {} {}",
            parent.pid,
            escaped(&parent.comm)
        ));
    }
    line
}
