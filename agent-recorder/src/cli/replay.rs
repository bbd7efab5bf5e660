//! `replay`: what a session did.

use std::io::{self, BufWriter, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use super::setup::Setting;
use super::{Common, Error};
use crate::replay::{Reader, SessionChoice, TextWriter, Tree, to_json};
use crate::spool::Store;

/// Arguments of `replay`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The session's id, or the beginning of it, or `last`.
    #[arg(default_value = "last", value_name = "ID")]
    session: String,
    /// How to show it.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    /// A collector's store instead of the state directory's spool.
    #[arg(long, value_name = "DIR")]
    store: Option<PathBuf>,
}

/// How to show it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// One line a record.
    Text,
    /// The tree of processes.
    Tree,
    /// One JSON object a line.
    Json,
}

/// Records or bytes are missing in what was shown.
const LOSS: u8 = 3;

/// 0; 3 when what was shown has gaps.
pub(super) fn run(args: &Args, common: &Common) -> Result<ExitCode, Error> {
    let directory = match &args.store {
        Some(store) => store.clone(),
        None => Setting::load(common)?
            .config
            .recorder
            .state_dir
            .join("spool"),
    };
    let store = Store::open(&directory)?;
    let choice = match args.session.as_str() {
        "last" => SessionChoice::Last,
        prefix => SessionChoice::Prefix(prefix.to_lowercase()),
    };
    let mut reader = Reader::open(&store, &choice)?;
    match show(&mut reader, args.format)? {
        // Whoever read it has seen enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(ExitCode::SUCCESS),
        Err(source) => {
            return Err(Error::System {
                what: "write to standard output".to_owned(),
                source,
            });
        }
        Ok(()) => {}
    }
    if reader.loss {
        eprintln!("agent-recorder: records were lost while this session ran; see its loss records");
        return Ok(ExitCode::from(LOSS));
    }
    Ok(ExitCode::SUCCESS)
}

fn show(reader: &mut Reader, format: Format) -> Result<io::Result<()>, Error> {
    let mut out = BufWriter::new(io::stdout().lock());
    let stream = reader.stream();
    let mut tree = Tree::default();
    let mut text = TextWriter::new(&mut out);
    let mut lines = Vec::new();
    while let Some(record) = reader.read()? {
        let written = match format {
            Format::Tree => {
                tree.add(&record);
                Ok(())
            }
            Format::Text => text.write(&record),
            Format::Json => {
                lines.clear();
                // A Vec grows, and the value is a tree of strings and numbers: neither side can fail.
                serde_json::to_writer(&mut lines, &to_json(stream, &record))
                    .map_err(io::Error::from)
                    .and_then(|()| {
                        lines.push(b'\n');
                        text.raw(&lines)
                    })
            }
        };
        if let Err(error) = written {
            return Ok(Err(error));
        }
    }
    if format == Format::Tree
        && let Err(error) = tree.write(&mut out)
    {
        return Ok(Err(error));
    }
    Ok(out.flush())
}
