//! `verify`: finds records that were altered, removed or cut off.

use std::fmt;
use std::path::Path;
use std::process::ExitCode;

use super::setup::StoreArgs;
use super::{Common, Error};
use crate::collector::{self, Gap};
use crate::record::chain::CHAIN_BYTES;
use crate::record::{Seq, StreamId, proto};
use crate::replay::escaped;
use crate::spool::{Item, Store};

/// Arguments of `verify`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    store: StoreArgs,
}

/// The state of a stream, the mildest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Verdict {
    Intact,
    LossDeclared,
    CutOff,
    Altered,
}

impl Verdict {
    fn status(self) -> u8 {
        match self {
            Self::Intact => 0,
            Self::LossDeclared => 3,
            Self::CutOff => 5,
            Self::Altered => 4,
        }
    }

    fn words(self) -> &'static str {
        match self {
            Self::Intact => "intact",
            Self::LossDeclared => "intact, with losses that it declares",
            Self::CutOff => "cut off at the end",
            Self::Altered => "ALTERED",
        }
    }
}

/// Most ranges that are named one by one; further ones are counted.
const NAMED: usize = 8;

/// Exits with 0 for intact, 3 for a declared loss, 4 for altered, 5 for cut off at
/// the end: the worst of all streams.
pub(super) fn run(args: &Args, common: &Common) -> Result<ExitCode, Error> {
    let store = args.store.open(common)?;
    let mut worst = Verdict::Intact;
    for stream in store.streams()? {
        let found = Found::of(&store, stream)?;
        println!("{stream}  {found}");
        worst = worst.max(found.verdict);
    }
    Ok(ExitCode::from(worst.status()))
}

/// The findings about one stream.
#[derive(Debug)]
struct Found {
    verdict: Verdict,
    first: Seq,
    last: Seq,
    remarks: Vec<String>,
    missing: Vec<Missing>,
}

/// Missing numbers.
#[derive(Debug)]
struct Missing {
    first: Seq,
    last: Seq,
    why: &'static str,
    /// The record that declares the loss, and whether the disk or a third party
    /// caused it.
    declared: Option<(Seq, bool)>,
}

impl Found {
    fn of(store: &Store, stream: StreamId) -> Result<Self, Error> {
        let mut chain = store.beginning(stream);
        let mut found = Self {
            verdict: Verdict::Intact,
            first: chain.seq().next(),
            last: chain.seq(),
            remarks: Vec::new(),
            missing: Vec::new(),
        };
        let mut cursor = store.cursor(stream)?;
        // After missing records the chain continues with the next record's own value.
        let mut anchored = chain.value() != [0; CHAIN_BYTES];
        if chain.seq() > Seq::default() {
            found
                .remarks
                .push(format!("1 to {} were taken away to make room", chain.seq()));
        }
        while let Some(item) = cursor.next()? {
            match item {
                Item::Record { seq, record, bytes } => {
                    if !chain.verify(seq, &bytes) && anchored {
                        let what = format!("record {seq} does not continue the chain");
                        found.say(Verdict::Altered, what);
                    }
                    anchored = true;
                    if let Some(proto::record::Body::Loss(loss)) = &record.body {
                        found.declare(seq, loss);
                    }
                }
                Item::Damage {
                    first,
                    last: Some(last),
                    why,
                } => {
                    anchored = false;
                    found.missing.push(Missing {
                        first,
                        last,
                        why,
                        declared: None,
                    });
                }
                Item::Damage {
                    first,
                    last: None,
                    why,
                } => {
                    found.say(Verdict::CutOff, format!("from {first} on {why}"));
                    break;
                }
                Item::Flaw { at, why } => {
                    found.say(Verdict::Altered, format!("at {at}, {why}"));
                }
            }
        }
        found.last = chain.seq();
        found.declare_absent(&store.folder(stream))?;
        if let Some((durable, value)) = store.head(stream) {
            if durable > chain.seq() {
                found.say(Verdict::CutOff, format!("{durable} was durable once"));
            } else if durable == chain.seq() && value != chain.value() {
                let what = "its end is not the one that was durable";
                found.say(Verdict::Altered, what.to_owned());
            }
        }
        found.judge_missing();
        Ok(found)
    }

    fn say(&mut self, verdict: Verdict, what: String) {
        self.verdict = self.verdict.max(verdict);
        // One altered record breaks the chain once. After many the remarks are cut.
        if self.remarks.len() < NAMED {
            self.remarks.push(what);
        }
    }

    fn declare(&mut self, by: Seq, loss: &proto::Loss) {
        self.verdict = self.verdict.max(Verdict::LossDeclared);
        let told = loss.first_seq..=loss.last_seq;
        for range in &mut self.missing {
            if told.contains(&range.first.0) && told.contains(&range.last.0) {
                range.declared = Some((by, loss.was_durable && !loss.freed));
            }
        }
    }

    /// Takes the gaps that a collector declared for its copy; a host has no such
    /// file.
    fn declare_absent(&mut self, folder: &Path) -> Result<(), Error> {
        let absent = collector::declared(folder).map_err(|source| Error::System {
            what: format!("read what is declared absent in {}", folder.display()),
            source,
        })?;
        self.missing
            .retain(|range| !covers(&absent, range.first, range.last));
        for Gap { first, last, why } in &absent {
            let why = escaped(why.as_bytes());
            self.say(
                Verdict::LossDeclared,
                format!("{first} to {last} are absent: {why}"),
            );
        }
        Ok(())
    }

    fn judge_missing(&mut self) {
        let missing = std::mem::take(&mut self.missing);
        let more = missing.len().saturating_sub(NAMED);
        for range in missing {
            let Missing {
                first, last, why, ..
            } = range;
            let (verdict, remark) = match range.declared {
                Some((by, false)) => (
                    Verdict::LossDeclared,
                    format!("{first} to {last} are missing, as record {by} says"),
                ),
                Some((by, true)) => (
                    Verdict::Altered,
                    format!(
                        "{first} to {last} are missing, which were durable once, as record {by} says"
                    ),
                ),
                None => (
                    Verdict::Altered,
                    format!("{first} to {last} are missing: {why}"),
                ),
            };
            self.say(verdict, remark);
        }
        if more > 0 {
            self.remarks.push(format!("and {more} more ranges"));
        }
    }
}

/// Whether every number of a range is declared. `absent` is in the order of its
/// numbers.
fn covers(absent: &[Gap], first: Seq, last: Seq) -> bool {
    let mut next = first;
    for absence in absent {
        if absence.first <= next && absence.last >= next {
            next = absence.last.next();
        }
    }
    next > last
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            verdict,
            first,
            last,
            ..
        } = self;
        write!(f, "{first}–{last}  {}", verdict.words())?;
        if !self.remarks.is_empty() {
            write!(f, ": {}", self.remarks.join("; "))?;
        }
        Ok(())
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failed unwrap fails the test")]
mod tests {
    use std::fs;

    use super::*;
    use crate::spool::{Options, Spool};

    /// Five synced records, after `change` altered the bytes of the one segment.
    fn after(change: impl FnOnce(&mut Vec<u8>)) -> (tempfile::TempDir, Found) {
        let dir = tempfile::tempdir_in("/dev/shm").unwrap();
        let mut spool = Spool::open(dir.path(), Options::default()).unwrap();
        append(&mut spool, 5);
        let segment = spool.dir().join("00000000000000000001.seg");
        drop(spool);
        let mut bytes = fs::read(&segment).unwrap();
        change(&mut bytes);
        fs::write(&segment, bytes).unwrap();
        let found = verified(dir.path());
        (dir, found)
    }

    fn append(spool: &mut Spool, count: usize) {
        for _ in 0..count {
            let body = Some(proto::record::Body::StreamEvent(
                proto::StreamEvent::default(),
            ));
            spool
                .append(proto::Record {
                    body,
                    ..Default::default()
                })
                .unwrap();
        }
        spool.sync().unwrap();
    }

    fn verified(directory: &Path) -> Found {
        let store = Store::open(directory).unwrap();
        let stream = store.streams().unwrap()[0];
        Found::of(&store, stream).unwrap()
    }

    #[test]
    fn what_is_as_it_was_written_is_intact() {
        let (_dir, found) = after(|_| {});
        assert_eq!(found.verdict.status(), 0);
        assert!(found.to_string().ends_with("1–5  intact"), "{found}");
    }

    /// S4.
    #[test]
    fn a_damaged_header_a_damaged_record_and_a_cut_end_have_their_status() {
        let (_dir, found) = after(|bytes| bytes[20] ^= 1);
        assert_eq!(found.verdict.status(), 4, "{found}");
        let (_dir, found) = after(|bytes| bytes[64 + 20] ^= 1);
        assert_eq!(found.verdict.status(), 4, "{found}");
        assert!(found.to_string().contains("1 to 1 are missing"), "{found}");
        let (_dir, found) = after(|bytes| bytes.truncate(bytes.len() - 1));
        assert_eq!(found.verdict.status(), 5, "{found}");
    }

    /// S4: a recorder that continues after damage does not repair it.
    #[test]
    fn a_durable_record_that_is_lost_stays_altered_though_the_recorder_says_so() {
        let (dir, _) = after(|bytes| bytes.truncate(bytes.len() - 1));
        let mut spool = Spool::open(dir.path(), Options::default()).unwrap();
        for body in spool.take_news() {
            let record = proto::Record {
                body: Some(body),
                ..Default::default()
            };
            spool.append(record).unwrap();
        }
        append(&mut spool, 2);
        let found = verified(dir.path());
        assert_eq!(found.verdict.status(), 4, "{found}");
        let text = found.to_string();
        assert!(
            text.contains("5 to 5 are missing, which were durable once, as record 6 says"),
            "{text}"
        );
    }
}
