//! Waits until a stream grows (inotify(7)).

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::inotify;

/// Reports writes to a stream's folder.
#[derive(Debug)]
pub struct Growth {
    events: OwnedFd,
}

impl Growth {
    /// Begins to watch: a later write ends a wait.
    pub(super) fn new(directory: &Path) -> io::Result<Self> {
        let events = inotify::init(inotify::CreateFlags::CLOEXEC)?;
        let wanted = inotify::WatchFlags::MODIFY
            | inotify::WatchFlags::CREATE
            | inotify::WatchFlags::MOVED_TO;
        inotify::add_watch(&events, directory, wanted)?;
        Ok(Self { events })
    }

    /// Waits until there was a write since the last wait, or since the beginning.
    ///
    /// # Errors
    ///
    /// read(2) fails.
    pub fn wait(&mut self) -> io::Result<()> {
        // The buffer has room for any event (inotify(7)). The contents of events are
        // not used.
        let mut buffer = [MaybeUninit::uninit(); 4096];
        inotify::Reader::new(&self.events, &mut buffer).next()?;
        Ok(())
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failed unwrap fails the test")]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_before_the_wait_ends_it() {
        let directory = tempfile::tempdir().unwrap();
        let mut growth = Growth::new(directory.path()).unwrap();
        std::fs::write(directory.path().join("segment"), "x").unwrap();
        growth.wait().unwrap();
    }
}
