//! Construction of events and their submission to a ring.
//!
//! Not here: the layout of events (`agent_recorder_abi::event`).

pub(crate) mod address;
pub(crate) mod dentry_walk;
pub(crate) mod location;
pub(crate) mod writer;
