//! What the repository of a work tree holds, read by gix, never by running git: an agent
//! can configure the programs that git runs.
//!
//! Not here: which repository a path belongs to (`ground`).

mod ignored;
mod index;
mod lfs;
mod open;
mod own;
mod precious;
mod repository;
mod stash;

pub(super) use own::{Own, work_tree_of};
pub(super) use repository::{Repository, Standing};

#[cfg(test)]
mod hostile_tests;
#[cfg(test)]
mod tests;
