//! The checkpoint: the daemon's knowledge that is neither in its records nor in the
//! kernel. It is on the host's disk at every moment, for the next daemon.
//!
//! A checkpoint is useful as long as the kernel programs run, which end with the
//! host; so it is written and not synced. Two files take turns: an interrupted write
//! leaves the other file whole.
//!
//! Not here: the contents (`recorder`).

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::Path;

use prost::Message as _;

use crate::record::proto;

/// File names in the state directory.
const FILES: [&str; 2] = ["checkpoint.0", "checkpoint.1"];
/// Bytes before the message: its length and its CRC32C, both little-endian.
const HEADER: usize = 8;

/// The two files of the checkpoint.
#[derive(Debug)]
pub(super) struct CheckpointFiles {
    files: [File; 2],
    generation: u64,
}

impl CheckpointFiles {
    /// Opens the files in a state directory, and reads the newest whole checkpoint.
    ///
    /// # Errors
    ///
    /// A file cannot be opened or read.
    pub(super) fn open(state: &Path) -> io::Result<(Self, Option<proto::Checkpoint>)> {
        let open = |name| {
            OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .mode(0o600)
                .open(state.join(name))
        };
        let files = [open(FILES[0])?, open(FILES[1])?];
        let found = [read(&files[0])?, read(&files[1])?];
        let newest = found.into_iter().flatten().max_by_key(|it| it.generation);
        let generation = newest.as_ref().map_or(0, |newest| newest.generation);
        Ok((Self { files, generation }, newest))
    }

    /// Writes a checkpoint. A process that is killed meanwhile leaves the previous
    /// one.
    ///
    /// # Errors
    ///
    /// The disk is full or broken.
    pub(super) fn write(&mut self, mut checkpoint: proto::Checkpoint) -> io::Result<()> {
        let generation = self.generation + 1;
        checkpoint.generation = generation;
        let message = checkpoint.encode_to_vec();
        let length = u32::try_from(message.len()).map_err(io::Error::other)?;
        let mut bytes = Vec::with_capacity(HEADER + message.len());
        bytes.extend(length.to_le_bytes());
        bytes.extend(crc32c::crc32c(&message).to_le_bytes());
        bytes.extend(message);
        // The remainder is below two, the number of files.
        let [first, second] = &self.files;
        let file = if generation.is_multiple_of(2) {
            first
        } else {
            second
        };
        file.write_all_at(&bytes, 0)?;
        // The generation advances after a success only: the next attempt writes the
        // same file, and the other stays whole.
        self.generation = generation;
        Ok(())
    }

    /// Empties the files: no session is left to take over.
    ///
    /// # Errors
    ///
    /// The disk is broken.
    pub(super) fn clear(&mut self) -> io::Result<()> {
        self.files.iter().try_for_each(|file| file.set_len(0))
    }
}

/// The newest whole checkpoint of this boot, for a caller that does not take over.
/// None where it cannot be read.
pub(super) fn newest_of_this_boot(state: &Path) -> Option<proto::Checkpoint> {
    FILES
        .iter()
        .filter_map(|name| read(&File::open(state.join(name)).ok()?).ok()?)
        .max_by_key(|it| it.generation)
        .filter(is_of_this_boot)
}

pub(super) fn is_of_this_boot(checkpoint: &proto::Checkpoint) -> bool {
    checkpoint.boot_id == boot_id()
}

/// Identifies this boot of the kernel.
pub(in crate::daemon) fn boot_id() -> String {
    // Without an id, no checkpoint counts as one of another boot.
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default()
}

/// The whole checkpoint in a file. The end of a longer predecessor may follow it.
fn read(mut file: &File) -> io::Result<Option<proto::Checkpoint>> {
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    let Some((header, rest)) = bytes.split_first_chunk::<HEADER>() else {
        return Ok(None);
    };
    let [a, b, c, d, e, f, g, h] = *header;
    let length = u32::from_le_bytes([a, b, c, d]) as usize;
    let sum = u32::from_le_bytes([e, f, g, h]);
    Ok(rest
        .get(..length)
        .filter(|message| crc32c::crc32c(message) == sum)
        .and_then(|message| proto::Checkpoint::decode(message).ok()))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn checkpoint(seq: u64, sessions: usize) -> proto::Checkpoint {
        proto::Checkpoint {
            seq,
            sessions: vec![proto::SessionSnapshot::default(); sessions],
            ..proto::Checkpoint::default()
        }
    }

    #[test]
    fn the_newest_whole_one_is_found() {
        let state = tempfile::tempdir().unwrap();
        let (mut files, found) = CheckpointFiles::open(state.path()).unwrap();
        assert_eq!(found, None);
        for (seq, sessions) in [(1, 9), (2, 9), (3, 1)] {
            files.write(checkpoint(seq, sessions)).unwrap();
        }
        let found = || CheckpointFiles::open(state.path()).unwrap().1.unwrap();
        assert_eq!((found().seq, found().sessions.len()), (3, 1));
        // The third checkpoint is in the second file, as the first was.
        let torn = OpenOptions::new()
            .write(true)
            .open(state.path().join(FILES[1]))
            .unwrap();
        torn.write_all_at(b"\xff", HEADER as u64 + 1).unwrap();
        assert_eq!((found().seq, found().sessions.len()), (2, 9));
        let (mut files, _) = CheckpointFiles::open(state.path()).unwrap();
        files.write(checkpoint(4, 2)).unwrap();
        assert_eq!((found().seq, found().sessions.len()), (4, 2));
    }

    proptest! {
        #[test]
        fn whatever_is_written_over_it_it_is_whole_or_nothing(
            at in 0usize..400,
            bytes in vec(any::<u8>(), 1..64),
        ) {
            let state = tempfile::tempdir().unwrap();
            let (mut files, _) = CheckpointFiles::open(state.path()).unwrap();
            files.write(checkpoint(7, 40)).unwrap();
            let path = state.path().join(FILES[1]);
            let before = std::fs::read(&path).unwrap();
            let mut after = before.clone();
            after.resize(before.len().max(at + bytes.len()), 0);
            after[at..at + bytes.len()].copy_from_slice(&bytes);
            std::fs::write(&path, &after).unwrap();
            let found = CheckpointFiles::open(state.path()).unwrap().1;
            // Bytes after its end belong to an older checkpoint.
            let is_whole = after[..before.len()] == before;
            prop_assert_eq!(found.is_some(), is_whole);
        }
    }
}
