//! The end-to-end tests: the real binary on the real kernel. Each claim has a module,
//! and each matter of it another, so that a test is `claim::matter::what_must_hold`.
//!
//! One test, as root, after `cargo xtask build`:
//!
//! ```text
//! cargo test -p agent-recorder-tests --test e2e -- records::loss::a_replay_of
//! ```
//!
//! `records::loss::` selects a matter, `records::` a claim, and `-- --list` prints
//! all tests. `cargo xtask test` runs one matter after the other, each in a process
//! of its own.
//!
//! Not here: the recorded programs (`src/stimuli`), the truth about their acts
//! (`src/oracle`), and the tests' tools (`src/lab`).

mod cli;
mod guard;
mod house;
mod kernels;
mod life;
mod records;
mod stream;

/// The program of all stimuli except two (`src/stimuli`): `STIMULUS NAME WORD…`.
const STIMULUS: &str = env!("CARGO_BIN_EXE_stimulus");

/// The words that start a stimulus.
const fn stimulus(name: &'static str) -> [&'static str; 2] {
    [STIMULUS, name]
}
