//! What the end-to-end tests share: running the real binary on the real
//! kernel, and comparing what it recorded with what was done.

pub mod agents;
#[cfg(test)]
mod architecture;
pub mod beside;
pub mod cable;
pub mod cgroup;
pub mod child;
pub mod collecting;
pub mod compare;
pub mod daemon;
#[cfg(test)]
mod documents;
pub mod engine;
pub mod file_systems;
pub mod line;
pub mod model;
pub mod normal;
pub mod packets;
pub mod programs;
pub mod raw;
pub mod recorder;
pub mod reference;
mod shared;
pub mod stimulus;
pub mod tally;
pub mod wait;
pub mod worker;
