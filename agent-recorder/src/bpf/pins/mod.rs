//! The kernel programs' objects under bpffs, where they outlive the daemon: the
//! programs stay attached, the guard continues, and the rings fill.
//!
//! Each recorder has a folder, named after its state directory. In it each set of
//! programs (a generation) has a folder, named after the layout of the programs, so
//! that no daemon takes over programs of another layout. An incomplete folder has
//! another name.
//!
//! Not here: taking over pinned programs (`daemon::takeover`).

mod previous;

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use aya::maps::{Map, MapData};

use crate::bpf::attach::hooks::Profile;
use crate::bpf::error::{chain, map_error};
use crate::bpf::{Error, commands};

pub use previous::Previous;

/// `BPF_FS_MAGIC` (include/uapi/linux/magic.h).
const BPF_FS_MAGIC: u64 = 0xcafe_4a11;
/// Folder of programs that are still being attached.
const UNFINISHED: &str = "unfinished";
/// Suffix of a generation whose guard does not refuse, although its profile allows
/// that.
const OBSERVING: &str = "observing";

/// Prefix of generations that are about to be removed.
const ASIDE: &str = "aside";

const MAPS: &str = "maps";
const PROGRAMS: &str = "programs";
const LINKS: &str = "links";

/// Folder of a recorder's pins.
#[derive(Clone, Debug)]
pub struct Pins {
    directory: PathBuf,
}

impl Pins {
    /// The folder of the recorder with this state directory, below a directory on a
    /// bpffs. The folder is created if it is missing.
    ///
    /// # Errors
    ///
    /// The directory is on no bpffs or cannot be created, or the state directory is
    /// missing.
    pub fn new(below: &Path, state: &Path) -> Result<Self, Error> {
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| Error::Pin { path, source }
        };
        let state = fs::metadata(state).map_err(failed(state))?;
        let directory = below.join(format!("{:x}-{:x}", state.dev(), state.ino()));
        if !is_on_bpffs(below).map_err(failed(below))? {
            return Err(Error::NoBpffs {
                path: below.to_owned(),
            });
        }
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&directory)
            .map_err(failed(&directory))?;
        Ok(Self { directory })
    }

    /// The folder of an earlier recorder, if it still exists.
    pub fn there(directory: &Path) -> Option<Self> {
        let directory = directory.to_owned();
        directory.is_dir().then_some(Self { directory })
    }

    /// The recorder's folder.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Complete generations that earlier recorders left and no recorder has taken
    /// over.
    pub(in crate::bpf) fn left(&self) -> Result<Vec<Generation>, Error> {
        let entries = fs::read_dir(&self.directory).map_err(self.failed())?;
        let mut generations = Vec::new();
        for entry in entries {
            let entry = entry.map_err(self.failed())?;
            if entry.file_name() != UNFINISHED {
                generations.push(Generation {
                    folder: entry.path(),
                });
            }
        }
        Ok(generations)
    }

    /// Renames every such generation to a name that no new generation gets, and
    /// returns them.
    pub(in crate::bpf) fn set_aside(&self) -> Result<Vec<Generation>, Error> {
        let left = self.left()?;
        let taken: Vec<_> = left.iter().map(|it| it.folder.clone()).collect();
        let free = |name: &PathBuf| !taken.contains(name);
        let mut names = (0..)
            .map(|number: u32| self.directory.join(format!("{ASIDE}{number}")))
            .filter(free);
        left.into_iter()
            .map(|generation| {
                let from = generation.folder;
                // The iterator is endless, so the alternative is unreachable.
                let folder = names.next().unwrap_or_else(|| from.clone());
                fs::rename(&from, &folder).map_err(|source| Error::Pin { path: from, source })?;
                Ok(Generation { folder })
            })
            .collect()
    }

    /// Removes all generations but one.
    pub(in crate::bpf) fn remove_others(&self, than: &Generation) -> Result<(), Error> {
        let left = self.left()?.into_iter();
        left.filter(|it| it.folder != than.folder)
            .try_for_each(|it| it.remove())
    }

    /// Begins a generation.
    pub(in crate::bpf) fn begin(&self) -> Result<Generation, Error> {
        let folder = self.directory.join(UNFINISHED);
        remove(&folder)?;
        for part in [MAPS, PROGRAMS, LINKS] {
            let part = folder.join(part);
            fs::DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(&part)
                .map_err(|source| Error::Pin { path: part, source })?;
        }
        Ok(Generation { folder })
    }

    /// Removes all pins. The programs are detached once this process, too, has closed
    /// their descriptors.
    ///
    /// # Errors
    ///
    /// Something cannot be removed.
    pub fn remove(&self) -> Result<(), Error> {
        remove(&self.directory)
    }

    fn failed(&self) -> impl Fn(io::Error) -> Error {
        |source| Error::Pin {
            path: self.directory.clone(),
            source,
        }
    }
}

/// Whether a path, or its longest existing parent, is on a bpffs.
///
/// # Errors
///
/// statfs(2) refuses.
pub fn is_on_bpffs(path: &Path) -> io::Result<bool> {
    let there = path.ancestors().find(|path| path.exists());
    let found = rustix::fs::statfs(there.unwrap_or(Path::new("/")))?;
    // The type of `f_type` depends on the machine; the magic has 32 bits.
    Ok(found.f_type as u64 == BPF_FS_MAGIC)
}

/// Identity of a generation's programs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::bpf) struct Name {
    /// Layout of the programs: equal layouts mean equal programs.
    pub(in crate::bpf) layout: String,
    pub(in crate::bpf) profile: Profile,
    /// Whether the guard observes although its profile can refuse.
    pub(in crate::bpf) observes: bool,
}

impl Name {
    fn folder(&self) -> String {
        let observes = if self.observes { OBSERVING } else { "" };
        format!("{}-{}-{observes}", self.layout, self.profile)
    }

    fn of(folder: &str) -> Option<Self> {
        let mut parts = folder.split('-');
        let (layout, profile, observes) = (parts.next()?, parts.next()?, parts.next()?);
        let mut profiles = Profile::ALL.into_iter();
        Some(Self {
            layout: layout.to_owned(),
            profile: profiles.find(|known| known.to_string() == profile)?,
            observes: observes == OBSERVING,
        })
    }
}

/// One set of programs, their links and maps.
#[derive(Clone, Debug)]
pub(in crate::bpf) struct Generation {
    folder: PathBuf,
}

impl Generation {
    /// The identity of its programs; `None` for a folder that no recorder made.
    pub(in crate::bpf) fn name(&self) -> Option<Name> {
        Name::of(self.folder.file_name()?.to_str()?)
    }

    /// Marks the generation as complete.
    pub(in crate::bpf) fn finish(&mut self, name: &Name) -> Result<(), Error> {
        let whole = self.folder.with_file_name(name.folder());
        remove(&whole)?;
        fs::rename(&self.folder, &whole).map_err(|source| Error::Pin {
            path: whole.clone(),
            source,
        })?;
        self.folder = whole;
        Ok(())
    }

    /// Removes the generation, and with the last one the recorder's folder.
    pub(in crate::bpf) fn remove(&self) -> Result<(), Error> {
        remove(&self.folder)?;
        let Some(directory) = self.folder.parent() else {
            return Ok(());
        };
        match fs::remove_dir(directory) {
            Err(error) if error.raw_os_error() != Some(libc::ENOTEMPTY) => Err(Error::Pin {
                path: directory.to_owned(),
                source: error,
            }),
            _ => Ok(()),
        }
    }

    pub(in crate::bpf) fn keep_map(&self, name: &str, map: &Map) -> Result<(), Error> {
        // bpffs refuses a dot in a name. Maps with one are data of the object, which
        // the programs keep alive.
        if name.contains('.') {
            return Ok(());
        }
        let path = self.folder.join(MAPS).join(name);
        map.pin(&path).map_err(|error| Error::Pin {
            path,
            source: io::Error::other(chain(&error)),
        })
    }

    pub(in crate::bpf) fn maps(&self) -> Result<BTreeMap<String, Map>, Error> {
        let folder = self.folder.join(MAPS);
        let failed = |source| Error::Pin {
            path: folder.clone(),
            source,
        };
        let mut maps = BTreeMap::new();
        for entry in fs::read_dir(&folder).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let map = MapData::from_pin(entry.path()).and_then(Map::from_map_data);
            let map = map.map_err(|error| map_error("pinned", &error))?;
            maps.insert(name, map);
        }
        Ok(maps)
    }

    /// The links that attach its programs.
    pub(in crate::bpf) fn links(&self) -> Result<Vec<OwnedFd>, Error> {
        let folder = self.folder.join(LINKS);
        let failed = |source| Error::Pin {
            path: folder.clone(),
            source,
        };
        let entries = fs::read_dir(&folder).map_err(failed)?;
        entries
            .map(|entry| open(&entry.map_err(failed)?.path()))
            .collect()
    }

    pub(in crate::bpf) fn keep_program(
        &self,
        name: &str,
        program: BorrowedFd<'_>,
    ) -> Result<(), Error> {
        pin(self.folder.join(PROGRAMS).join(name), program)
    }

    pub(in crate::bpf) fn keep_link(&self, name: &str, link: BorrowedFd<'_>) -> Result<(), Error> {
        pin(self.folder.join(LINKS).join(name), link)
    }

    pub(in crate::bpf) fn forget_link(&self, name: &str) -> Result<(), Error> {
        remove(&self.folder.join(LINKS).join(name))
    }

    /// A program and its link; `None` where there is no program of this name.
    ///
    /// # Errors
    ///
    /// The program or the link is missing, or the link attaches another program.
    pub(in crate::bpf) fn program(&self, name: &str) -> Result<Option<(OwnedFd, OwnedFd)>, Error> {
        let path = self.folder.join(PROGRAMS).join(name);
        let program = match open(&path) {
            Err(Error::Pin { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                return Ok(None);
            }
            program => program?,
        };
        let path = self.folder.join(LINKS).join(name);
        let link = open(&path)?;
        let belong = commands::are_linked(link.as_fd(), program.as_fd());
        match belong {
            Ok(true) => Ok(Some((program, link))),
            Ok(false) => Err(Error::Pin {
                path,
                source: io::Error::other("it is the link of another program"),
            }),
            Err(source) => Err(Error::Pin { path, source }),
        }
    }
}

fn pin(path: PathBuf, object: BorrowedFd<'_>) -> Result<(), Error> {
    commands::pin(&path, object).map_err(|source| Error::Pin { path, source })
}

fn open(path: &Path) -> Result<OwnedFd, Error> {
    commands::pinned(path).map_err(|source| Error::Pin {
        path: path.to_owned(),
        source,
    })
}

/// Removes a pin, or a folder with its contents, if there is one.
fn remove(path: &Path) -> Result<(), Error> {
    let removed = match fs::symlink_metadata(path) {
        Ok(found) if found.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Error::Pin {
            path: path.to_owned(),
            source: error,
        }),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_generations_folder_says_what_it_is() {
        for observes in [false, true] {
            for profile in Profile::ALL {
                let name = Name {
                    layout: "0f".to_owned(),
                    profile,
                    observes,
                };
                assert_eq!(Name::of(&name.folder()), Some(name));
            }
        }
        assert_eq!(Name::of("unfinished"), None);
        assert_eq!(Name::of("0f-strange-"), None);
    }
}
