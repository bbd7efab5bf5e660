//! Streams of earlier recorders beside the present one: they count towards the
//! configured size, and the oldest stream is freed first.

use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use super::disk::Host;
use super::resume::{Role, resume};
use super::retain::Freed;
use super::{Error, Options, directory, read};
use crate::record::StreamId;

/// Removes segments beyond the configured age, and beyond the size of all streams
/// together. A stream with a writer is left to that writer.
pub(super) fn retain(
    directory: &Path,
    own: (StreamId, u64),
    options: Options,
    now: SystemTime,
) -> Result<Vec<(StreamId, Freed)>, Error> {
    let mut streams = read::stream_ids(directory)?;
    streams.sort_unstable();
    let mut room = options.retain_bytes.saturating_sub(own.1);
    let mut freed = Vec::new();
    for stream in streams.into_iter().rev().filter(|stream| *stream != own.0) {
        let folder = directory.join(stream.to_string());
        let Some(lock) = directory::try_lock(&folder)? else {
            continue;
        };
        let options = Options {
            retain_bytes: room,
            ..options
        };
        let on = Arc::new(Host);
        // A stream that cannot be opened stays as it is: it is evidence.
        let Ok(mut resumed) = resume(on, folder, stream, options, Some(lock), Role::Numbers) else {
            continue;
        };
        if let Some(gone) = resumed.log.retain(now)? {
            freed.push((stream, gone));
        }
        room = room.saturating_sub(resumed.log.bytes()?);
    }
    Ok(freed)
}
