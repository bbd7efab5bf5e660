//! Judges what a session destroyed: which objects are really lost, and which something
//! still holds. It answers within a deadline; what it could not find out by then counts
//! as lost.
//!
//! What it reads belongs to the session: repositories, markers and ignore files are
//! hostile input. Each reader is bounded in bytes, follows no symbolic link that it can
//! see, and runs in a thread of its own that the deadline abandons: a FIFO in the place
//! of a file, or a file system that a session serves, would otherwise stop the recorder.
//! Nothing is executed, and no configuration outside a repository is read.
//!
//! Trusted: the paths (they come from the kernel's dentries, so every component was a
//! real directory), the state of an object before the act, and that the session is
//! stopped while it is judged. A process outside the session can still race with it.
//!
//! Not here: what counts as a loss (the kernel programs), and what follows from a
//! judgement (the daemon).

mod bench;
mod bounded_read;
mod cache_tag;
mod findings;
#[cfg(test)]
mod fixture;
mod git;
mod ground;
mod loss;
mod package;
mod settings;
mod thread;
mod throwaway;
mod tools;

pub use loss::{Act, Fault, Holder, Judgement, Loss, Modified, Object};
pub use settings::Settings;
pub use thread::judge;
pub use throwaway::may_prove;
