//! Cache directories that say so: a file `CACHEDIR.TAG` with the signature of the Cache
//! Directory Tagging Specification (<https://bford.info/cachedir/>).
//!
//! Not here: which tags count where (`bench`).

use std::io::Read as _;
use std::path::Path;

use super::bounded_read::open_regular;

/// The tag's name.
pub(super) const NAME: &str = "CACHEDIR.TAG";
/// The first 43 bytes of a tag.
pub(super) const SIGNATURE: &[u8; 43] = b"Signature: 8a477f597d28d172789f06886806bc55";

/// Whether the directory has a tag. A tag that cannot be read is none.
pub(super) fn is_tagged(directory: &Path) -> bool {
    let Ok((mut file, _)) = open_regular(&directory.join(NAME)) else {
        return false;
    };
    let mut begin = [0; SIGNATURE.len()];
    file.read_exact(&mut begin).is_ok() && begin == *SIGNATURE
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn only_the_signature_makes_a_tag() {
        let directory = tempfile::tempdir().unwrap();
        assert!(!is_tagged(directory.path()));
        fs::write(directory.path().join(NAME), "Signature: 8a47").unwrap();
        assert!(!is_tagged(directory.path()));
        fs::write(directory.path().join(NAME), SIGNATURE).unwrap();
        assert!(is_tagged(directory.path()));
    }
}
