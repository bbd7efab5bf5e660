//! Objects that were let go because a repository holds them: they are lost when the
//! repository goes after them.
//!
//! Not here: whether a repository holds an object, or goes (`guard::judge`).

use std::collections::HashMap;
use std::path::PathBuf;

use super::tally::lost;
use crate::guard::budget::Lost;
use crate::guard::judge::{Fault, Holder, Judgement, Loss};
use crate::session::Counted;

/// Most objects that are remembered for one repository: as many as any limit allows.
const MOST: usize = 65_536;

/// What was let go, by the work tree of the repository that holds it.
#[derive(Debug, Default)]
pub(super) struct Leaning(HashMap<PathBuf, Vec<Lost>>);

impl Leaning {
    /// Whether a counted object may be of a repository that something leans on.
    pub(super) fn is_shaken_by(&self, counted: &Counted) -> bool {
        !self.0.is_empty() && counted.is_of_repository()
    }

    /// What is lost now, because its repository goes.
    pub(super) fn fall(&mut self, judgement: &Judgement) -> Vec<Lost> {
        let going = judgement.faults.iter().filter_map(|fault| match fault {
            Fault::Going { work_tree } => Some(work_tree),
            _ => None,
        });
        going
            .filter_map(|work_tree| self.0.remove(work_tree))
            .flatten()
            .collect()
    }

    /// Notes what a judgement let go because a repository holds it.
    pub(super) fn note(&mut self, objects: &[&Counted], places: &[Loss], judgement: &Judgement) {
        let held = objects.iter().zip(places).zip(&judgement.holders);
        for ((object, place), _) in held.filter(|(_, holder)| **holder == Holder::Git) {
            let trees = judgement.leans_on.iter();
            let above = trees.filter(|tree| place.path.starts_with(tree));
            let Some(tree) = above.max_by_key(|tree| tree.as_os_str().len()) else {
                continue;
            };
            let leaning = self.0.entry(tree.clone()).or_default();
            if leaning.len() < MOST {
                leaning.push(lost(object));
            }
        }
    }
}
