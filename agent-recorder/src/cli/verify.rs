//! `verify`: whether anything was altered, removed or cut off.

use std::process::ExitCode;

use super::setup::StoreArgs;
use super::{Common, Error};
use crate::collector::{self, Absence};
use crate::record::chain::Chain;
use crate::record::{Seq, StreamId, proto};
use crate::replay::escaped;
use crate::spool::{Item, Store};

/// Declared absences that are shown of one stream.
const REMARKS: usize = 20;

/// Arguments of `verify`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    store: StoreArgs,
}

/// What a stream turned out to be, the mildest first.
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

/// 0 intact, 3 loss declared, 4 altered, 5 cut off at the end; the worst of all streams.
pub(super) fn run(args: &Args, common: &Common) -> Result<ExitCode, Error> {
    let store = args.store.open(common)?;
    let mut worst = Verdict::Intact;
    for stream in store.streams()? {
        let (verdict, last, remark) = verify(&store, stream)?;
        println!("{stream}  1–{last}  {}{remark}", verdict.words());
        worst = worst.max(verdict);
    }
    Ok(ExitCode::from(worst.status()))
}

fn verify(store: &Store, stream: StreamId) -> Result<(Verdict, Seq, String), Error> {
    let mut chain = Chain::start(stream);
    let mut cursor = store.cursor(stream)?;
    let declared = declared(store, stream)?;
    let mut loss = !declared.is_empty();
    let mut after_absence = false;
    while let Some(item) = cursor.next()? {
        match item {
            Item::Record { seq, record, bytes } => {
                // Nothing ties what follows an absence to what was before it.
                if !chain.verify(seq, &bytes) && !std::mem::take(&mut after_absence) {
                    return Ok((
                        Verdict::Altered,
                        seq,
                        format!(": record {seq} does not continue the chain"),
                    ));
                }
                loss |= matches!(record.body, Some(proto::record::Body::Loss(_)));
            }
            Item::Damage {
                first,
                last: Some(last),
                ..
            } if covered(&declared, first, last) => after_absence = true,
            Item::Damage {
                first,
                last: Some(last),
                why,
            } => {
                return Ok((
                    Verdict::Altered,
                    last,
                    format!(": {why}, from {first} to {last}"),
                ));
            }
            Item::Damage {
                first,
                last: None,
                why,
            } => {
                return Ok((
                    Verdict::CutOff,
                    chain.seq(),
                    format!(": from {first} on {why}"),
                ));
            }
        }
    }
    if let Some((durable, value)) = store.head(stream) {
        if durable > chain.seq() {
            return Ok((
                Verdict::CutOff,
                chain.seq(),
                format!(": {durable} was durable once"),
            ));
        }
        if durable == chain.seq() && value != chain.value() {
            return Ok((
                Verdict::Altered,
                chain.seq(),
                ": its end is not the one that was durable".to_owned(),
            ));
        }
    }
    Ok((
        if loss {
            Verdict::LossDeclared
        } else {
            Verdict::Intact
        },
        chain.seq(),
        remark(&declared),
    ))
}

/// What the collector declared of its copy; nothing on a host.
fn declared(store: &Store, stream: StreamId) -> Result<Vec<Absence>, Error> {
    let folder = store.folder(stream);
    collector::declared(&folder).map_err(|source| Error::System {
        what: format!("read what is declared absent in {}", folder.display()),
        source,
    })
}

/// Whether every number of a gap is declared.
fn covered(declared: &[Absence], first: Seq, last: Seq) -> bool {
    let mut next = first;
    for absence in declared {
        if absence.first <= next && absence.last >= next {
            next = absence.last.next();
        }
    }
    next > last
}

fn remark(declared: &[Absence]) -> String {
    let mut text = String::new();
    for Absence { first, last, why } in declared.iter().take(REMARKS) {
        text.push_str(&format!(
            "\n    {first}–{last} absent: {}",
            escaped(why.as_bytes())
        ));
    }
    if declared.len() > REMARKS {
        text.push_str(&format!("\n    and {} more", declared.len() - REMARKS));
    }
    text
}
