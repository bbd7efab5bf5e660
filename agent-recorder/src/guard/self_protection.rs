//! The recorder's own files in the kernel's form. They are looked up again at
//! intervals, because they come and go.
//!
//! Not here: the recorder's process and BPF objects (`bpf`).

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

use agent_recorder_abi::self_protection::{OWN_ABOVE, OWN_TREE, OwnKey};

use super::places::Mounts;
use crate::bpf::BPFFS;

/// Keys of the files and directories that exist now, of their parents, and of the
/// directory of BPF pins: no mount may cover or move them. The root directory is left
/// out, because mount --make-rprivate / changes its propagation. Of the `switches`
/// only the files themselves are taken.
pub fn files(paths: &[PathBuf], switches: &[PathBuf]) -> Vec<OwnKey> {
    let mounts = Mounts::read();
    let key = |path: &Path, kind| {
        let found = mounts.key_of(path)?;
        Some(OwnKey {
            number: found.ino,
            dev: found.dev,
            kind,
        })
    };
    let mut keys: HashSet<_> = key(Path::new(BPFFS), OWN_ABOVE).into_iter().collect();
    for path in paths {
        let Ok(real) = fs::canonicalize(path) else {
            continue;
        };
        keys.extend(key(&real, OWN_TREE));
        let above = real.ancestors().skip(1);
        keys.extend(
            above
                .filter(|directory| directory.parent().is_some())
                .filter_map(|directory| key(directory, OWN_ABOVE)),
        );
    }
    keys.extend(switches.iter().filter_map(|file| key(file, OWN_TREE)));
    keys.into_iter().collect()
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn what_is_above_its_files_is_known_up_to_the_root() {
        let directory = tempfile::tempdir().unwrap();
        let state = directory.path().join("state");
        fs::create_dir(&state).unwrap();
        let keys = files(&[state.clone(), directory.path().join("absent")], &[]);
        let mounts = Mounts::read();
        let kind = |path: &Path| {
            let wanted = mounts.key_of(path).unwrap();
            let mut found = keys.iter();
            found
                .find(|key| (key.number, key.dev) == (wanted.ino, wanted.dev))
                .map(|key| key.kind)
        };
        assert_eq!(kind(&state), Some(OWN_TREE));
        assert_eq!(kind(directory.path()), Some(OWN_ABOVE));
        assert_eq!(kind(Path::new("/")), None);
    }
}
