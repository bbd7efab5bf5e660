//! Files that somebody else made, for a session to destroy.

use std::fs;
use std::path::Path;

/// Makes so many small files, each called by its number, in a directory that it makes, too.
///
/// # Errors
///
/// There is no room.
pub fn fill(directory: &Path, files: usize) -> std::io::Result<()> {
    fs::create_dir_all(directory)?;
    (0..files).try_for_each(|number| fs::write(directory.join(number.to_string()), b"x"))
}

/// How many entries a directory has.
///
/// # Errors
///
/// It cannot be read.
pub fn count(directory: &Path) -> std::io::Result<usize> {
    Ok(fs::read_dir(directory)?.count())
}
