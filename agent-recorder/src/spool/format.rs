//! The bytes of a segment: a header of 64 bytes, then frames.

use crate::record::{Seq, StreamId};

/// Bytes of a segment's header: magic, version, stream, first number, CRC32C.
pub(super) const HEADER_BYTES: usize = 64;
const MAGIC: &[u8; 8] = b"AGRECSEG";
const VERSION: u32 = 1;
/// Bytes before a payload: length, CRC32C over number and payload, number.
pub(super) const FRAME_BYTES: usize = 16;
/// Largest payload, bytes. The largest record has some 25 kB; a greater length is
/// damage.
pub(super) const MAX_PAYLOAD: usize = 1 << 20;

/// A segment's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SegmentHeader {
    pub(super) stream: StreamId,
    pub(super) first: Seq,
}

impl SegmentHeader {
    pub(super) fn encode(self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[..8].copy_from_slice(MAGIC);
        bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
        bytes[16..32].copy_from_slice(&self.stream.to_bytes());
        bytes[32..40].copy_from_slice(&self.first.0.to_le_bytes());
        let crc = crc32c::crc32c(&bytes[..60]);
        bytes[60..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// Decodes a header, or says what is wrong with the bytes.
    pub(super) fn decode(bytes: &[u8]) -> Result<Self, &'static str> {
        let bytes: &[u8; HEADER_BYTES] = bytes.first_chunk().ok_or("its header is cut off")?;
        if &bytes[..8] != MAGIC {
            return Err("it begins with other bytes");
        }
        if crc32c::crc32c(&bytes[..60]) != u32_at(bytes, 60) {
            return Err("its header's checksum is wrong");
        }
        if u32_at(bytes, 8) != VERSION {
            return Err("its version is unknown");
        }
        let stream = StreamId::from_bytes(&bytes[16..32]).ok_or("it names no stream")?;
        Ok(Self {
            stream,
            first: Seq(u64_at(bytes, 32)),
        })
    }
}

/// The frame's head for `payload`, to be written into the `FRAME_BYTES` before it.
pub(super) fn frame(seq: Seq, payload: &[u8]) -> [u8; FRAME_BYTES] {
    let mut bytes = [0; FRAME_BYTES];
    // The writer bounds payloads far below 4 GiB.
    bytes[..4].copy_from_slice(&(payload.len() as u32).to_le_bytes());
    bytes[8..].copy_from_slice(&seq.0.to_le_bytes());
    let crc = checksum(&bytes[8..], payload);
    bytes[4..8].copy_from_slice(&crc.to_le_bytes());
    bytes
}

/// The content at a position.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found<'a> {
    Frame {
        seq: Seq,
        payload: &'a [u8],
        bytes: usize,
    },
    /// The frame needs more bytes to be judged: `bytes` in all.
    Incomplete {
        bytes: usize,
    },
    Damaged,
}

/// Reads a frame. It allocates nothing, and reads nothing beyond [`MAX_PAYLOAD`].
pub(super) fn parse(bytes: &[u8]) -> Found<'_> {
    if bytes.len() < FRAME_BYTES {
        return Found::Incomplete { bytes: FRAME_BYTES };
    }
    let length = u32_at(bytes, 0) as usize;
    if length == 0 || length > MAX_PAYLOAD {
        return Found::Damaged;
    }
    let end = FRAME_BYTES + length;
    let Some(payload) = bytes.get(FRAME_BYTES..end) else {
        return Found::Incomplete { bytes: end };
    };
    if checksum(&bytes[8..FRAME_BYTES], payload) != u32_at(bytes, 4) {
        return Found::Damaged;
    }
    Found::Frame {
        seq: Seq(u64_at(bytes, 8)),
        payload,
        bytes: end,
    }
}

/// Length of the payload and number that a frame at this position would have; `None`
/// where there are too few bytes, or the bytes cannot be a frame.
pub(super) fn claim(bytes: &[u8]) -> Option<(usize, Seq)> {
    let length = u32_at(bytes.first_chunk::<FRAME_BYTES>()?, 0) as usize;
    (length != 0 && length <= MAX_PAYLOAD).then(|| (length, Seq(u64_at(bytes, 8))))
}

fn checksum(seq: &[u8], payload: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(seq), payload)
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes[at..]
        .first_chunk()
        .map_or(0, |bytes| u32::from_le_bytes(*bytes))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    bytes[at..]
        .first_chunk()
        .map_or(0, |bytes| u64::from_le_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

    use super::*;

    // Another program made these bytes, bit by bit: every machine has to write and
    // read them (R9).
    const STREAM: [u8; 16] = [
        0x01, 0x93, 0x72, 0x0f, 0xa8, 0x00, 0x7a, 0xbc, 0x8d, 0xef, 0x01, 0x23, 0x45, 0x67, 0x89,
        0xab,
    ];
    const FIRST: Seq = Seq(0x0102_0304_0506_0708);
    const HEADER_CRC: [u8; 4] = [0xa0, 0x88, 0x77, 0x29];
    const FRAME: &[u8] = b"\x08\0\0\0\x41\x89\xa8\xa5\x08\x07\x06\x05\x04\x03\x02\x01a record";

    fn header() -> Vec<u8> {
        let mut bytes = b"AGRECSEG\x01\0\0\0\0\0\0\0".to_vec();
        bytes.extend(STREAM);
        bytes.extend(b"\x08\x07\x06\x05\x04\x03\x02\x01");
        bytes.resize(60, 0);
        bytes.extend(HEADER_CRC);
        bytes
    }

    #[test]
    fn the_bytes_of_a_segment_are_the_same_on_every_machine() {
        let stream = StreamId::from_bytes(&STREAM).unwrap();
        let known = SegmentHeader {
            stream,
            first: FIRST,
        };
        assert_eq!(known.encode()[..], header());
        assert_eq!(SegmentHeader::decode(&header()), Ok(known));
        let payload = b"a record";
        assert_eq!([&frame(FIRST, payload)[..], payload].concat(), FRAME);
        let found = Found::Frame {
            seq: FIRST,
            payload,
            bytes: FRAME.len(),
        };
        assert_eq!(parse(FRAME), found);
    }
}
