//! `replay`: shows the acts of a session.

use std::io::{self, BufWriter};
use std::process::ExitCode;

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};

use super::setup::StoreArgs;
use super::{Common, Error, LOSS};
use crate::record::RecordKind;
use crate::replay::{FORMATS, Filter, Format, Reader, SessionChoice, Wanted};

/// Arguments of `replay`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The session's id or the beginning of it, or `last` for the newest session
    #[arg(default_value = "last", value_name = "ID")]
    session: String,
    /// Form of the output
    #[arg(long, default_value = FORMATS[0].name, value_parser = format_parser())]
    format: &'static Format,
    #[arg(
        long,
        value_delimiter = ',',
        value_name = "K,…",
        help = format!("Show only records of these kinds: {}", RecordKind::words())
    )]
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

/// A parser of format names, each with its description.
fn format_parser() -> impl TypedValueParser<Value = &'static Format> {
    let names = FORMATS
        .iter()
        .map(|format| PossibleValue::new(format.name).help(format.about));
    PossibleValuesParser::new(names)
        .try_map(|name| Format::named(&name).ok_or_else(|| format!("no format {name}")))
}

/// Exits with 0, or with 3 when the output has gaps.
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
    let mut view = args.format.view(&mut out);
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
        // The reader has closed the pipe, and needs no more output.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(ExitCode::SUCCESS),
        other => other.map_err(system("write to standard output"))?,
    }
    if reader.loss {
        eprintln!("agent-recorder: records were lost while this session ran; see its loss records");
        return Ok(ExitCode::from(LOSS));
    }
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failed unwrap fails the test")]
mod tests {
    use clap::CommandFactory as _;

    use crate::cli::Cli;
    use crate::record::RecordKind;

    #[test]
    fn help_names_every_kind_that_can_be_asked_for() {
        let mut cli = Cli::command();
        let replay = cli.find_subcommand_mut("replay").unwrap();
        let kind = replay.get_arguments().find(|it| it.get_id() == "kind");
        let help = kind.unwrap().get_help().unwrap().to_string();
        for kind in RecordKind::ALL {
            assert!(help.contains(kind.name()), "{} in {help}", kind.name());
        }
    }
}
