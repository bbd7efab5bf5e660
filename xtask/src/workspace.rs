//! Paths of the workspace, and its cargo.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The workspace's folder.
pub(crate) fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_path_buf()
}

/// A folder or file under the workspace's `target`, whatever CARGO_TARGET_DIR is:
/// `agent-recorder/build.rs` looks for the BPF object there.
pub(crate) fn target(name: &str) -> PathBuf {
    root().join("target").join(name)
}

/// The cargo that runs xtask, in the workspace's folder.
pub(crate) fn cargo() -> Command {
    let mut command = Command::new(cargo_program());
    command.current_dir(root());
    command
}

/// cargo sets CARGO for programs that it runs; without it xtask was started by hand.
pub(crate) fn cargo_program() -> OsString {
    std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}

/// The driver of clippy, which is in the toolchain's folder beside cargo.
const LINTS: &str = "clippy-driver";

/// Has clippy compile the workspace's packages, as `cargo clippy` has it check them
/// (RUSTC_WORKSPACE_WRAPPER, doc.rust-lang.org/cargo/reference/environment-variables.html):
/// what it compiles is what rustc compiles, and is kept apart from it. All builds of one
/// run that are to share their results have it.
pub(crate) fn with_lints(cargo: &mut Command) -> &mut Command {
    let beside = PathBuf::from(cargo_program()).with_file_name(LINTS);
    let driver = if beside.is_file() {
        beside
    } else {
        LINTS.into()
    };
    cargo.env("RUSTC_WORKSPACE_WRAPPER", driver)
}

/// cargo adds its folders to this variable, and every program would search each of
/// them for every library: a hundred records before a command's first act.
const LIBRARIES: &str = "LD_LIBRARY_PATH";

/// Starts a program without cargo's folders of libraries.
pub(crate) fn forget_libraries(command: &mut Command) {
    match std::env::var_os(LIBRARIES).and_then(|paths| without_cargos(&paths)) {
        Some(paths) => command.env(LIBRARIES, paths),
        None => command.env_remove(LIBRARIES),
    };
}

/// A search path without cargo's folders: those of the build, and of its toolchain.
/// `None` where nothing else is in it.
fn without_cargos(paths: &OsStr) -> Option<OsString> {
    let above = |file: PathBuf| file.parent()?.parent().map(Path::to_path_buf);
    let build = std::env::current_exe().ok().and_then(above);
    let toolchain = above(cargo_program().into());
    let cargos: Vec<_> = [build, toolchain]
        .into_iter()
        .flatten()
        // The folder is relative where the program was named without one.
        .filter(|folder| folder.is_absolute())
        .collect();
    let others: Vec<_> = std::env::split_paths(paths)
        .filter(|path| !path.as_os_str().is_empty())
        .filter(|path| !cargos.iter().any(|folder| path.starts_with(folder)))
        .collect();
    if others.is_empty() {
        return None;
    }
    // The paths were joined before, so joining them cannot fail.
    std::env::join_paths(others).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_search_path_only_cargos_folders_go() -> anyhow::Result<()> {
        let build = std::env::current_exe()?;
        let deps = build.parent().unwrap_or(&build);
        let own = std::env::join_paths([deps, Path::new("/opt/lib")])?;
        assert_eq!(
            without_cargos(&own).as_deref(),
            Some(OsStr::new("/opt/lib"))
        );
        assert_eq!(without_cargos(deps.as_os_str()), None);
        Ok(())
    }
}
