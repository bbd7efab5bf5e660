//! agent-recorder: an eBPF flight recorder and guard for AI agents.
//!
//! Data flows one way, through the modules in this order, each knowing only
//! the next: [`kernel`] (hooks, tags, rings, decode) → [`session`] →
//! [`guard`] → [`record`] (number and chain) → [`spool`] → [`stream`] →
//! [`collector`] → [`replay`]. [`control`] carries operators' commands the
//! other way, [`identity`] tells the two ends of a stream who the other is,
//! [`config`] is read by all, [`fault`] is where tests crash it, [`cli`] is the
//! door.

pub mod cli;
pub mod collector;
pub mod config;
pub mod control;
pub mod fault;
pub mod guard;
pub mod identity;
pub mod kernel;
pub mod record;
pub mod recorder;
pub mod replay;
pub mod session;
pub mod spool;
pub mod stream;
