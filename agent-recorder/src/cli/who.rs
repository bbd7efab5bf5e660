//! `who`: lists every recorded act on a path, and its author.

use std::ffi::OsString;
use std::io::{self, BufWriter, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path, PathBuf};
use std::process::ExitCode;

use super::setup::StoreArgs;
use super::{Common, Error, Format, LOSS};
use crate::replay::{Act, Acts, act_line, write_json};

/// Arguments of `who`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The path; a relative one starts at the working directory, and links are not resolved
    #[arg(value_name = "PATH")]
    path: OsString,
    /// Form of the output
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    #[command(flatten)]
    store: StoreArgs,
}

/// Exits with 0, or with 3 when records are missing in the searched streams.
pub(super) fn run(args: &Args, common: &Common) -> Result<ExitCode, Error> {
    let store = args.store.open(common)?;
    let path = absolute(Path::new(&args.path))?;
    let found = Acts::on(&store, path.as_os_str().as_bytes())?;
    match show(&found.acts, args.format) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            return Err(Error::System {
                what: "write to standard output".to_owned(),
                source: error,
            });
        }
        _ => {}
    }
    if found.loss {
        eprintln!("agent-recorder: records were lost: there may have been other acts");
        return Ok(ExitCode::from(LOSS));
    }
    Ok(ExitCode::SUCCESS)
}

fn show(acts: &[Act], format: Format) -> io::Result<()> {
    let mut out = BufWriter::new(io::stdout().lock());
    for act in acts {
        match format {
            Format::Text => writeln!(out, "{}", act_line(act))?,
            Format::Json => write_json(&mut out, act.stream, &act.record)?,
        }
    }
    out.flush()
}

/// The path in the form of records: absolute, without `.` and `..`. Links stay,
/// because a deleted path cannot be resolved.
fn absolute(path: &Path) -> Result<PathBuf, Error> {
    let path = std::path::absolute(path).map_err(|source| Error::System {
        what: format!("make {} absolute", path.display()),
        source,
    })?;
    let mut out = PathBuf::new();
    for component in path.components() {
        match component {
            Component::ParentDir => {
                out.pop();
            }
            Component::CurDir => {}
            other => out.push(other),
        }
    }
    Ok(out)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failed unwrap fails the test")]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_taken_by_its_words() {
        assert_eq!(
            absolute(Path::new("/a/./b/../c/")).unwrap(),
            Path::new("/a/c")
        );
        assert_eq!(absolute(Path::new("/..")).unwrap(), Path::new("/"));
        assert!(absolute(Path::new("x")).unwrap().is_absolute());
    }
}
