//! A directory that others can change is refused (D12); and the writer of each
//! stream.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown, symlink};
use std::path::Path;
use std::thread;
use std::time::Duration;

use super::super::directory::try_lock;
use super::super::{Choice, Error, Options, Spool};
use super::in_memory;
use crate::record::StreamId;

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
    // The mode of /tmp.
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
        // Only root can give a directory to another user.
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
    let lock = try_lock(dir.path()).unwrap().unwrap();
    assert!(try_lock(dir.path()).unwrap().is_none());
    let childs = lock.0.try_clone().unwrap();
    drop(lock);
    assert!(try_lock(dir.path()).unwrap().is_some());
    drop(childs);
}

#[test]
fn a_writer_can_say_which_stream_it_goes_on_with() {
    let dir = in_memory();
    let open = |choice| {
        let spool = Spool::open_one(dir.path(), Options::default(), choice).unwrap();
        spool.stream_id()
    };
    let (older, newer) = {
        let spool = Spool::open(dir.path(), Options::default()).unwrap();
        (spool.stream_id(), open(Choice::Without(spool.stream_id())))
    };
    assert_eq!(open(Choice::Newest), newer);
    assert_eq!(open(Choice::First(older)), older);
    assert_eq!(open(Choice::Without(newer)), older);
    assert_eq!(open(Choice::First(StreamId::generate())), newer);
}

#[test]
fn a_writer_waits_for_who_only_tidies() {
    let dir = in_memory();
    let stream = Spool::open(dir.path(), Options::default())
        .unwrap()
        .stream_id();
    let lock = try_lock(&dir.path().join(stream.to_string())).unwrap();
    let tidier = thread::spawn(move || {
        thread::sleep(Duration::from_millis(50));
        drop(lock);
    });
    let spool = Spool::open_one(dir.path(), Options::default(), Choice::First(stream)).unwrap();
    assert_eq!(spool.stream_id(), stream);
    tidier.join().unwrap();
}
