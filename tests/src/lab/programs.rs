//! Programs that some tests need and not every machine has.

/// Folders of administrators' programs, which `PATH` may lack.
const OF_ADMINISTRATORS: [&str; 2] = ["/usr/sbin", "/sbin"];

/// Why a test that needs a program does not run here; `None` where it is installed.
pub fn missing(program: &str) -> Option<String> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(OF_ADMINISTRATORS.map(Into::into));
    let is_there = folders
        .into_iter()
        .any(|folder| folder.join(program).is_file());
    (!is_there).then(|| format!("{program} is not installed"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_missing_where_no_folder_has_it() {
        assert_eq!(missing("sh"), None);
        let why = missing("no-program-has-this-name");
        assert!(why.is_some_and(|why| why.contains("no-program-has-this-name")));
    }
}
