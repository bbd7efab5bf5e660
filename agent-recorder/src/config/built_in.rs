//! Names of what may be thrown away, and of what brings it back, as they are
//! without any configuration.
//!
//! Not here: what the guard makes of them (`guard::policy`).

/// Directories whose contents some tool makes again: dependencies, build
/// outputs, caches. `parent/name` is one only there.
pub const DIRECTORIES: &[&str] = &[
    "node_modules",
    "bower_components",
    "jspm_packages",
    "target",
    "build",
    "dist",
    "out",
    "__pycache__",
    ".venv",
    "venv",
    "site-packages",
    ".tox",
    ".nox",
    ".eggs",
    ".mypy_cache",
    ".pytest_cache",
    ".ruff_cache",
    ".hypothesis",
    ".ipynb_checkpoints",
    ".cache",
    ".ccache",
    ".sccache",
    ".npm",
    "_cacache",
    ".pnpm-store",
    ".yarn",
    ".gradle",
    ".next",
    ".nuxt",
    ".output",
    ".turbo",
    ".parcel-cache",
    ".vite",
    ".svelte-kit",
    ".angular",
    ".webpack",
    "coverage",
    ".nyc_output",
    "htmlcov",
    "CMakeFiles",
    "cmake-build-debug",
    "cmake-build-release",
    "autom4te.cache",
    ".deps",
    ".libs",
    ".terraform",
    ".serverless",
    "zig-cache",
    ".zig-cache",
    "zig-out",
    ".dart_tool",
    "DerivedData",
    "_build",
    ".stack-work",
    "dist-newstyle",
    ".tmp",
    ".git/objects",
    ".git/lfs",
    ".git/rebase-merge",
    ".git/rebase-apply",
];

/// Endings of files that a compiler, an interpreter or an editor makes beside their sources.
pub const SUFFIXES: &[&str] = &[
    ".o",
    ".obj",
    ".lo",
    ".la",
    ".d",
    ".pyc",
    ".pyo",
    ".class",
    ".gcda",
    ".gcno",
    ".rlib",
    ".rmeta",
    ".pdb",
    ".gch",
    ".pch",
    ".aux",
    ".toc",
    ".lof",
    ".lot",
    ".fls",
    ".tmp",
    ".swp",
    ".dpkg-tmp",
    ".dpkg-new",
];

/// What git(1) does to a working tree that its object store can undo. Not
/// `clean`, and not `rm`, which can take what was never committed.
pub const GIT_VERBS: &[&str] = &[
    "checkout",
    "checkout--worker",
    "switch",
    "restore",
    "merge",
    "rebase",
    "stash",
    "reset",
    "worktree",
    "pull",
    "cherry-pick",
    "revert",
    "am",
    "bisect",
    "submodule",
    "subtree",
    "sparse-checkout",
    "read-tree",
    "gc",
    "repack",
    "prune",
    "prune-packed",
    "maintenance",
    "pack-refs",
    "pack-objects",
    "fetch",
    "clone",
    "commit",
    "filter-branch",
];

/// Directories for what is not kept.
pub const TEMPORARY: &[&str] = &["/tmp", "/var/tmp", "/dev/shm", "/var/cache"];

/// What is built in, by what it is.
pub const BUILT_IN: [(&str, &[&str]); 4] = [
    ("directories of what may be thrown away", DIRECTORIES),
    ("endings of files that may be thrown away", SUFFIXES),
    ("temporary directories", TEMPORARY),
    ("what git can undo", GIT_VERBS),
];

/// Whether `keep` can name it.
pub fn is_known(name: &str) -> bool {
    BUILT_IN.iter().any(|(_, names)| names.contains(&name))
}
