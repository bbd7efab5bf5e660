//! Files that a session did not create, for it to destroy.

use std::fs;
use std::path::Path;

/// Makes a directory and `files` small files in it, each named by its number.
///
/// # Errors
///
/// A file cannot be written.
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
