//! Records for people: a heading, one line a record, a closing line.

use std::io::{self, Write};

use super::acts::Act;
use super::escape::escaped;
use super::json::{address_name, error_name, rfc3339};
use crate::record::{SessionId, proto};
use proto::record::Body;

/// Writes records as lines, with times since the first.
#[derive(Debug)]
pub struct TextWriter<W> {
    out: W,
    first_ns: Option<u64>,
}

impl<W: Write> TextWriter<W> {
    /// Writes to `out`.
    pub fn new(out: W) -> Self {
        Self {
            out,
            first_ns: None,
        }
    }

    /// Hands on what `out` holds back.
    ///
    /// # Errors
    ///
    /// Those of `out`.
    pub fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }

    /// One record.
    ///
    /// # Errors
    ///
    /// Those of `out`.
    pub fn write(&mut self, record: &proto::Record) -> io::Result<()> {
        if let Some(Body::SessionStart(start)) = &record.body {
            self.heading(record, start)?;
        }
        let first = *self.first_ns.get_or_insert(record.time_boot_ns);
        let since = record.time_boot_ns.saturating_sub(first);
        let who = record.process.as_ref().map_or_else(String::new, |process| {
            format!("{:>7} {:<15}", process.pid, escaped(&process.comm))
        });
        let line = line(record.body.as_ref());
        writeln!(
            self.out,
            "{:>5}.{:06} {who:<23} {line}",
            since / 1_000_000_000,
            since % 1_000_000_000 / 1000
        )
    }

    fn heading(&mut self, record: &proto::Record, start: &proto::SessionStart) -> io::Result<()> {
        let out = &mut self.out;
        let session = SessionId::from_bytes(&record.session_id);
        let session = session
            .map(|session| session.to_string())
            .unwrap_or_default();
        writeln!(out, "session   {session}")?;
        writeln!(
            out,
            "agent     {} (by {})",
            escaped(start.agent.as_bytes()),
            escaped(start.rule.as_bytes())
        )?;
        if let Some(authority) = &start.authority {
            writeln!(out, "authority {}", authority_line(authority))?;
        }
        writeln!(
            out,
            "began     {} on {}, seen by {}",
            rfc3339(record.time_unix_ns),
            escaped(&start.host),
            start.profile
        )?;
        writeln!(out)
    }
}

/// Who acted, in words.
pub(super) fn authority_line(authority: &proto::Authority) -> String {
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

/// One act on a path, with when and by whom.
pub fn act_line(act: &Act) -> String {
    let record = &act.record;
    let process = record.process.clone().unwrap_or_default();
    let session = SessionId::from_bytes(&record.session_id).map(|session| session.to_string());
    let login = process
        .loginuid
        .map_or_else(String::new, |login| format!(" (login {login})"));
    format!(
        "{}  {}  {:<12} {:>7} {:<15} uid {}{login}  {}",
        rfc3339(record.time_unix_ns),
        session.unwrap_or_default(),
        escaped(act.agent.as_bytes()),
        process.pid,
        escaped(&process.comm),
        process.uid,
        line(record.body.as_ref()),
    )
}

/// One record in words.
pub(super) fn line(body: Option<&Body>) -> String {
    let Some(body) = body else {
        return "a kind of record that this version does not know".to_owned();
    };
    match body {
        Body::SessionStart(_) => "session begins".to_owned(),
        Body::SessionEnd(end) => session_end(end),
        Body::Exec(exec) => with_error(format!("exec     {}", command(exec)), exec.error),
        Body::Fork(fork) => format!("fork     {}", fork.child_pid),
        Body::Exit(exit) if exit.signal != 0 => {
            format!("exit     killed by signal {}", exit.signal)
        }
        Body::Exit(exit) => format!("exit     {}", exit.code),
        Body::File(file) => with_error(file_line(file), file.error),
        Body::Network(network) => with_error(network_line(network), network.error),
        Body::Control(control) => with_error(control_line(control), control.error),
        Body::Dns(dns) => format!(
            "dns      {} {}",
            escaped(dns.r#type.as_bytes()),
            escaped(dns.query.as_bytes())
        ),
        Body::Enforcement(enforcement) => enforcement_line(enforcement),
        Body::HandOff(handed) => format!(
            "HANDOFF  {} {}",
            handed.way().as_str_name(),
            escaped(&handed.to)
        ),
        Body::Tamper(tamper) => format!(
            "TAMPER   {} {}{}",
            tamper.act().as_str_name(),
            escaped(&tamper.path),
            escaped(tamper.detail.as_bytes())
        ),
        Body::Heir(heir) => format!(
            "HEIR     starts {}{}",
            escaped(&heir.file),
            match SessionId::from_bytes(&heir.joined) {
                Some(session) => format!(", and joins {session}"),
                None => String::new(),
            }
        ),
        Body::Loss(loss) => format!(
            "LOSS     {} records at {}{}",
            loss.count,
            escaped(loss.stage.as_bytes()),
            match loss.first_seq {
                0 => String::new(),
                first => format!(", numbers {first} to {}", loss.last_seq),
            }
        ),
        Body::StreamEvent(event) => format!(
            "{} {}",
            escaped(event.event.as_bytes()),
            escaped(event.detail.as_bytes())
        ),
    }
}

fn with_error(line: String, error: u32) -> String {
    if error == 0 {
        line
    } else {
        format!("{line}  ! {}", error_name(error))
    }
}

/// A command line, its arguments escaped and quoted where they hold spaces.
pub(super) fn command(exec: &proto::Exec) -> String {
    if exec.argv.is_empty() {
        return escaped(&exec.filename);
    }
    let words: Vec<String> = exec
        .argv
        .iter()
        .map(|argument| {
            let text = escaped(argument);
            if text.is_empty() || text.contains([' ', '"', '\'']) {
                format!("{text:?}").replace("\\\\", "\\")
            } else {
                text
            }
        })
        .collect();
    let cut = if exec.argv_truncated { " …" } else { "" };
    format!("{}{cut}", words.join(" "))
}

fn file_line(file: &proto::File) -> String {
    let mut line = format!(
        "{:<8} {}{}",
        file.op().as_str_name().to_lowercase(),
        if file.path_truncated { "…" } else { "" },
        escaped(&file.path)
    );
    if !file.new_path.is_empty() {
        line.push_str(&format!(" → {}", escaped(&file.new_path)));
    }
    match file.op() {
        proto::FileOp::Chmod => line.push_str(&format!(" mode {:o}", file.mode & 0o7777)),
        proto::FileOp::Device => line.push_str(&format!(" {} bytes discarded", file.length)),
        proto::FileOp::SubvolumeDelete if file.subvolume != 0 => {
            line.push_str(&format!(" number {}", file.subvolume));
        }
        proto::FileOp::Attributes => line.push_str(&format!(" {:#x}", file.attributes)),
        proto::FileOp::Truncate => line.push_str(&format!(" to {} bytes", file.length)),
        proto::FileOp::Xattr => line.push_str(&format!(" {}", escaped(&file.xattr))),
        proto::FileOp::Open if file.flags & 0o1000 != 0 => line.push_str(" (truncated)"),
        proto::FileOp::Open if file.flags & 0o3 != 0 => line.push_str(" (for writing)"),
        _ => {}
    }
    line
}

fn control_line(control: &proto::ControlAct) -> String {
    let proto::ControlAct {
        target_pid,
        signal,
        command,
        ..
    } = control;
    match control.op() {
        proto::ControlOp::Signal => format!("signal   {signal} to {target_pid}"),
        proto::ControlOp::Ptrace => format!("ptrace   {target_pid} request {command:#x}"),
        proto::ControlOp::Bpf => format!("bpf      command {command}"),
        proto::ControlOp::Limit => format!("limit    {target_pid} resource {command}"),
        proto::ControlOp::Descriptor => format!("take     descriptor {command} of {target_pid}"),
        proto::ControlOp::Unspecified => "control".to_owned(),
    }
}

fn network_line(network: &proto::Network) -> String {
    let mut line = format!(
        "{:<8} {}",
        network.op().as_str_name().to_lowercase(),
        network.transport().as_str_name().to_lowercase()
    );
    for (sign, address) in [("from", &network.local), ("to", &network.peer)] {
        if let Some(address) = address {
            line.push_str(&format!(" {sign} {}", escaped(&address_name(address))));
        }
    }
    if network.op() == proto::NetworkOp::Close {
        line.push_str(&format!(
            " ({} bytes out, {} in)",
            network.bytes_sent, network.bytes_received
        ));
    }
    line
}

fn enforcement_line(enforcement: &proto::Enforcement) -> String {
    if let Some(gate) = &enforcement.gate {
        return gate_line(gate, enforcement.action());
    }
    format!(
        "GUARD    {} {}: {} files destroyed, limit {} within {} s; killed {:?}, {} survivors, {:.1} ms",
        escaped(enforcement.policy.as_bytes()),
        enforcement.action().as_str_name(),
        enforcement.count,
        enforcement.limit,
        enforcement.window_ns as f64 / 1e9,
        enforcement.killed,
        enforcement.survivors,
        enforcement.latency_ns as f64 / 1e6,
    )
}

fn gate_line(gate: &proto::GateAct, action: proto::Action) -> String {
    let command: Vec<_> = gate.argv.iter().map(|word| escaped(word)).collect();
    let (command, rule) = (command.join(" "), escaped(gate.rule.as_bytes()));
    let did = match (action, gate.answer()) {
        (proto::Action::Kill, _) => "ended before it ran",
        (proto::Action::Hold, proto::HoldAnswer::Unspecified) => "held",
        _ => "runs",
    };
    let why = match gate.answer() {
        proto::HoldAnswer::Unspecified => String::new(),
        answer => format!(", {}", answer.as_str_name()),
    };
    let by = gate
        .decided_by_uid
        .map(|uid| format!(" by uid {uid}"))
        .unwrap_or_default();
    let hold = match gate.hold.as_str() {
        "" => String::new(),
        hold => format!(", hold {}", escaped(hold.as_bytes())),
    };
    format!("GATE     {rule}: {did}{why}{by}{hold}: {command}")
}

fn session_end(end: &proto::SessionEnd) -> String {
    let totals = end.totals.clone().unwrap_or_default();
    let lost: u64 = totals.lost.iter().map(|kind| kind.count).sum();
    format!(
        "session ends: {}; {} records, {} processes, {} files destroyed, {} lost, {:.3} s",
        end.reason().as_str_name(),
        totals.records,
        totals.processes,
        totals.files_destroyed,
        lost,
        totals.duration_ns as f64 / 1e9,
    )
}
