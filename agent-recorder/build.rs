//! Compiles the protocol (protox, so no protoc is needed) and puts the BPF
//! object where `kernel::load` embeds it.

use std::path::{Path, PathBuf};
use std::{env, fs};

use anyhow::Context as _;

/// Where `cargo xtask build` leaves the object; overridden by this variable.
const OBJECT_VARIABLE: &str = "AGENT_RECORDER_BPF_OBJECT";

fn main() -> anyhow::Result<()> {
    let out = PathBuf::from(env::var_os("OUT_DIR").context("cargo sets OUT_DIR")?);
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    compile_protocol(&root.join("proto"))?;
    place_object(&root, &out)
}

fn compile_protocol(proto: &Path) -> anyhow::Result<()> {
    println!("cargo::rerun-if-changed={}", proto.display());
    let descriptors = protox::compile(
        [
            "agent_recorder/v1/record.proto",
            "agent_recorder/v1/ingest.proto",
            "agent_recorder/v1/control.proto",
        ],
        [proto],
    )
    .context("compile the protocol under proto/")?;
    tonic_prost_build::configure()
        .compile_fds(descriptors)
        .context("generate the protocol's Rust")
}

/// Without an object the crate still builds, for the tests that load none;
/// `kernel::load` then says how to get it.
fn place_object(root: &Path, out: &Path) -> anyhow::Result<()> {
    println!("cargo::rerun-if-env-changed={OBJECT_VARIABLE}");
    let object = env::var_os(OBJECT_VARIABLE).map_or_else(
        || root.join("target/bpf/agent-recorder.bpf.o"),
        PathBuf::from,
    );
    println!("cargo::rerun-if-changed={}", object.display());
    let bytes = fs::read(&object).unwrap_or_default();
    let placed = out.join("agent-recorder.bpf.o");
    fs::write(&placed, bytes).with_context(|| format!("write {}", placed.display()))
}
