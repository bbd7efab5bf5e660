//! Waiting for a stream to grow (inotify(7)).

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::inotify;

/// Tells when something in a stream's folder was written.
#[derive(Debug)]
pub struct Growth {
    events: OwnedFd,
}

impl Growth {
    /// Begins: what is written from now on ends a wait.
    pub(super) fn new(directory: &Path) -> io::Result<Self> {
        let events = inotify::init(inotify::CreateFlags::CLOEXEC)?;
        let wanted = inotify::WatchFlags::MODIFY | inotify::WatchFlags::CREATE;
        inotify::add_watch(&events, directory, wanted)?;
        Ok(Self { events })
    }

    /// Waits until something was written since the last wait, or since the beginning.
    ///
    /// # Errors
    ///
    /// read(2) fails.
    pub fn wait(&mut self) -> io::Result<()> {
        // Room for any event (inotify(7)); what they say is not looked at.
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
