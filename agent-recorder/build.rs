//! Compiles the protocol (protox, so no protoc is needed) and puts the BPF
//! objects where `bpf::load` embeds them.

use std::path::{Path, PathBuf};
use std::{env, fs};

use anyhow::Context as _;

/// The objects: for kernels of today, and for old ones.
const OBJECTS: [&str; 2] = ["agent-recorder.bpf.o", "agent-recorder-old.bpf.o"];
/// The folder where `cargo xtask build` leaves them; overridden by this variable.
const FOLDER: &str = "target/bpf";
const FOLDER_VARIABLE: &str = "AGENT_RECORDER_BPF_OBJECTS";

fn main() -> anyhow::Result<()> {
    let out = PathBuf::from(env::var_os("OUT_DIR").context("cargo sets OUT_DIR")?);
    // Asked when it runs: a target directory that was copied has the script of another place.
    let package = env::var_os("CARGO_MANIFEST_DIR").context("cargo sets CARGO_MANIFEST_DIR")?;
    let root = Path::new(&package).join("..");
    compile_protocol(&root.join("proto"))?;
    OBJECTS
        .iter()
        .try_for_each(|name| place_object(name, &root, &out))
}

fn compile_protocol(proto: &Path) -> anyhow::Result<()> {
    println!("cargo::rerun-if-changed={}", proto.display());
    let descriptors = protox::compile(
        [
            "agent_recorder/v1/record.proto",
            "agent_recorder/v1/ingest.proto",
            "agent_recorder/v1/control.proto",
            "agent_recorder/v1/checkpoint.proto",
        ],
        [proto],
    )
    .context("compile the protocol under proto/")?;
    tonic_prost_build::configure()
        .compile_fds(descriptors)
        .context("generate the protocol's Rust")
}

/// Without an object the crate still builds, for the tests that load none;
/// `bpf::load` then says how to get it.
fn place_object(name: &str, root: &Path, out: &Path) -> anyhow::Result<()> {
    println!("cargo::rerun-if-env-changed={FOLDER_VARIABLE}");
    let folder = env::var_os(FOLDER_VARIABLE).map_or_else(|| root.join(FOLDER), PathBuf::from);
    let object = folder.join(name);
    println!("cargo::rerun-if-changed={}", object.display());
    let bytes = fs::read(&object).unwrap_or_default();
    let placed = out.join(name);
    fs::write(&placed, bytes).with_context(|| format!("write {}", placed.display()))
}
