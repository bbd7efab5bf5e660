//! A session as one page without network access or scripts.
//!
//! The template escapes everything recorded. The page's policy forbids every resource
//! but its own style (CSP level 3).

use std::collections::BTreeSet;
use std::io::{self, Write};

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::json::rfc3339;
use super::tree::Tree;
use super::view::{Output, View};
use crate::record::{RecordKind, SessionId, StreamId, proto};
use crate::replay::escaped;
use crate::replay::render::{authority_line, line, rendered};
use proto::record::Body;

/// Most records of one page: a browser handles some tens of thousands of rows.
const MAX_ROWS: usize = 50_000;

const STYLE: &str = include_str!("page.css");
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'";

#[derive(Debug)]
struct Row {
    since_ns: u64,
    process: String,
    kind: RecordKind,
    line: String,
    failed: bool,
}

/// Writes the page after the last record.
struct HtmlView<'a> {
    page: Page,
    out: Output<'a>,
}

pub(super) fn view(out: Output<'_>) -> Box<dyn View + '_> {
    Box::new(HtmlView {
        page: Page::default(),
        out,
    })
}

impl View for HtmlView<'_> {
    fn show(&mut self, _: StreamId, record: &proto::Record) -> io::Result<()> {
        self.page.add(record);
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn finish(self: Box<Self>) -> io::Result<()> {
        self.page.write(self.out)?;
        self.out.flush()
    }
}

/// The collected contents of the page.
#[derive(Debug, Default)]
struct Page {
    start: Option<(proto::Record, proto::SessionStart)>,
    end: Option<String>,
    enforcements: Vec<String>,
    first_ns: Option<u64>,
    rows: Vec<Row>,
    left_out: usize,
    tree: Tree,
}

impl Page {
    /// Adds a record.
    fn add(&mut self, record: &proto::Record) {
        let body = record.body.as_ref();
        match body {
            Some(Body::SessionStart(start)) => self.start = Some((record.clone(), start.clone())),
            Some(Body::SessionEnd(_)) => self.end = Some(line(body)),
            Some(Body::Enforcement(_)) => self.enforcements.push(line(body)),
            _ => {}
        }
        self.tree.add(record);
        if self.rows.len() >= MAX_ROWS {
            self.left_out += 1;
            return;
        }
        let first = *self.first_ns.get_or_insert(record.time_boot_ns);
        let process = record.process.as_ref();
        self.rows.push(Row {
            since_ns: record.time_boot_ns.saturating_sub(first),
            process: process.map_or_else(String::new, |process| {
                format!("{} {}", process.pid, escaped(&process.comm))
            }),
            kind: RecordKind::of(body),
            failed: body.is_some_and(|body| rendered(body).errno() != 0),
            line: line(body),
        });
    }

    fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        let mut tree = Vec::new();
        self.tree.write(&mut tree)?;
        let page = self.markup(&String::from_utf8_lossy(&tree));
        out.write_all(page.into_string().as_bytes())
    }

    /// The kinds of the rows, in the order of the list.
    fn kinds(&self) -> BTreeSet<RecordKind> {
        self.rows.iter().map(|row| row.kind).collect()
    }

    fn markup(&self, tree: &str) -> Markup {
        let hiding: String = self.kinds().into_iter().map(hiding_rule).collect();
        html! {
            (DOCTYPE)
            html lang="en" {
                head {
                    meta charset="utf-8";
                    meta http-equiv="Content-Security-Policy" content=(POLICY);
                    meta name="viewport" content="width=device-width";
                    title { "Session " (self.title()) }
                    style { (PreEscaped(STYLE)) (PreEscaped(hiding)) }
                }
                body {
                    h1 { "Session " (self.title()) }
                    (self.summary())
                    h2 { "Processes" }
                    pre { (tree) }
                    h2 { "Records" }
                    (self.table())
                }
            }
        }
    }

    fn title(&self) -> String {
        self.start
            .as_ref()
            .and_then(|(record, _)| SessionId::from_bytes(&record.session_id))
            .map(|session| session.to_string())
            .unwrap_or_default()
    }

    fn summary(&self) -> Markup {
        html! {
            dl {
                @if let Some((record, start)) = &self.start {
                    dt { "Agent" } dd { (escaped(start.agent.as_bytes())) " (by " (escaped(start.rule.as_bytes())) ")" }
                    @if let Some(authority) = &start.authority {
                        dt { "Authority" } dd { (authority_line(authority)) }
                    }
                    dt { "Began" } dd { (rfc3339(record.time_unix_ns)) " on " (escaped(&start.host)) }
                }
                @for enforcement in &self.enforcements {
                    dt.guard { "Guard" } dd.guard { (enforcement) }
                }
                @if let Some(end) = &self.end {
                    dt { "End" } dd { (end) }
                }
            }
        }
    }

    fn table(&self) -> Markup {
        html! {
            div.records {
                @for kind in self.kinds() {
                    input type="checkbox" id=(kind.name()) checked;
                    label for=(kind.name()) { (kind.name()) }
                }
                table {
                    thead { tr { th { "Seconds" } th { "Process" } th { "Act" } } }
                    tbody {
                        @for row in &self.rows {
                            tr class=(row.kind.name()) {
                                td { (format!("{}.{:06}", row.since_ns / 1_000_000_000, row.since_ns % 1_000_000_000 / 1000)) }
                                td { (row.process) }
                                @if row.failed { td.failed { (row.line) } } @else { td { (row.line) } }
                            }
                        }
                    }
                }
                @if self.left_out > 0 {
                    p { (self.left_out) " more records: see the text or JSON form." }
                }
            }
        }
    }
}

/// The CSS rule by which an unchecked box hides the rows of its kind.
fn hiding_rule(kind: RecordKind) -> String {
    let name = kind.name();
    format!("#{name}:not(:checked) ~ table .{name} {{ display: none; }}\n")
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failed unwrap fails the test")]
mod tests {
    use super::*;
    use crate::record::kinds::tests::one_of_each;

    #[test]
    fn what_a_session_named_cannot_become_markup() {
        let mut page = Page::default();
        page.add(&proto::Record {
            process: Some(proto::Process {
                comm: b"<img src=x>".to_vec(),
                ..Default::default()
            }),
            body: Some(Body::File(proto::File {
                op: proto::FileOp::Delete.into(),
                path: b"/tmp/</td><script>alert(1)</script>\"'&".to_vec(),
                ..Default::default()
            })),
            ..Default::default()
        });
        let mut out = Vec::new();
        page.write(&mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert!(
            !text.contains("<script") && !text.contains("<img"),
            "{text}"
        );
        assert!(text.contains("&lt;script&gt;alert(1)"));
    }

    #[test]
    fn a_name_that_looks_like_an_error_is_not_marked_as_one() {
        let mut page = Page::default();
        for (path, error) in [("/a  ! ENOENT", 0), ("/b", libc::ENOENT.cast_unsigned())] {
            page.add(&proto::Record {
                body: Some(Body::File(proto::File {
                    path: path.into(),
                    error,
                    ..Default::default()
                })),
                ..Default::default()
            });
        }
        let failed: Vec<_> = page.rows.iter().map(|row| row.failed).collect();
        assert_eq!(failed, [false, true]);
    }

    /// A page with one record of each kind.
    fn of_every_kind() -> String {
        let mut page = Page::default();
        for body in one_of_each() {
            page.add(&proto::Record {
                body,
                ..Default::default()
            });
        }
        let mut out = Vec::new();
        page.write(&mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn every_kind_that_is_shown_can_be_hidden() {
        let page = of_every_kind();
        for kind in RecordKind::ALL {
            let name = kind.name();
            let row = format!("<tr class=\"{name}\">");
            let its_box = format!("<input type=\"checkbox\" id=\"{name}\" checked>");
            let rule = format!("#{name}:not(:checked) ~ table .{name}");
            for part in [row, its_box, rule] {
                assert!(page.contains(&part), "{part} in {page}");
            }
        }
    }
}
