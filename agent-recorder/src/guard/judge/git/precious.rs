//! Names of files that are ignored because they are secret or large, and that no tool
//! makes again.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;

/// Patterns of wildmatch, without letter case.
const PRECIOUS: [&str; 24] = [
    ".env",
    ".env.*",
    ".envrc",
    "*.env",
    "id_*",
    "*.pem",
    "*.key",
    "*.p12",
    "*.pfx",
    "*.jks",
    "*.keystore",
    "*.kdbx",
    "*.gpg",
    "*.age",
    "*.tfstate*",
    "*.tfvars",
    "*.sqlite*",
    "*.db",
    "*.sql",
    "*.dump",
    "*.bak",
    "credentials*",
    "secrets*",
    "*.mdb",
];
/// Precious by their pattern, and made to be copied.
const TEMPLATES: [&str; 4] = ["*.example", "*.sample", "*.template", "*.dist"];

/// Whether the name is one that a person would miss.
pub(super) fn is_precious(name: &OsStr) -> bool {
    let matches = |pattern: &&str| {
        let mode = gix::glob::wildmatch::Mode::IGNORE_CASE;
        gix::glob::wildmatch((*pattern).into(), name.as_bytes().into(), mode)
    };
    PRECIOUS.iter().any(matches) && !TEMPLATES.iter().any(matches)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_and_databases_are_precious_and_templates_are_not() {
        for name in [
            ".env",
            ".env.local",
            "id_ed25519",
            "a.PEM",
            "x.tfstate.backup",
        ] {
            assert!(is_precious(OsStr::new(name)), "{name}");
        }
        for name in [".env.example", ".env.sample", "app.js", "keyboard.ts", "id"] {
            assert!(!is_precious(OsStr::new(name)), "{name}");
        }
    }
}
