//! What a repository holds.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::fs::{self, File};
use std::path::Path;
use std::time::{Duration, SystemTime};

use crate::guard::judge::fixture::Tree;
use crate::guard::judge::{Act, Fault, Holder, Loss};

const P: &str = "home/p";

fn project() -> Tree {
    let tree = Tree::new();
    tree.repository(P);
    tree
}

fn append(tree: &Tree, file: &str, text: &str) {
    let path = tree.at(file);
    let mut contents = fs::read_to_string(&path).unwrap();
    contents.push_str(text);
    fs::write(path, contents).unwrap();
}

#[test]
fn a_committed_file_is_held_and_its_repository_is_named() {
    let tree = project();
    let judgement = tree.judge(&[tree.remove("home/p/a.txt"), tree.remove("home/p/src/b.txt")]);
    assert_eq!(
        judgement.holders,
        [Holder::Git, Holder::Git],
        "{judgement:?}"
    );
    assert_eq!(judgement.leans_on, [tree.at(P)]);
    assert_eq!(judgement.spared, [] as [&Path; 0]);
}

#[test]
fn a_staged_file_is_held_before_any_commit() {
    let tree = Tree::new();
    fs::create_dir(tree.at(P)).unwrap();
    tree.git(P, ["init", "-q"]);
    tree.write("home/p/a.txt", "alpha");
    tree.write("home/p/b.txt", "beta");
    tree.git(P, ["add", "a.txt"]);
    assert_eq!(tree.holder("home/p/a.txt"), Holder::Git);
    assert_eq!(tree.holder("home/p/b.txt"), Holder::Lost);
}

#[test]
fn a_repository_without_an_index_holds_nothing() {
    let tree = Tree::new();
    fs::create_dir(tree.at(P)).unwrap();
    tree.git(P, ["init", "-q"]);
    tree.write("home/p/a.txt", "alpha");
    assert_eq!(tree.holder("home/p/a.txt"), Holder::Lost);
    let tree = project();
    fs::remove_file(tree.at("home/p/.git/index")).unwrap();
    assert_eq!(tree.holder("home/p/a.txt"), Holder::Unjudged);
}

#[test]
fn uncommitted_work_is_lost_even_at_the_same_length() {
    let tree = project();
    fs::write(tree.at("home/p/a.txt"), "ALPHA\n").unwrap();
    assert_eq!(tree.holder("home/p/a.txt"), Holder::Lost);
    tree.write("home/p/src/b.txt", "more than that\n");
    assert_eq!(tree.holder("home/p/src/b.txt"), Holder::Lost);
}

#[test]
fn another_inode_with_the_same_length_and_time_is_lost() {
    let tree = project();
    let mut loss = tree.remove("home/p/a.txt");
    loss.inode += 1;
    assert_eq!(tree.judge(&[loss]).holders, [Holder::Lost]);
}

#[test]
fn an_entry_as_young_as_the_index_is_not_believed() {
    let tree = project();
    let index = File::options()
        .write(true)
        .open(tree.at("home/p/.git/index"));
    let old = SystemTime::now() - Duration::from_secs(7200);
    index.unwrap().set_modified(old).unwrap();
    assert_eq!(tree.holder("home/p/a.txt"), Holder::Lost);
}

#[test]
fn a_packed_repository_and_one_with_sha256_hold_their_files() {
    let tree = project();
    tree.git(P, ["gc", "-q"]);
    assert_eq!(tree.holder("home/p/src/b.txt"), Holder::Git);
    let tree = Tree::new();
    fs::create_dir(tree.at(P)).unwrap();
    tree.git(P, ["init", "-q", "--object-format=sha256"]);
    tree.write("home/p/a.txt", "alpha");
    tree.git(P, ["add", "."]);
    tree.git(P, ["commit", "-qm", "first"]);
    let loss = tree.remove("home/p/a.txt");
    let judgement = tree.judge(&[loss]);
    assert_eq!(judgement.holders, [Holder::Git], "{judgement:?}");
}

#[test]
fn a_merge_conflict_is_uncommitted_work() {
    let tree = project();
    tree.git(P, ["checkout", "-qb", "side"]);
    append(&tree, "home/p/a.txt", "side\n");
    tree.git(P, ["commit", "-qam", "side"]);
    tree.git(P, ["checkout", "-q", "main"]);
    append(&tree, "home/p/a.txt", "main\n");
    tree.git(P, ["commit", "-qam", "main"]);
    tree.git(
        P,
        [
            "merge",
            "-q",
            "-s",
            "recursive",
            "-X",
            "theirs",
            "--no-commit",
            "side",
        ],
    );
    tree.git(P, ["checkout", "-q", "-m", "a.txt"]);
    assert_eq!(tree.holder("home/p/a.txt"), Holder::Lost);
}

#[test]
fn a_stash_holds_what_it_took_and_no_later_work() {
    let tree = project();
    tree.write("home/p/a.txt", "worked on\n");
    tree.write("home/p/new.txt", "untracked\n");
    let (tracked, untracked) = (tree.loss("home/p/a.txt"), tree.loss("home/p/new.txt"));
    // Before the stash both are lost.
    assert_eq!(
        tree.judge(&[tracked.clone(), untracked.clone()]).holders,
        [Holder::Lost, Holder::Lost]
    );
    tree.git(P, ["stash", "-u", "-q"]);
    fs::remove_file(tree.at("home/p/a.txt")).unwrap();
    assert_eq!(
        tree.judge(&[tracked.clone(), untracked.clone()]).holders,
        [Holder::Git, Holder::Git]
    );
    let later = |mut loss: Loss| {
        loss.modified.seconds += 7200;
        loss
    };
    assert_eq!(
        tree.judge(&[later(tracked), later(untracked)]).holders,
        [Holder::Lost, Holder::Lost]
    );
}

#[test]
fn a_stash_of_one_path_holds_no_other() {
    let tree = project();
    tree.write("home/p/a.txt", "ALPHA\n");
    tree.write("home/p/src/b.txt", "stashed\n");
    tree.git(P, ["stash", "push", "-q", "--", "src/b.txt"]);
    assert_eq!(tree.holder("home/p/a.txt"), Holder::Lost);
}

#[test]
fn ignored_files_are_made_again_and_precious_ones_are_lost() {
    let tree = project();
    tree.write("home/p/x.log", "x");
    tree.write("home/p/.env", "SECRET=1");
    tree.write("home/p/made/one", "x");
    tree.write("home/p/made/data.sqlite3", "x");
    tree.write("home/p/plain", "x");
    assert_eq!(tree.holder("home/p/x.log"), Holder::GitIgnored);
    assert_eq!(tree.holder("home/p/.env"), Holder::Lost);
    assert_eq!(tree.holder("home/p/plain"), Holder::Lost);
    let one = tree.remove("home/p/made/one");
    let judgement = tree.judge(std::slice::from_ref(&one));
    assert_eq!(judgement.holders, [Holder::GitIgnored]);
    assert_eq!(judgement.spared, [tree.at("home/p/made")]);
    let judgement = tree.judge(&[one, tree.remove("home/p/made/data.sqlite3")]);
    assert_eq!(judgement.holders, [Holder::GitIgnored, Holder::Lost]);
    assert_eq!(judgement.spared, [] as [&Path; 0]);
}

#[test]
fn an_ignored_directory_with_a_tracked_file_is_not_spared() {
    let tree = project();
    tree.write("home/p/made/kept", "x");
    tree.write("home/p/made/other", "x");
    tree.git(P, ["add", "-f", "made/kept"]);
    let judgement = tree.judge(&[tree.remove("home/p/made/other")]);
    assert_eq!(judgement.holders, [Holder::GitIgnored]);
    assert_eq!(judgement.spared, [] as [&Path; 0]);
}

#[test]
fn a_repository_that_goes_holds_nothing() {
    let tree = project();
    let losses = [
        tree.remove("home/p/a.txt"),
        tree.remove("home/p/.git/config"),
    ];
    let judgement = tree.judge(&losses);
    assert_eq!(judgement.holders, [Holder::Lost, Holder::Lost]);
    assert!(matches!(judgement.faults[..], [Fault::Going { .. }, ..]));
}

#[test]
fn what_git_itself_removes_does_not_end_its_repository() {
    let tree = project();
    tree.git(P, ["branch", "other"]);
    tree.git(P, ["branch", "third"]);
    let losses = [
        tree.remove("home/p/a.txt"),
        tree.remove("home/p/.git/refs/heads/other"),
    ];
    let judgement = tree.judge(&losses);
    assert_eq!(judgement.holders, [Holder::Git, Holder::Lost]);
}

#[test]
fn a_loose_object_that_was_packed_is_held_and_another_one_is_lost() {
    let tree = project();
    let opened = gix::open(tree.at(P)).unwrap();
    let hex = opened.head_id().unwrap().to_string();
    let object = format!("home/p/.git/objects/{}/{}", &hex[..2], &hex[2..]);
    let loss = tree.loss(&object);
    tree.git(P, ["gc", "-q"]);
    assert_eq!(
        tree.judge(std::slice::from_ref(&loss)).holders,
        [Holder::Git]
    );
    for pack in fs::read_dir(tree.at("home/p/.git/objects/pack")).unwrap() {
        fs::remove_file(pack.unwrap().path()).unwrap();
    }
    assert_eq!(tree.judge(&[loss]).holders, [Holder::Lost]);
}

#[test]
fn a_submodule_holds_its_own_files() {
    let tree = project();
    tree.repository("home/module");
    tree.git(P, ["submodule", "--quiet", "add", "../module", "sub"]);
    tree.age(&tree.at("home/p/sub/a.txt"), Duration::from_secs(60));
    tree.git("home/p/sub", ["add", "--refresh", "."]);
    let judgement = tree.judge(&[tree.remove("home/p/sub/a.txt")]);
    assert_eq!(judgement.holders, [Holder::Git], "{judgement:?}");
}

#[test]
fn a_split_index_is_not_judged() {
    let tree = project();
    tree.git(P, ["update-index", "--split-index"]);
    assert_eq!(tree.holder("home/p/a.txt"), Holder::Unjudged);
}

#[test]
fn a_sparse_index_holds_what_is_checked_out() {
    let tree = project();
    // Ignored: what the index does not have would count as made again.
    tree.write("home/p/far/c.log", "gamma\n");
    tree.git(P, ["add", "-f", "far/c.log"]);
    tree.git(P, ["commit", "-qm", "second"]);
    tree.git(P, ["sparse-checkout", "init", "--cone", "--sparse-index"]);
    tree.git(P, ["sparse-checkout", "set", "src"]);
    assert_eq!(tree.holder("home/p/a.txt"), Holder::Git);
    tree.write("home/p/far/c.log", "gamma\n");
    assert_eq!(tree.holder("home/p/far/c.log"), Holder::Lost);
}

#[test]
fn alternates_hold_as_the_repositorys_own_store_does() {
    let tree = project();
    tree.git("home", ["clone", "-q", "--shared", "p", "shared"]);
    let path = tree.at("home/shared/a.txt");
    tree.age(&path, Duration::from_secs(60));
    tree.git("home/shared", ["add", "--refresh", "."]);
    assert_eq!(tree.holder("home/shared/a.txt"), Holder::Git);
}

#[test]
fn a_tracked_file_of_lfs_is_held_by_its_store() {
    let tree = project();
    let digest = "4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393";
    let pointer =
        format!("version https://git-lfs.github.com/spec/v1\noid sha256:{digest}\nsize 9\n");
    let path = tree.write("home/p/large.bin", &pointer);
    tree.git(P, ["add", "large.bin"]);
    let mut loss = tree.loss("home/p/large.bin");
    // The index has the length of the file, the blob that of the pointer: as a filter
    // leaves it.
    let index = tree.at("home/p/.git/index");
    let mut bytes = fs::read(&index).unwrap();
    let at = bytes
        .windows(9)
        .position(|part| part == b"large.bin")
        .unwrap();
    bytes[at - 26..at - 22].copy_from_slice(&9_u32.to_be_bytes());
    fs::write(&index, bytes).unwrap();
    fs::remove_file(path).unwrap();
    loss.size = 9;
    assert_eq!(
        tree.judge(std::slice::from_ref(&loss)).holders,
        [Holder::Lost]
    );
    let store = format!(
        "home/p/.git/lfs/objects/{}/{}/{digest}",
        &digest[..2],
        &digest[2..4]
    );
    tree.write(&store, "123456789");
    assert_eq!(tree.judge(&[loss]).holders, [Holder::Git]);
}

#[test]
fn a_repository_at_the_root_of_a_tree_holds_but_makes_no_names_throwaway() {
    let tree = Tree::new();
    tree.repository(".");
    tree.write("home/x/package.json", "{}");
    tree.write("home/x/dist/file", "x");
    assert_eq!(tree.holder("a.txt"), Holder::Git);
    assert_eq!(tree.holder("home/x/dist/file"), Holder::BuildOutput);
    tree.write("home/dist/file", "x");
    assert_eq!(tree.holder("home/dist/file"), Holder::Lost);
}

#[test]
fn replaced_contents_are_judged_as_removed_ones() {
    let tree = project();
    let mut loss = tree.remove("home/p/src/b.txt");
    loss.act = Act::Replaced;
    assert_eq!(tree.judge(&[loss]).holders, [Holder::Git]);
}

#[test]
fn contents_changed_in_place_are_held_in_an_ignored_directory_only() {
    let tree = project();
    tree.write("home/p/made/one", "x");
    tree.write("home/p/x.log", "x");
    let mut losses = [tree.loss("home/p/made/one"), tree.loss("home/p/x.log")];
    losses.iter_mut().for_each(|loss| loss.act = Act::Changed);
    let judgement = tree.judge(&losses);
    assert_eq!(judgement.holders, [Holder::GitIgnored, Holder::Lost]);
}

/// Prints how long 64 files of a repository of 10,000 take; run it in release.
#[test]
fn sixty_four_files_of_ten_thousand_are_judged_within_the_bound() {
    let tree = Tree::new();
    fs::create_dir(tree.at(P)).unwrap();
    tree.git(P, ["init", "-q"]);
    for number in 0..10_000 {
        let name = format!("home/p/d{:02}/f{number}.txt", number % 100);
        tree.write(&name, format!("contents of {number}\n"));
    }
    tree.git(P, ["add", "."]);
    tree.git(P, ["commit", "-qm", "all"]);
    let mut losses = vec![];
    for number in 0..64 {
        let name = format!("home/p/d{:02}/f{number}.txt", number % 100);
        losses.push(tree.remove(&name));
    }
    for state in ["loose", "packed"] {
        let mut took: Vec<_> = (0..9)
            .map(|_| {
                let judgement = tree.judge(&losses);
                assert!(
                    judgement
                        .holders
                        .iter()
                        .all(|holder| *holder == Holder::Git)
                );
                judgement.took
            })
            .collect();
        took.sort();
        println!("{state}: median {:?}, worst {:?}", took[4], took[8]);
        tree.git(P, ["gc", "-q"]);
    }
}
