//! agent-recorder: an eBPF flight recorder and guard for AI agents.
//!
//! An event goes one way: [`bpf`] (hooks, tags, rings, decode) → [`session`] →
//! [`guard`] → [`record`] (number and chain) → [`spool`] → [`stream`] →
//! [`collector`]; [`replay`] shows what was stored. [`control`] carries
//! operators' commands the other way, [`identity`] tells the two ends of a
//! stream who the other is, [`config`] is read by all, [`fault`] is where tests
//! crash it, [`daemon`] is the loop that carries, [`cli`] is the door.
//!
//! The modules stand on floors. An import goes down or stays on its floor, and
//! never in a circle; a test of the sources (`tests/src/architecture`) says so.
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
