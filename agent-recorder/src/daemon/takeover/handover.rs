//! What a recorder leaves for the next: where its programs are pinned, and its
//! checkpoint.
//!
//! Not here: what is in a checkpoint (`recorder`), and its form (`checkpoint`).

use std::path::Path;

use super::checkpoint::{self, CheckpointFiles};
use crate::bpf::{self, Pins};
use crate::record::proto;

/// Where a recorder can be taken over from.
#[derive(Debug)]
pub(in crate::daemon) struct Handover {
    pub(super) pins: Pins,
    files: CheckpointFiles,
    /// Whether all is left when this recorder stops by itself.
    pub(super) leaves: bool,
    /// Whether it was recorded that nothing can be kept.
    failed: bool,
}

impl Handover {
    /// Below a directory on a bpffs, and in a state directory; with the
    /// checkpoint that is there, if it is of this boot.
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

    /// Where the programs are pinned.
    pub(in crate::daemon) fn directory(&self) -> &Path {
        self.pins.directory()
    }

    /// Writes a checkpoint.
    ///
    /// # Errors
    ///
    /// The disk does not take it: why, if that is news.
    pub(in crate::daemon) fn keep(
        &mut self,
        checkpoint: proto::Checkpoint,
    ) -> Result<(), Option<String>> {
        let kept = self.files.write(checkpoint);
        let failed_before = std::mem::replace(&mut self.failed, kept.is_err());
        kept.map_err(|why| (!failed_before).then(|| why.to_string()))
    }

    /// Nothing is left in the checkpoint.
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
