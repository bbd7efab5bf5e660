//! The modules that a guest loads at its start: file systems that Debian's kernels
//! lack as built-in, with their dependencies, in the order of loading. A module that
//! the kernel's package lacks is left out.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use super::archive::Archive;
use crate::step;

/// Modules that tests need. The checksums of btrfs are listed, because btrfs requests
/// them without a dependency.
const WANTED: [&str; 5] = [
    "loop",
    "overlay",
    "xxhash_generic",
    "blake2b_generic",
    "btrfs",
];
/// Directory of the modules in a guest; see `init.sh`.
const PLACE: &str = "/modules";
const COMPRESSED: &str = "xz";

/// An archive of the modules of an unpacked package.
///
/// # Errors
///
/// One cannot be read or decompressed.
pub(super) fn archive(unpacked: &Path) -> Result<Vec<u8>> {
    let mut files = BTreeMap::new();
    find(unpacked, &mut files)?;
    let mut loaded = Vec::new();
    for name in WANTED {
        load(name, &files, &mut loaded)?;
    }
    let mut archive = Archive::default();
    archive.directory(Path::new(PLACE));
    for (number, (name, content)) in loaded.iter().enumerate() {
        let file = Path::new(PLACE).join(format!("{number:02}-{name}.ko"));
        archive.file(&file, content);
    }
    Ok(archive.finish())
}

/// Adds a module after its dependencies.
fn load(
    name: &str,
    files: &BTreeMap<String, PathBuf>,
    loaded: &mut Vec<(String, Vec<u8>)>,
) -> Result<()> {
    if loaded.iter().any(|(known, _)| known == name) {
        return Ok(());
    }
    let Some(file) = files.get(name) else {
        return Ok(());
    };
    let content = content(file).with_context(|| format!("read {}", file.display()))?;
    for needed in dependencies(&content) {
        load(&needed, files, loaded)?;
    }
    loaded.push((name.to_owned(), content));
    Ok(())
}

fn content(file: &Path) -> Result<Vec<u8>> {
    if file.extension() != Some(OsStr::new(COMPRESSED)) {
        return Ok(fs::read(file)?);
    }
    step::output_bytes(Command::new("xz").arg("-dc").arg(file))
}

/// The dependencies in the section `.modinfo`: `depends=ONE,OTHER`, between NULs.
fn dependencies(module: &[u8]) -> Vec<String> {
    let sign = b"\0depends=";
    let Some(at) = module.windows(sign.len()).position(|bytes| bytes == sign) else {
        return Vec::new();
    };
    let names = module[at + sign.len()..].split(|&byte| byte == 0).next();
    String::from_utf8_lossy(names.unwrap_or_default())
        .split(',')
        .filter(|name| !name.is_empty())
        .map(normal)
        .collect()
}

/// The name with underscores: files may have dashes where modules have underscores.
fn normal(name: &str) -> String {
    name.replace('-', "_")
}

/// All modules by their names.
fn find(folder: &Path, files: &mut BTreeMap<String, PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| format!("read {}", folder.display()))? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            find(&entry.path(), files)?;
        } else if let Some((name, "ko" | "ko.xz")) =
            entry.file_name().to_string_lossy().split_once('.')
        {
            files.insert(normal(name), entry.path());
        }
    }
    Ok(())
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn a_module_comes_after_what_it_depends_on_and_once() {
        let folder = tempfile::tempdir().unwrap();
        let place = |name: &str, depends: &str| {
            let content = format!("x\0depends={depends}\0y");
            fs::write(folder.path().join(name), content).unwrap();
        };
        place("btrfs.ko", "xor,raid6_pq,not-there");
        place("raid6-pq.ko", "xor");
        place("xor.ko", "");
        place("other.ko", "");
        let text = archive(folder.path()).unwrap();
        let text = String::from_utf8_lossy(&text);
        let names: Vec<_> = text.match_indices("modules/0").collect();
        assert_eq!(names.len(), 3);
        let at = |name: &str| text.find(name).unwrap();
        assert!(at("00-xor.ko") < at("01-raid6_pq.ko"));
        assert!(at("01-raid6_pq.ko") < at("02-btrfs.ko"));
    }
}
