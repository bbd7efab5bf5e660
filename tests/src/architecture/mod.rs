//! The order of a crate's modules, and the tests that compare the sources with it.
//!
//! Another crate needs another `Layout` and a test.
//!
//! Not here: finding imports (`imports`), judging them (`floors`), and the proof that
//! both can fail (`small_crates`).

mod floors;
mod imports;
mod small_crates;

use std::path::Path;

use floors::{Layout, violations};
use imports::Imports;

/// The library and the binary.
const USERSPACE: Layout = Layout {
    root: "agent-recorder/src/lib.rs",
    floors: &[
        &["config", "record", "identity", "fault"],
        &["bpf", "spool", "control"],
        &["session", "replay", "stream"],
        &["guard", "collector"],
        &["daemon"],
        &["cli"],
    ],
    circles: &[],
};

/// The kernel programs.
const PROGRAMS: Layout = Layout {
    root: "agent-recorder-ebpf/src/programs/main.rs",
    floors: &[
        &["kernel"],
        &["context"],
        &["event"],
        &["session"],
        &["guard"],
        &["operations"],
        &["dispatch"],
        &["hooks"],
    ],
    circles: &[],
};

/// What they share with user space.
const ABI: Layout = Layout {
    root: "agent-recorder-ebpf/src/abi/lib.rs",
    floors: &[
        &["pod", "limits", "kernel_fields", "kernel_symbols"],
        &["address", "agent_rule", "self_protection"],
        &["state"],
        &["event", "policy", "written_file"],
        &["exec_gate", "syscall"],
    ],
    circles: &[],
};

/// What the sources under the repository's root break of a layout.
fn broken(layout: &Layout) -> anyhow::Result<Vec<String>> {
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let read = |path: &Path| std::fs::read_to_string(path).ok();
    Ok(violations(
        layout,
        &Imports::of(&repository.join(layout.root), &read)?,
    ))
}

#[test]
fn userspace_imports_go_down_and_not_in_circles() -> anyhow::Result<()> {
    let broken = broken(&USERSPACE)?;
    assert!(broken.is_empty(), "{}", broken.join("\n"));
    Ok(())
}

#[test]
fn imports_of_the_kernel_programs_go_down_and_not_in_circles() -> anyhow::Result<()> {
    let broken = broken(&PROGRAMS)?;
    assert!(broken.is_empty(), "{}", broken.join("\n"));
    Ok(())
}

#[test]
fn imports_of_the_shared_types_go_down_and_not_in_circles() -> anyhow::Result<()> {
    let broken = broken(&ABI)?;
    assert!(broken.is_empty(), "{}", broken.join("\n"));
    Ok(())
}
