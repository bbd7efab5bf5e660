//! The order of a crate's modules, the types in signatures of the kernel programs,
//! and the tests that compare the sources with both.
//!
//! Another crate needs another `Layout` and a test.
//!
//! Not here: finding imports (`imports`), judging them (`floors`) and signatures
//! (`signatures`), and the proof that the floors can fail (`small_crates`).

mod floors;
mod imports;
mod signatures;
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

/// The types that the kernel programs share with user space.
const ABI: Layout = Layout {
    root: "agent-recorder-ebpf/src/abi/lib.rs",
    floors: &[
        &["pod", "limits", "hooks", "kernel_fields", "kernel_symbols"],
        &["address", "agent_rule", "self_protection"],
        &["state"],
        &["event", "policy", "written_file"],
        &["criteria", "exec_gate", "syscall"],
    ],
    circles: &[],
};

/// Violations of a layout in the sources under the repository's root.
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

#[test]
fn no_signature_of_the_kernel_programs_has_an_object_as_a_bare_integer() -> anyhow::Result<()> {
    let programs =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../agent-recorder-ebpf/src/programs");
    let mut broken = Vec::new();
    let mut folders = vec![programs.clone()];
    let mut files = 0;
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder)? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let name = path.strip_prefix(&programs)?.display().to_string();
                broken.extend(signatures::violations(
                    &name,
                    &std::fs::read_to_string(&path)?,
                )?);
                files += 1;
            }
        }
    }
    assert!(files > 0, "{} holds no sources", programs.display());
    assert!(broken.is_empty(), "{}", broken.join("\n"));
    Ok(())
}
