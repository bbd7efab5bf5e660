//! `replay`: what a session did.

use std::io::{self, BufWriter, Write as _};
use std::process::ExitCode;

use super::setup::StoreArgs;
use super::{Common, Error, LOSS};
use crate::record::StreamId;
use crate::record::proto;
use crate::replay::{Filter, Page, Reader, SessionChoice, TextWriter, Tree, Wanted, to_json};

/// Arguments of `replay`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The session's id or the beginning of it, or `last` for the newest session
    #[arg(default_value = "last", value_name = "ID")]
    session: String,
    /// Form of the output
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    /// Only these kinds: session, exec, fork, exit, file, network, dns, enforcement, loss
    #[arg(long, value_delimiter = ',', value_name = "K,…")]
    kind: Vec<String>,
    /// Show only records about paths that match; `*` ends at a slash, `**` does not
    #[arg(long, value_name = "GLOB")]
    path: Option<String>,
    /// Show only records for whose JSON form this CEL expression is true, such as: file.op == 'DELETE' && process.uid == 0
    #[arg(long, value_name = "CEL")]
    filter: Option<String>,
    /// Show only records from this time on: 2026-11-23T10:00:00Z, "2026-11-23 10:00" in local time, or how long ago (10m)
    #[arg(long, value_name = "T")]
    since: Option<String>,
    /// Show only records before this time, in the same forms
    #[arg(long, value_name = "T")]
    until: Option<String>,
    /// Wait for more records until the session ends
    #[arg(long)]
    follow: bool,
    #[command(flatten)]
    store: StoreArgs,
}

/// How to show it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// One line for each record
    Text,
    /// The tree of the session's processes
    Tree,
    /// JSON, one object a line
    Json,
    /// One HTML page without any other file
    Html,
}

/// 0; 3 when what was shown has gaps.
pub(super) fn run(args: &Args, common: &Common) -> Result<ExitCode, Error> {
    let filter = Filter::new(&Wanted {
        kinds: args.kind.clone(),
        path: args.path.clone(),
        expression: args.filter.clone(),
        since: args.since.clone(),
        until: args.until.clone(),
    })?;
    let store = args.store.open(common)?;
    let choice = match args.session.as_str() {
        "last" => SessionChoice::Last,
        prefix => SessionChoice::Prefix(prefix.to_lowercase()),
    };
    let mut reader = Reader::open(&store, &choice)?;
    let mut watch = if args.follow {
        Some(store.watch(reader.stream())?)
    } else {
        None
    };
    let mut out = BufWriter::new(io::stdout().lock());
    let mut view = View::new(args.format, &mut out);
    let system = |what: &str| {
        let what = what.to_owned();
        move |source| Error::System { what, source }
    };
    let stream = reader.stream();
    let written = loop {
        match reader.read()? {
            Some(record) if filter.wants(stream, &record) => {
                if let Err(error) = view.show(stream, &record) {
                    break Err(error);
                }
            }
            Some(_) => {}
            None => match &mut watch {
                Some(watch) if !reader.ended() => {
                    if let Err(error) = view.flush() {
                        break Err(error);
                    }
                    watch.wait().map_err(system("wait for more records"))?;
                }
                _ => break view.finish(),
            },
        }
    };
    match written {
        // Whoever read it has seen enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(ExitCode::SUCCESS),
        other => other.map_err(system("write to standard output"))?,
    }
    if reader.loss {
        eprintln!("agent-recorder: records were lost while this session ran; see its loss records");
        return Ok(ExitCode::from(LOSS));
    }
    Ok(ExitCode::SUCCESS)
}

/// Records on their way to a form.
enum View<'a, W: io::Write> {
    Text(TextWriter<&'a mut W>),
    Json(&'a mut W),
    Tree(Tree, &'a mut W),
    Html(Box<Page>, &'a mut W),
}

impl<'a, W: io::Write> View<'a, W> {
    fn new(format: Format, out: &'a mut W) -> Self {
        match format {
            Format::Text => Self::Text(TextWriter::new(out)),
            Format::Json => Self::Json(out),
            Format::Tree => Self::Tree(Tree::default(), out),
            Format::Html => Self::Html(Box::default(), out),
        }
    }

    fn show(&mut self, stream: StreamId, record: &proto::Record) -> io::Result<()> {
        match self {
            Self::Text(text) => text.write(record)?,
            Self::Json(out) => writeln!(out, "{}", to_json(stream, record))?,
            Self::Tree(tree, _) => tree.add(record),
            Self::Html(page, _) => page.add(record),
        }
        Ok(())
    }

    /// Shows what is there, as far as the form can before its end.
    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Text(text) => text.flush(),
            Self::Json(out) => out.flush(),
            Self::Tree(..) | Self::Html(..) => Ok(()),
        }
    }

    fn finish(self) -> io::Result<()> {
        match self {
            Self::Text(mut text) => text.flush(),
            Self::Json(out) => out.flush(),
            Self::Tree(tree, out) => {
                tree.write(out)?;
                out.flush()
            }
            Self::Html(page, out) => {
                page.write(out)?;
                out.flush()
            }
        }
    }
}
