//! Arbitrary bytes in a ring are refused or become records, and these records can be
//! shown in every format. None of them ends the recorder.

use agent_recorder::bpf::decode;
use agent_recorder::config::HandOff;
use agent_recorder::record::{StreamId, proto};
use agent_recorder::replay::FORMATS;
use agent_recorder::session::handoff::HandOffs;
use agent_recorder::session::tamper::Own;
use agent_recorder::session::{Derivation, RuleName, Tracker};
use agent_recorder_abi::event::{Header, KINDS};
use anyhow::Context as _;
use proptest::prelude::*;

/// Events of few sessions and processes, so that they meet the state of earlier ones.
fn event() -> impl Strategy<Value = Vec<u8>> {
    let header = (
        0..=KINDS as u16,
        0..4u64,
        0..6u32,
        0..6u32,
        any::<u64>(),
        any::<[u8; 16]>(),
    );
    // Numbers of operations, lengths and marks are small; names are anything.
    let small = prop::collection::vec(
        prop_oneof![3 => Just(0), 2 => 0..20u8, 1 => any::<u8>()],
        0..200,
    );
    let name = prop::collection::vec(any::<u8>(), 0..300);
    let cut = prop_oneof![6 => Just(usize::MAX), 1 => 0..120usize];
    (header, small, name, cut).prop_map(|(header, small, name, cut)| {
        let (kind, session, pid, ppid, time, comm) = header;
        let header = Header {
            time,
            session,
            start_time: u64::from(pid) * 7,
            pid,
            tid: pid,
            ppid,
            kind,
            comm,
            ..Header::default()
        };
        let mut bytes = bytes_of(&header).to_vec();
        bytes.extend(small);
        bytes.extend(name);
        bytes.truncate(cut);
        bytes
    })
}

fn bytes_of(header: &Header) -> &[u8] {
    // SAFETY: `Header` is numbers without padding.
    unsafe { std::slice::from_raw_parts(std::ptr::from_ref(header).cast(), size_of::<Header>()) }
}

fn tracker() -> Tracker {
    let rule = RuleName {
        agent: "agent".to_owned(),
        rule: "rule".to_owned(),
    };
    let derivation = Derivation {
        handoffs: HandOffs::of(&HandOff::default()),
        own: Own::of_this(["/var/lib/agent-recorder".into()], []),
    };
    Tracker::new(vec![rule], derivation, "tracepoint")
}

/// The records in every format of `replay`; an error names the format.
fn show(records: &[proto::Record]) -> anyhow::Result<Vec<(&'static str, String)>> {
    let stream = StreamId::generate();
    let shown = FORMATS.iter().map(|format| {
        let mut out = Vec::new();
        let mut view = format.view(&mut out);
        for record in records {
            view.show(stream, record)?;
        }
        view.finish()?;
        let text = String::from_utf8(out).context(format.name)?;
        if format.name == "json" {
            for line in text.lines() {
                serde_json::from_str::<serde_json::Value>(line)?;
            }
        }
        Ok((format.name, text))
    });
    shown.collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn any_events_are_refused_or_become_records_that_can_be_shown(
        events in prop::collection::vec(event(), 1..40),
    ) {
        let mut tracker = tracker();
        tracker.begin_batch();
        let (mut records, mut notices) = (Vec::new(), Vec::new());
        for bytes in &events {
            if let Ok(event) = decode(bytes) {
                tracker.absorb(&event, &mut records, &mut notices);
            }
        }
        let shown = show(&records).map_err(|error| TestCaseError::fail(error.to_string()))?;
        for (format, text) in shown {
            let unprintable = text.chars().find(|it| it.is_control() && *it != '\n');
            prop_assert_eq!(unprintable, None, "{}: {}", format, text);
        }
    }
}
