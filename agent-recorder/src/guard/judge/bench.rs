//! Weighs each loss against all that may hold it, cheapest first, and finds the
//! directories that may go on going.
//!
//! Not here: the deadline's thread (`thread`).

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Instant;

use super::cache_tag;
use super::findings::Shared;
use super::git::{Own, Repository, Standing, work_tree_of};
use super::ground::{Ground, Grounds};
use super::loss::{Act, Fault, Holder, Loss, Object};
use super::package;
use super::settings::Settings;
use super::throwaway::{Proof, Throwaways};

/// A name holds its contents still if this part of the length is there again.
const KEPT_PART: u64 = 4;
/// Most directories that are searched for a repository before a directory is spared.
const MOST_SEARCHED: usize = 4096;
/// Levels below a directory that are searched.
const DEPTH_SEARCHED: usize = 3;

/// Judges all losses, and writes each answer as soon as it is known.
pub(super) fn judge_all(losses: &[Loss], settings: &Settings, deadline: Instant, shared: &Shared) {
    let mut bench = Bench {
        settings,
        grounds: Grounds::new(settings),
        throwaways: Throwaways::new(settings),
        tagged: HashMap::new(),
        removed_tags: removed_tags(losses),
        repositories: HashMap::new(),
        going: HashSet::new(),
        spared: BTreeSet::new(),
        leaned: BTreeSet::new(),
        faults: vec![],
    };
    let is_over = || Instant::now() >= deadline;
    let mut own = bench.own_losses(losses);
    let mut left = vec![];
    let mut holders = HashMap::new();
    for (number, loss) in losses.iter().enumerate() {
        if is_over() {
            break;
        }
        let holder = own.remove(&number).unwrap_or_else(|| bench.weigh(loss));
        if holder == Holder::Lost && work_tree_of(&loss.path).is_none() {
            left.push((number, loss));
        } else {
            holders.insert(number, holder.clone());
            shared.answer(number, holder);
        }
    }
    // All lists are read at once, so packages are asked for what nothing else holds.
    let claims: Vec<_> = left
        .iter()
        .copied()
        .filter(|(_, loss)| may_be_packaged(loss))
        .collect();
    let mut owners = package::owners(&claims, settings, deadline, &mut bench.faults);
    for (number, _) in left {
        let holder = match owners.remove(&number) {
            Some(name) => Holder::Package(name),
            // The lists were not read to their end.
            None if is_over() => continue,
            None => Holder::Lost,
        };
        holders.insert(number, holder.clone());
        shared.answer(number, holder);
    }
    let spared = if is_over() {
        vec![]
    } else {
        bench.spared(losses, &holders)
    };
    shared.conclude(spared, bench.leaned.into_iter().collect(), bench.faults);
}

/// Knowledge of one judgement.
struct Bench<'a> {
    settings: &'a Settings,
    grounds: Grounds<'a>,
    throwaways: Throwaways<'a>,
    tagged: HashMap<PathBuf, bool>,
    /// Directories whose tag is among the losses.
    removed_tags: HashSet<PathBuf>,
    /// By work tree. `None` after a fault that was recorded, with what it makes of losses.
    repositories: HashMap<PathBuf, Result<Repository, Holder>>,
    /// Work trees whose repository itself is among the losses.
    going: HashSet<PathBuf>,
    spared: BTreeSet<PathBuf>,
    leaned: BTreeSet<PathBuf>,
    faults: Vec<Fault>,
}

impl Bench<'_> {
    /// Judges files of repositories first: what they hold depends on whether they go.
    fn own_losses(&mut self, losses: &[Loss]) -> HashMap<usize, Holder> {
        let mut own = Own::default();
        let mut holders = HashMap::new();
        for (number, loss) in losses.iter().enumerate() {
            let Some(work_tree) = work_tree_of(&loss.path) else {
                continue;
            };
            let ground = self.grounds.above(&loss.path);
            if !ground.is_real || is_light(loss).is_some() {
                continue;
            }
            let (holder, is_going) = own.examine(loss, work_tree, &ground.root, &mut self.faults);
            if is_going && self.going.insert(work_tree.to_owned()) {
                self.faults.push(Fault::Going {
                    work_tree: work_tree.to_owned(),
                });
            }
            let is_anew = holder == Holder::Lost && is_made_anew(loss);
            holders.insert(number, if is_anew { Holder::MadeAnew } else { holder });
        }
        holders
    }

    fn weigh(&mut self, loss: &Loss) -> Holder {
        if let Some(holder) = is_light(loss) {
            return holder;
        }
        let ground = self.grounds.above(&loss.path);
        if !ground.is_real {
            self.faults.push(Fault::Planted(loss.path.clone()));
            return Holder::Unjudged;
        }
        if is_made_anew(loss) {
            return Holder::MadeAnew;
        }
        self.weigh_contents(loss, &ground).unwrap_or_else(|fault| {
            let holder = fault.holder();
            self.faults.push(fault);
            holder
        })
    }

    fn weigh_contents(&mut self, loss: &Loss, ground: &Ground) -> Result<Holder, Fault> {
        if let Some(work_tree) = &ground.repository {
            let work_tree = Rc::clone(work_tree);
            let repository = match self.repository(&work_tree, &ground.root) {
                Ok(repository) => repository,
                Err(holder) => return Ok(holder),
            };
            match repository.standing(loss)? {
                Standing::Kept => {
                    self.leaned.insert(work_tree.to_path_buf());
                    return Ok(Holder::Git);
                }
                Standing::Differs => return Ok(Holder::Lost),
                Standing::Untracked => {}
            }
        }
        if let Some((directory, holder)) = self.disposable(&loss.path, ground)? {
            self.spared.insert(directory);
            return Ok(holder);
        }
        let Some(work_tree) = &ground.repository else {
            return Ok(Holder::Lost);
        };
        let work_tree = Rc::clone(work_tree);
        let Ok(repository) = self.repository(&work_tree, &ground.root) else {
            return Ok(Holder::Lost);
        };
        let holder = repository.untracked(loss, ground.is_project())?;
        if holder == Holder::Git {
            self.leaned.insert(work_tree.to_path_buf());
        } else if holder == Holder::GitIgnored {
            let above = repository.ignored_above(&loss.path)?;
            let above = above.filter(|directory| !repository.tracks_below(directory));
            self.spared.extend(above);
        }
        Ok(holder)
    }

    /// The topmost directory above the path that a tool fills or that is tagged as a
    /// cache, and in which the repository tracks nothing.
    fn disposable(
        &mut self,
        path: &Path,
        ground: &Ground,
    ) -> Result<Option<(PathBuf, Holder)>, Fault> {
        let lowest = ground.fence.as_ref().map(|fence| fence.path().to_owned());
        let lowest = lowest.unwrap_or_else(|| ground.root.to_path_buf());
        let mut above: Vec<_> = path.ancestors().skip(1).collect();
        above.retain(|directory| directory.starts_with(&lowest) && *directory != lowest);
        for directory in above.into_iter().rev() {
            let holder = if self.is_tagged(directory) {
                Holder::CacheTag
            } else if self.is_output(directory, ground)? {
                Holder::BuildOutput
            } else {
                continue;
            };
            if !self.tracks_below(directory, ground) {
                return Ok(Some((directory.to_owned(), holder)));
            }
        }
        Ok(None)
    }

    fn is_tagged(&mut self, directory: &Path) -> bool {
        if let Some(is_tagged) = self.tagged.get(directory) {
            return *is_tagged;
        }
        let is_tagged = (self.removed_tags.contains(directory) || cache_tag::is_tagged(directory))
            && !self.settings.is_planted(&directory.join(cache_tag::NAME));
        self.tagged.insert(directory.to_owned(), is_tagged);
        is_tagged
    }

    fn is_output(&mut self, directory: &Path, ground: &Ground) -> Result<bool, Fault> {
        let Some(fence) = &ground.fence else {
            return Ok(false);
        };
        let admits = |project: &Path| fence.admits_project(project);
        let Some(found) = self.throwaways.examine(directory, admits) else {
            return Ok(false);
        };
        if found.proof == Proof::Name {
            return Ok(true);
        }
        let work_tree = ground.repository.as_ref();
        let Some(work_tree) = work_tree.filter(|_| ground.is_project()) else {
            return Ok(false);
        };
        match self.repository(&Rc::clone(work_tree), &ground.root) {
            Ok(repository) => repository.ignores_directory(&found.directory),
            Err(_) => Ok(false),
        }
    }

    fn tracks_below(&mut self, directory: &Path, ground: &Ground) -> bool {
        let Some(work_tree) = &ground.repository else {
            return false;
        };
        match self.repository(&Rc::clone(work_tree), &ground.root) {
            Ok(repository) => repository.tracks_below(directory),
            // What is not known may be tracked.
            Err(_) => true,
        }
    }

    fn repository(&mut self, work_tree: &Path, root: &Path) -> Result<&mut Repository, Holder> {
        if !self.repositories.contains_key(work_tree) {
            let is_planted = self.settings.is_planted(&work_tree.join(".git"));
            let opened = if self.going.contains(work_tree) || is_planted {
                Err(Holder::Lost)
            } else {
                Repository::open(work_tree, root).map_err(|fault| {
                    let holder = fault.holder();
                    self.faults.push(fault);
                    holder
                })
            };
            self.repositories.insert(work_tree.to_owned(), opened);
        }
        match self.repositories.get_mut(work_tree) {
            Some(Ok(repository)) => Ok(repository),
            Some(Err(holder)) => Err(holder.clone()),
            None => Err(Holder::Unjudged),
        }
    }

    /// Directories in which nothing was lost and no repository hides.
    fn spared(&self, losses: &[Loss], holders: &HashMap<usize, Holder>) -> Vec<PathBuf> {
        let lost: Vec<_> = losses
            .iter()
            .enumerate()
            .filter(|(number, _)| holders.get(number).is_none_or(Holder::is_lost))
            .map(|(_, loss)| loss.path.as_path())
            .collect();
        let is_innocent = |directory: &Path| !lost.iter().any(|path| path.starts_with(directory));
        let mut spared: Vec<PathBuf> = vec![];
        // Sorted: a directory comes before what lies in it.
        for directory in &self.spared {
            let is_covered = spared.iter().any(|above| directory.starts_with(above));
            if !is_covered && is_innocent(directory) && has_no_repository(directory) {
                spared.push(directory.clone());
            }
        }
        spared
    }
}

/// Objects without contents of their own.
fn is_light(loss: &Loss) -> Option<Holder> {
    match (loss.object, loss.act) {
        (Object::Link, Act::Removed | Act::Replaced) => Some(Holder::Link),
        (Object::Directory, Act::Removed | Act::Replaced) => Some(Holder::Directory),
        _ => None,
    }
}

/// Packages own files whose state before the act is known.
fn may_be_packaged(loss: &Loss) -> bool {
    loss.object == Object::File && loss.act != Act::Changed
}

/// Whether the name has another object of the same kind, of a quarter of the length or
/// more.
fn is_made_anew(loss: &Loss) -> bool {
    if loss.act == Act::Changed || loss.object != Object::File {
        return false;
    }
    // Absent, or not to be examined: it was not made anew.
    let Ok(found) = fs::symlink_metadata(&loss.name) else {
        return false;
    };
    let is_other_inode = loss.inode != 0 && found.ino() != loss.inode;
    let is_other = is_other_inode
        || found.mtime() != loss.modified.seconds
        || found.mtime_nsec() != i64::from(loss.modified.nanoseconds);
    found.is_file() && is_other && found.len() >= loss.size.div_ceil(KEPT_PART)
}

/// Directories whose tag was removed as one of the losses: `rm -r` comes to it before
/// the last file.
fn removed_tags(losses: &[Loss]) -> HashSet<PathBuf> {
    losses
        .iter()
        .filter(|loss| loss.act == Act::Removed && loss.object == Object::File)
        .filter(|loss| loss.size >= cache_tag::SIGNATURE.len() as u64)
        .filter(|loss| loss.path.file_name() == Some(cache_tag::NAME.as_ref()))
        .filter_map(|loss| loss.path.parent().map(Path::to_owned))
        .collect()
}

/// Whether no repository lies in the directory, as far down as is searched. A directory
/// with more entries than that is not spared: its losses are judged part by part.
fn has_no_repository(directory: &Path) -> bool {
    let mut level = vec![directory.to_owned()];
    let mut searched = 0;
    for depth in 0..=DEPTH_SEARCHED {
        let mut next = vec![];
        for directory in level {
            searched += 1;
            if searched > MOST_SEARCHED {
                return false;
            }
            match contents(&directory) {
                Ok((false, below)) => next.extend(below),
                Ok((true, _)) => return false,
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(_) => return false,
            }
        }
        if depth == DEPTH_SEARCHED {
            break;
        }
        level = next;
    }
    true
}

/// Whether the directory has a `.git`, and its directories.
fn contents(directory: &Path) -> io::Result<(bool, Vec<PathBuf>)> {
    let mut below = vec![];
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_name() == ".git" {
            return Ok((true, vec![]));
        }
        if entry.file_type()?.is_dir() {
            below.push(entry.path());
        }
    }
    Ok((false, below))
}

#[cfg(test)]
#[path = "bench_tests.rs"]
mod tests;
