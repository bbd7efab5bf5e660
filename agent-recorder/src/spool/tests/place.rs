//! A place that others can change is refused. D12.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown, symlink};
use std::path::Path;

use super::super::{Error, Options, Spool, place};

fn refused(directory: &Path) -> String {
    match Spool::open(directory, Options::default()) {
        Err(error @ Error::Unsafe { .. }) => error.to_string(),
        other => panic!("{other:?}"),
    }
}

fn mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn a_state_directory_that_others_can_write_to_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().join("above/state");
    let spool = state.join("spool");
    drop(Spool::open(&spool, Options::default()).unwrap());
    for path in [&spool, &state, &dir.path().join("above")] {
        let before = fs::metadata(path).unwrap().permissions();
        mode(path, 0o777);
        assert!(refused(&spool).contains("written by others"), "{path:?}");
        fs::set_permissions(path, before).unwrap();
    }
    drop(Spool::open(&spool, Options::default()).unwrap());
    // As /tmp is.
    mode(&dir.path().join("above"), 0o1777);
    drop(Spool::open(&spool, Options::default()).unwrap());
}

#[test]
fn a_state_directory_that_is_a_link_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let real = dir.path().join("real");
    drop(Spool::open(&real.join("spool"), Options::default()).unwrap());
    let link = dir.path().join("link");
    symlink(&real, &link).unwrap();
    assert!(refused(&link.join("spool")).contains("symbolic link"));
    symlink(real.join("spool"), dir.path().join("spool")).unwrap();
    assert!(refused(&dir.path().join("spool")).contains("symbolic link"));
}

#[test]
fn a_state_directory_that_is_somebody_elses_is_refused() {
    if !rustix::process::geteuid().is_root() {
        // Nobody else can give a directory away.
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().join("state");
    let spool = state.join("spool");
    drop(Spool::open(&spool, Options::default()).unwrap());
    for path in [&spool, &state] {
        chown(path, Some(65534), None).unwrap();
        assert!(refused(&spool).contains("another user"), "{path:?}");
        chown(path, Some(0), None).unwrap();
    }
}

#[test]
fn a_stream_is_free_when_its_writer_lets_go_although_a_starting_child_has_the_lock_open() {
    let dir = tempfile::tempdir().unwrap();
    let lock = place::try_lock(dir.path()).unwrap().unwrap();
    assert!(place::try_lock(dir.path()).unwrap().is_none());
    let childs = lock.0.try_clone().unwrap();
    drop(lock);
    assert!(place::try_lock(dir.path()).unwrap().is_some());
    drop(childs);
}
