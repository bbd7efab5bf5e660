//! The guard stops a session that destroys at its limit, and no other process.

mod actions;
mod bulk_delete;
mod condemned;
mod contents;
mod fuse;
mod gate;
mod judge;
mod policy;
mod whole_destruction;
