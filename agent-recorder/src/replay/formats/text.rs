//! Records as text: a heading, one line a record, a closing line.

use std::io;

use super::json::rfc3339;
use super::view::{Output, View};
use crate::record::{SessionId, StreamId, proto};
use crate::replay::acts::Act;
use crate::replay::escaped;
use crate::replay::render::{authority_line, line};
use proto::record::Body;

/// Writes records as lines, with times since the first record.
struct TextView<'a> {
    out: Output<'a>,
    first_ns: Option<u64>,
}

pub(super) fn view(out: Output<'_>) -> Box<dyn View + '_> {
    Box::new(TextView {
        out,
        first_ns: None,
    })
}

impl View for TextView<'_> {
    fn show(&mut self, _: StreamId, record: &proto::Record) -> io::Result<()> {
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

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }

    fn finish(mut self: Box<Self>) -> io::Result<()> {
        self.flush()
    }
}

impl TextView<'_> {
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

/// One act on a path as a line, with its time and its author.
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
