//! Gaps that a copy will never fill: gaps that the daemon left, and records that were
//! refused. They are declared in the stream's folder before anything after them is
//! acknowledged, so that `verify` distinguishes a declared loss from a removal.
//!
//! The file `absent` has a line for each run of numbers: first, last, reason. A line
//! without its end was never acknowledged, and is cut.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use crate::record::Seq;

const FILE: &str = "absent";

/// A run of numbers that a copy lacks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gap {
    /// First number.
    pub first: Seq,
    /// Last number.
    pub last: Seq,
    /// Reason.
    pub why: String,
}

/// The declared gaps of the stream in `folder`, in the order of their numbers; empty
/// where there is no file.
///
/// # Errors
///
/// The file exists and cannot be read.
pub fn declared(folder: &Path) -> io::Result<Vec<Gap>> {
    let text = match std::fs::read(folder.join(FILE)) {
        Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    let mut gaps: Vec<_> = whole.lines().filter_map(parse).collect();
    gaps.sort_by_key(|gap| gap.first);
    Ok(gaps)
}

fn parse(line: &str) -> Option<Gap> {
    let mut parts = line.splitn(3, ' ');
    let mut number = || parts.next()?.parse().ok().map(Seq);
    Some(Gap {
        first: number()?,
        last: number()?,
        why: parts.next()?.to_owned(),
    })
}

/// The last number up to which every record is stored or declared. `held` is the last
/// stored one.
pub(super) fn extended(held: Seq, gaps: &[Gap]) -> Seq {
    gaps.iter().fold(held, |end, gap| {
        if gap.first <= end.next() {
            end.max(gap.last)
        } else {
            end
        }
    })
}

/// The file of one stream, open for appending.
#[derive(Debug)]
pub(super) struct Gaps {
    path: PathBuf,
    file: Option<File>,
    /// Gaps that are not written yet.
    news: Vec<Gap>,
}

impl Gaps {
    /// Opens the file, and cuts a torn line.
    pub(super) fn open(folder: &Path) -> io::Result<Self> {
        let path = folder.join(FILE);
        match std::fs::read(&path) {
            Ok(bytes) => {
                let whole = bytes.iter().rposition(|byte| *byte == b'\n');
                let whole = whole.map_or(0, |end| end + 1);
                if whole < bytes.len() {
                    OpenOptions::new()
                        .write(true)
                        .open(&path)?
                        .set_len(whole as u64)?;
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        Ok(Self {
            path,
            file: None,
            news: Vec::new(),
        })
    }

    /// Adds a run. Runs that touch become one.
    pub(super) fn add(&mut self, first: Seq, last: Seq, why: &str) {
        if let Some(before) = self.news.last_mut()
            && before.last.next() == first
            && before.why == why
        {
            before.last = last;
            return;
        }
        self.news.push(Gap {
            first,
            last,
            why: why.to_owned(),
        });
    }

    /// Makes the added gaps durable.
    pub(super) fn sync(&mut self) -> io::Result<()> {
        if self.news.is_empty() {
            return Ok(());
        }
        let file = match &mut self.file {
            Some(file) => file,
            none => {
                let file = OpenOptions::new()
                    .create(true)
                    .append(true)
                    .mode(0o600)
                    .open(&self.path)?;
                if let Some(folder) = self.path.parent() {
                    File::open(folder)?.sync_all()?;
                }
                none.insert(file)
            }
        };
        let mut lines = String::new();
        for Gap { first, last, why } in &self.news {
            lines.push_str(&format!("{first} {last} {why}\n"));
        }
        file.write_all(lines.as_bytes())?;
        file.sync_data()?;
        self.news.clear();
        Ok(())
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn what_was_declared_is_read_back_and_a_torn_line_is_not() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(declared(dir.path()).unwrap(), []);
        let mut gaps = Gaps::open(dir.path()).unwrap();
        gaps.add(Seq(4), Seq(4), "refused: it is no record");
        gaps.add(Seq(5), Seq(5), "refused: it is no record");
        gaps.add(Seq(9), Seq(11), "never sent");
        gaps.sync().unwrap();
        let path = dir.path().join(FILE);
        let mut bytes = std::fs::read(&path).unwrap();
        bytes.extend_from_slice(b"12 1");
        std::fs::write(&path, &bytes).unwrap();
        let read = declared(dir.path()).unwrap();
        assert_eq!(read.len(), 2);
        assert_eq!((read[0].first, read[0].last), (Seq(4), Seq(5)));
        assert_eq!(extended(Seq(3), &read), Seq(5));
        assert_eq!(extended(Seq(8), &read), Seq(11));
        assert_eq!(extended(Seq(20), &read), Seq(20));
        let mut gaps = Gaps::open(dir.path()).unwrap();
        gaps.add(Seq(12), Seq(12), "never sent");
        gaps.sync().unwrap();
        assert_eq!(declared(dir.path()).unwrap().len(), 3);
    }
}
