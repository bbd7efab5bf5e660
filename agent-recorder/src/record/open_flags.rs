//! The flags of an open (open(2)).

/// `File.flags` of an `OPEN`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenFlags(pub u64);

const ACCESS_MODE: u64 = libc::O_ACCMODE as u64;
const TRUNCATE: u64 = libc::O_TRUNC as u64;
const CREATE: u64 = libc::O_CREAT as u64;

impl OpenFlags {
    /// Whether writing is requested. Access mode 3, which only drivers use, counts as
    /// well.
    pub fn writes(self) -> bool {
        self.0 & ACCESS_MODE != 0
    }

    /// Whether the contents are truncated, whatever the access mode.
    pub fn truncates(self) -> bool {
        self.0 & TRUNCATE != 0
    }

    /// Whether a missing file is created.
    pub fn creates(self) -> bool {
        self.0 & CREATE != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_open_for_reading_can_still_truncate() {
        let flags = |flags: i32| OpenFlags(u64::from(flags.cast_unsigned()));
        assert!(!flags(libc::O_RDONLY | libc::O_CLOEXEC).writes());
        assert!(flags(libc::O_WRONLY).writes() && flags(libc::O_RDWR).writes());
        let truncating = flags(libc::O_RDONLY | libc::O_TRUNC);
        assert!(truncating.truncates() && !truncating.writes());
    }
}
