//! The means of the tests: the binary under test, its daemons and collectors, the
//! machine's cgroups, namespaces, file systems and lines, and waiting.
//!
//! Not here: the truth about records (`oracle`).

pub mod agents;
pub mod beside;
pub mod cable;
pub mod cgroup;
pub mod child;
pub mod collecting;
pub mod daemon;
pub mod engine;
pub mod file_systems;
pub mod files;
pub mod host;
pub mod line;
pub mod model;
pub mod netns;
pub mod packets;
pub mod programs;
pub mod raw;
pub mod recorder;
mod shared;
pub mod wait;
pub mod worker;
