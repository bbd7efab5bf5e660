//! The state for the next recorder: the directory of the pinned programs, and the
//! checkpoint.
//!
//! Not here: the contents of a checkpoint (`recorder`), and its format
//! (`checkpoint`).

use std::path::Path;

use super::checkpoint::{self, CheckpointFiles};
use crate::bpf::{self, Pins};
use crate::record::proto;

/// The places from which the next recorder takes over.
#[derive(Debug)]
pub(in crate::daemon) struct Handover {
    pub(super) pins: Pins,
    files: CheckpointFiles,
    /// Whether everything is left when this recorder stops by itself.
    pub(super) leaves: bool,
    /// Whether a failure to write the checkpoint was recorded.
    failed: bool,
}

impl Handover {
    /// Opens the pins below a directory on a bpffs, and the checkpoint in a state
    /// directory. Returns the present checkpoint if it is of this boot.
    ///
    /// # Errors
    ///
    /// There is no bpffs, or a file cannot be opened or read.
    pub(super) fn open(
        pins: &Path,
        state: &Path,
        leaves: bool,
    ) -> Result<(Self, Option<proto::Checkpoint>), bpf::Error> {
        let pins = Pins::new(pins, state)?;
        let opened = CheckpointFiles::open(state);
        let (files, newest) = opened.map_err(|source| bpf::Error::System {
            what: "opening the checkpoint in the state directory",
            source,
        })?;
        let handover = Self {
            pins,
            files,
            leaves,
            failed: false,
        };
        Ok((handover, newest.filter(checkpoint::is_of_this_boot)))
    }

    /// Directory of the pinned programs.
    pub(in crate::daemon) fn directory(&self) -> &Path {
        self.pins.directory()
    }

    /// Writes a checkpoint.
    ///
    /// # Errors
    ///
    /// The disk refuses it. The reason is returned for the first failure only.
    pub(in crate::daemon) fn keep(
        &mut self,
        checkpoint: proto::Checkpoint,
    ) -> Result<(), Option<String>> {
        let kept = self.files.write(checkpoint);
        let failed_before = std::mem::replace(&mut self.failed, kept.is_err());
        kept.map_err(|why| (!failed_before).then(|| why.to_string()))
    }

    /// Empties the checkpoint.
    ///
    /// # Errors
    ///
    /// The disk is broken.
    pub(super) fn clear(&mut self) -> Result<(), bpf::Error> {
        self.files.clear().map_err(|source| bpf::Error::System {
            what: "clearing the checkpoint in the state directory",
            source,
        })
    }
}
