//! Streams that earlier recorders left beside the own one: they count towards
//! what may be kept, and the oldest stream gives way first.

use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use super::disk::Host;
use super::resume::{Role, resume};
use super::retain::Freed;
use super::{Error, Options, directory, read};
use crate::record::StreamId;

/// Takes away what is beyond the configured size, of all streams together, and
/// age. A stream that somebody writes is that one's to tidy.
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
        // One that cannot be opened is left as it is: it is evidence.
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
