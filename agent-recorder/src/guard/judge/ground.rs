//! The directories above a loss: whether they are real, and the nearest repository and
//! home. Each directory is examined once a judgement.
//!
//! Not here: what a repository knows (`git`).

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::{fs, io};

use super::settings::Settings;

/// What lies above a path.
#[derive(Clone, Debug)]
pub(super) struct Ground {
    /// `/`, or `/proc/PID/root`: where the path is seen from.
    pub(super) root: Rc<Path>,
    /// The nearest directory with a `.git` of any kind.
    pub(super) repository: Option<Rc<Path>>,
    /// The nearest repository or home, whichever is lower. Names at it or above it say
    /// nothing about what lies below.
    pub(super) fence: Option<Fence>,
    /// Every component is a directory, or is gone.
    pub(super) is_real: bool,
}

impl Ground {
    /// Whether the nearest repository's rules say what is made again: it is a project,
    /// no repository of a home or of a system.
    pub(super) fn is_project(&self) -> bool {
        matches!(self.fence, Some(Fence::Repository(_)))
    }
}

/// Where a project's names begin to have a meaning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fence {
    Repository(Rc<Path>),
    Home(Rc<Path>),
}

impl Fence {
    pub(super) fn path(&self) -> &Path {
        match self {
            Self::Repository(path) | Self::Home(path) => path,
        }
    }

    /// Whether a project file in this directory may speak. A home itself is no project:
    /// a stray package.json in it is common, and `~/build` and `~/lib` are a person's.
    pub(super) fn admits_project(&self, project: &Path) -> bool {
        match self {
            Self::Repository(root) => project.starts_with(root),
            Self::Home(home) => project.starts_with(home) && project != &**home,
        }
    }
}

/// Directories that were examined.
#[derive(Debug)]
pub(super) struct Grounds<'a> {
    settings: &'a Settings,
    known: HashMap<PathBuf, Ground>,
}

impl<'a> Grounds<'a> {
    pub(super) fn new(settings: &'a Settings) -> Self {
        let known = HashMap::new();
        Self { settings, known }
    }

    /// What lies above a path.
    pub(super) fn above(&mut self, path: &Path) -> Ground {
        let root = root_of(path);
        let mut chain = vec![];
        for directory in path.ancestors().skip(1) {
            chain.push(directory);
            if directory == root || self.known.contains_key(directory) {
                break;
            }
        }
        let mut ground = Ground {
            root: Rc::from(root.as_path()),
            repository: None,
            fence: None,
            is_real: true,
        };
        // From the top down: a link is met before anything is looked up through it.
        for directory in chain.into_iter().rev() {
            if let Some(known) = self.known.get(directory) {
                ground = known.clone();
                continue;
            }
            self.descend(&mut ground, directory);
            self.known.insert(directory.to_owned(), ground.clone());
        }
        ground
    }

    fn descend(&self, ground: &mut Ground, directory: &Path) {
        // `/proc/PID/root` is a link of the kernel's.
        let is_root = directory == &*ground.root;
        ground.is_real = ground.is_real && (is_root || is_directory_or_gone(directory));
        if !ground.is_real {
            return;
        }
        let is_home = self.settings.is_home(&inside(&ground.root, directory));
        let directory: Rc<Path> = Rc::from(directory);
        if fs::symlink_metadata(directory.join(".git")).is_ok() {
            ground.repository = Some(Rc::clone(&directory));
            // A repository of the whole system (of /etc, for example) is no project.
            if !is_root {
                ground.fence = Some(Fence::Repository(Rc::clone(&directory)));
            }
        }
        // A repository of a home (of its dotfiles) ignores most of what a person has.
        if is_home {
            ground.fence = Some(Fence::Home(directory));
        }
    }
}

fn is_directory_or_gone(directory: &Path) -> bool {
    match fs::symlink_metadata(directory) {
        Ok(found) => found.is_dir(),
        // `rm -r` has removed it with its contents.
        Err(error) => error.kind() == io::ErrorKind::NotFound,
    }
}

/// `/`, or `/proc/PID/root` where the path begins with it.
pub(super) fn root_of(path: &Path) -> PathBuf {
    let Ok(rest) = path.strip_prefix("/proc") else {
        return PathBuf::from("/");
    };
    let mut components = rest.components();
    match (components.next(), components.next()) {
        (Some(pid), Some(root)) if root.as_os_str() == "root" => {
            Path::new("/proc").join(pid).join("root")
        }
        _ => PathBuf::from("/"),
    }
}

/// A path as its own root names it.
pub(super) fn inside(root: &Path, path: &Path) -> PathBuf {
    Path::new("/").join(path.strip_prefix(root).unwrap_or(path))
}

/// A path that a file below `root` names: absolute ones begin at `root`.
pub(super) fn outside(root: &Path, base: &Path, named: &Path) -> PathBuf {
    match named.strip_prefix("/") {
        Ok(relative) => root.join(relative),
        Err(_) => base.join(named),
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn a_path_of_another_mount_namespace_begins_at_its_root() {
        let path = Path::new("/proc/17/root/srv/x");
        assert_eq!(root_of(path), Path::new("/proc/17/root"));
        assert_eq!(inside(&root_of(path), path), Path::new("/srv/x"));
        assert_eq!(root_of(Path::new("/proc/17/cwd/x")), Path::new("/"));
    }

    #[test]
    fn a_link_in_the_place_of_a_directory_is_seen() {
        let directory = tempfile::tempdir().unwrap();
        let settings = Settings::default();
        let real = directory.path().join("a");
        fs::create_dir(&real).unwrap();
        std::os::unix::fs::symlink(&real, directory.path().join("b")).unwrap();
        let mut grounds = Grounds::new(&settings);
        assert!(grounds.above(&real.join("file")).is_real);
        assert!(grounds.above(&real.join("gone/file")).is_real);
        assert!(!grounds.above(&directory.path().join("b/file")).is_real);
        assert!(!grounds.above(&directory.path().join("b/c/file")).is_real);
    }

    #[test]
    fn the_nearest_of_home_and_repository_is_the_fence() {
        let directory = tempfile::tempdir().unwrap();
        let home = directory.path().join("home");
        let project = home.join("project");
        fs::create_dir_all(project.join(".git")).unwrap();
        fs::create_dir_all(directory.path().join(".git")).unwrap();
        let settings = Settings {
            homes: vec![home.clone()],
            planted: None,
        };
        let mut grounds = Grounds::new(&settings);
        let ground = grounds.above(&project.join("file"));
        assert_eq!(ground.fence.unwrap().path(), project);
        let ground = grounds.above(&home.join("file"));
        assert_eq!(ground.fence, Some(Fence::Home(Rc::from(&*home))));
        assert_eq!(ground.repository.as_deref(), Some(directory.path()));
    }
}
