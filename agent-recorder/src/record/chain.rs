//! Number and chain of records, which expose a missing or altered record.
//!
//! A record's chain value is SHA-256 over the previous value and the record's
//! encoding without that field. Stored bytes are that encoding followed by field 5
//! (tag byte, length byte, 32 bytes), so that both are found without decoding.

use prost::Message as _;
use sha2::{Digest as _, Sha256};

use super::{Seq, StreamId, proto};

/// Bytes of a chain value.
pub const CHAIN_BYTES: usize = 32;
/// Tag of field 5 with wire type 2, and the length (protobuf encoding, "Message
/// Structure").
const FIELD: [u8; 2] = [5 << 3 | 2, CHAIN_BYTES as u8];

/// The last number of a stream and its chain value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chain {
    seq: Seq,
    value: [u8; CHAIN_BYTES],
}

impl Chain {
    /// The chain before a stream's first record: the value is the hash of the
    /// stream's id.
    pub fn start(stream: StreamId) -> Self {
        Self {
            seq: Seq::default(),
            value: Sha256::digest(stream.to_bytes()).into(),
        }
    }

    /// The chain after the record with this number and value.
    pub fn at(seq: Seq, value: [u8; CHAIN_BYTES]) -> Self {
        Self { seq, value }
    }

    /// The last number.
    pub fn seq(&self) -> Seq {
        self.seq
    }

    /// The last chain value.
    pub fn value(&self) -> [u8; CHAIN_BYTES] {
        self.value
    }

    /// Numbers a record and appends its stored bytes to `out`.
    pub fn append(&mut self, mut record: proto::Record, out: &mut Vec<u8>) -> Seq {
        let seq = self.seq.next();
        record.seq = seq.0;
        record.chain.clear();
        let from = out.len();
        out.reserve(record.encoded_len() + FIELD.len() + CHAIN_BYTES);
        // A Vec grows, so encoding into it cannot fail.
        record.encode_raw(out);
        let value = self.next_value(&out[from..]);
        out.extend_from_slice(&FIELD);
        out.extend_from_slice(&value);
        *self = Self { seq, value };
        seq
    }

    /// Whether stored bytes continue this chain. If so, the chain advances.
    pub fn verify(&mut self, seq: Seq, stored: &[u8]) -> bool {
        let Some((body, value)) = split(stored) else {
            return false;
        };
        let expected = self.next_value(body);
        let continues = seq == self.seq.next() && value == expected;
        *self = Self { seq, value };
        continues
    }

    fn next_value(&self, body: &[u8]) -> [u8; CHAIN_BYTES] {
        Sha256::new()
            .chain_update(self.value)
            .chain_update(body)
            .finalize()
            .into()
    }
}

/// Splits stored bytes into the encoding without the chain field, and the chain
/// value.
pub fn split(stored: &[u8]) -> Option<(&[u8], [u8; CHAIN_BYTES])> {
    let (rest, value) = stored.split_last_chunk::<CHAIN_BYTES>()?;
    Some((rest.strip_suffix(&FIELD)?, *value))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn stored(chain: &mut Chain, event: &str) -> Vec<u8> {
        let mut out = Vec::new();
        let event = proto::StreamEvent {
            event: event.to_owned(),
            ..Default::default()
        };
        let body = Some(proto::record::Body::StreamEvent(event));
        chain.append(
            proto::Record {
                body,
                ..Default::default()
            },
            &mut out,
        );
        out
    }

    #[test]
    fn an_altered_a_dropped_and_a_swapped_record_break_the_chain() {
        let stream = StreamId::generate();
        let mut writer = Chain::start(stream);
        let records: Vec<_> = ["a", "b", "c"]
            .map(|event| stored(&mut writer, event))
            .into();
        let verify = |order: &[(u64, &[u8])]| {
            let mut chain = Chain::start(stream);
            order
                .iter()
                .all(|(seq, bytes)| chain.verify(Seq(*seq), bytes))
        };
        assert!(verify(&[
            (1, &records[0]),
            (2, &records[1]),
            (3, &records[2])
        ]));
        assert!(!verify(&[(1, &records[0]), (2, &records[2])]));
        assert!(!verify(&[(1, &records[1]), (2, &records[0])]));
        let mut altered = records[1].clone();
        altered[3] ^= 1;
        assert!(!verify(&[(1, &records[0]), (2, &altered)]));
    }

    #[test]
    fn stored_bytes_decode_as_the_record_with_its_chain_value() {
        let mut chain = Chain::start(StreamId::generate());
        let bytes = stored(&mut chain, "x");
        let decoded = proto::Record::decode(bytes.as_slice()).unwrap();
        assert_eq!(decoded.seq, 1);
        assert_eq!(decoded.chain, chain.value());
    }
}
