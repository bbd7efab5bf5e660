//! The table of system calls for the kernel programs.
//!
//! Not here: its rows (`agent_recorder_abi::syscall`).

use agent_recorder_abi::limits::SYSCALL_NUMBERS;
use agent_recorder_abi::syscall::{IA32, PARTS, Spec, X86_64};
use aya::maps::{Array, MapData};

use super::{Maps, take};
use crate::bpf::Error;
use crate::bpf::error::map_error;

/// The map of the table.
pub(in crate::bpf) struct SyscallTable(Array<MapData, Spec>);

impl SyscallTable {
    /// Wraps the map, which is still empty.
    pub(in crate::bpf) fn new(maps: &mut Maps) -> Result<Self, Error> {
        Ok(Self(take(maps, "SYSCALLS", Array::try_from)?))
    }

    /// Fills in every row.
    pub(in crate::bpf) fn fill(&mut self) -> Result<(), Error> {
        let native = X86_64.iter().chain(PARTS).map(|row| (row.0, row.1));
        let compat = IA32.iter().map(|row| (row.0 + SYSCALL_NUMBERS, row.1));
        for (number, spec) in native.chain(compat) {
            self.0
                .set(number, spec, 0)
                .map_err(|error| map_error("SYSCALLS", &error))?;
        }
        Ok(())
    }
}
