//! agent-recorder: an eBPF flight recorder and guard for AI agents.
//!
//! An event goes one way: [`bpf`] (hooks, tags, rings, decode) → [`session`] →
//! [`guard`] → [`record`] (number and chain) → [`spool`] → [`stream`] →
//! [`collector`]; [`replay`] shows the stored records. [`control`] carries operators'
//! commands the other way, [`identity`] authenticates the two ends of a stream, all
//! modules read [`config`], tests crash the process at the points of [`fault`],
//! [`daemon`] is the loop, and [`cli`] the entry.
//!
//! The modules have floors. A module imports from its own floor or a lower one, and
//! never in a circle; a test of the sources (`tests/src/architecture`) verifies that.
//!
//! | floor | modules |
//! | --- | --- |
//! | 6 | [`cli`] |
//! | 5 | [`daemon`] |
//! | 4 | [`guard`], [`collector`] |
//! | 3 | [`session`], [`replay`], [`stream`] |
//! | 2 | [`bpf`], [`spool`], [`control`] |
//! | 1 | [`config`], [`record`], [`identity`], [`fault`] |

pub mod bpf;
pub mod cli;
pub mod collector;
pub mod config;
pub mod control;
pub mod daemon;
pub mod fault;
pub mod guard;
pub mod identity;
pub mod record;
pub mod replay;
pub mod session;
pub mod spool;
pub mod stream;
