//! Ways to make a repository hold more than it does, or to stop its reader.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::guard::judge::fixture::Tree;
use crate::guard::judge::{Fault, Holder};

const P: &str = "home/p";

fn project() -> Tree {
    let tree = Tree::new();
    tree.repository(P);
    tree
}

#[test]
fn a_file_whose_object_is_gone_or_has_another_length_is_lost() {
    let tree = project();
    tree.write("home/p/long.txt", "much longer than alpha\n");
    tree.git(P, ["add", "long.txt"]);
    // The entry of one file with the blob of another: a forged index.
    let path = tree.at("home/p/.git/index");
    let mut index = fs::read(&path).unwrap();
    let opened = gix::open(tree.at(P)).unwrap();
    let state = opened.open_index().unwrap();
    let id = |name: &str| state.entry_by_path(name.into()).unwrap().id;
    let (victim, other) = (id("a.txt"), id("long.txt"));
    let at = index.windows(20).position(|part| part == victim.as_slice());
    let at = at.unwrap();
    index[at..at + 20].copy_from_slice(other.as_slice());
    fs::write(&path, &index).unwrap();
    assert_eq!(tree.holder("home/p/a.txt"), Holder::Lost);
    let hex = id("src/b.txt").to_string();
    let object = format!("home/p/.git/objects/{}/{}", &hex[..2], &hex[2..]);
    fs::remove_file(tree.at(&object)).unwrap();
    assert_eq!(tree.holder("home/p/src/b.txt"), Holder::Lost);
}

#[test]
fn excludes_that_the_configuration_names_ignore_nothing() {
    let tree = project();
    let rules = tree.write("home/rules", "*\n");
    tree.git(P, ["config", "core.excludesFile", rules.to_str().unwrap()]);
    tree.write("home/p/plain", "x");
    assert_eq!(tree.holder("home/p/plain"), Holder::Lost);
    fs::write(tree.at("home/p/.git/info/exclude"), "plain\n").unwrap();
    tree.write("home/p/plain", "x");
    assert_eq!(tree.holder("home/p/plain"), Holder::GitIgnored);
}

#[test]
fn a_link_in_the_place_of_dot_git_holds_nothing() {
    let tree = project();
    fs::rename(tree.at("home/p/.git"), tree.at("home/elsewhere")).unwrap();
    symlink(tree.at("home/elsewhere"), tree.at("home/p/.git")).unwrap();
    let loss = tree.remove("home/p/a.txt");
    let judgement = tree.judge(&[loss]);
    assert_eq!(judgement.holders, [Holder::Lost], "{judgement:?}");
}

#[test]
fn a_dot_git_file_holds_only_where_the_other_side_points_back() {
    let tree = project();
    // Another directory claims the repository.
    let text = format!("gitdir: {}\n", tree.at("home/p/.git").display());
    tree.write("home/other/.git", text);
    // A hard link has the very state of the index.
    fs::hard_link(tree.at("home/p/a.txt"), tree.at("home/other/a.txt")).unwrap();
    assert_eq!(tree.holder("home/other/a.txt"), Holder::Lost);
    // A linked work tree does point back.
    tree.git(P, ["worktree", "add", "-q", "../linked"]);
    tree.age(&tree.at("home/linked/a.txt"), Duration::from_secs(60));
    tree.git("home/linked", ["add", "--refresh", "."]);
    let own = tree.at("home/p/.git/worktrees/linked");
    tree.write("home/third/.git", format!("gitdir: {}\n", own.display()));
    fs::hard_link(tree.at("home/linked/a.txt"), tree.at("home/third/a.txt")).unwrap();
    assert_eq!(tree.holder("home/third/a.txt"), Holder::Lost);
    let judgement = tree.judge(&[tree.remove("home/linked/a.txt")]);
    assert_eq!(judgement.holders, [Holder::Git], "{judgement:?}");
}

#[test]
fn a_work_tree_elsewhere_holds_nothing_here() {
    let tree = project();
    fs::create_dir(tree.at("home/else")).unwrap();
    let elsewhere = tree.at("home/else");
    tree.git(P, ["config", "core.worktree", elsewhere.to_str().unwrap()]);
    let judgement = tree.judge(&[tree.remove("home/p/a.txt")]);
    assert_eq!(judgement.holders, [Holder::Lost], "{judgement:?}");
}

#[test]
fn configuration_is_not_included_and_runs_nothing() {
    let tree = project();
    let elsewhere = tree.at("home/else");
    fs::create_dir(&elsewhere).unwrap();
    let text = format!("[core]\n worktree = {}\n", elsewhere.display());
    let included = tree.write("home/included", text);
    let ran = tree.at("home/ran");
    let config = tree.at("home/p/.git/config");
    let mut text = fs::read_to_string(&config).unwrap();
    text.push_str(&format!(
        "[include]\n path = {}\n[core]\n fsmonitor = touch {ran}\n sshCommand = touch {ran}\n\
         [filter \"x\"]\n clean = touch {ran}\n",
        included.display(),
        ran = ran.display()
    ));
    fs::write(config, text).unwrap();
    assert_eq!(tree.holder("home/p/a.txt"), Holder::Git);
    assert!(!ran.exists());
}

#[test]
fn a_giant_or_broken_index_is_not_judged() {
    let tree = project();
    let index = tree.at("home/p/.git/index");
    let whole = fs::read(&index).unwrap();
    fs::write(&index, &whole[..whole.len() / 2]).unwrap();
    assert_eq!(tree.holder("home/p/a.txt"), Holder::Unjudged);
    fs::write(
        &index,
        b"DIRC\0\0\0\x02\xff\xff\xff\xff aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    )
    .unwrap();
    assert_eq!(tree.holder("home/p/src/b.txt"), Holder::Unjudged);
    fs::write(&index, &whole).unwrap();
    let file = File::options().write(true).open(&index).unwrap();
    file.set_len(1 << 40).unwrap();
    tree.write("home/p/a.txt", "x");
    let judgement = tree.judge(&[tree.remove("home/p/a.txt")]);
    assert!(matches!(judgement.faults[..], [Fault::TooLong { .. }]));
}

#[test]
fn an_index_in_another_order_is_not_judged() {
    let tree = project();
    let index = tree.at("home/p/.git/index");
    let mut bytes = fs::read(&index).unwrap();
    let name = b".gitignore";
    let at = bytes.windows(name.len()).position(|part| part == name);
    bytes[at.unwrap()] = b'z';
    fs::write(&index, bytes).unwrap();
    assert_eq!(tree.holder("home/p/a.txt"), Holder::Unjudged);
}

#[test]
fn no_byte_of_an_index_makes_the_judge_panic() {
    let tree = project();
    let index = tree.at("home/p/.git/index");
    let whole = fs::read(&index).unwrap();
    let loss = tree.remove("home/p/a.txt");
    for at in (0..whole.len()).step_by(3) {
        let mut broken = whole.clone();
        broken[at] ^= 0xff;
        fs::write(&index, &broken).unwrap();
        let judgement = tree.judge(std::slice::from_ref(&loss));
        let is_panic = |fault: &Fault| matches!(fault, Fault::Panic { .. });
        assert!(!judgement.faults.iter().any(is_panic), "byte {at}");
    }
}

#[test]
fn a_fifo_in_the_repository_does_not_stop_the_judge() {
    let tree = project();
    let head = tree.at("home/p/.git/HEAD");
    fs::remove_file(&head).unwrap();
    make_fifo(&head);
    let begun = Instant::now();
    let judgement = tree.judge(&[tree.remove("home/p/a.txt")]);
    assert_eq!(judgement.holders, [Holder::Lost]);
    assert!(begun.elapsed() < Duration::from_secs(10));
}

#[test]
fn a_planted_repository_holds_nothing() {
    let mut tree = project();
    tree.settings.planted = Some(std::sync::Arc::new(|path: &Path| path.ends_with(".git")));
    assert_eq!(tree.holder("home/p/a.txt"), Holder::Lost);
}

#[test]
fn a_repository_of_a_home_does_not_make_what_it_ignores_worthless() {
    let tree = Tree::new();
    tree.repository("home");
    tree.write("home/.gitignore", "*\n");
    tree.write("home/thesis", "x");
    tree.write("home/package.json", "{}");
    tree.write("home/dist/file", "x");
    assert_eq!(tree.holder("home/thesis"), Holder::Lost);
    assert_eq!(tree.holder("home/dist/file"), Holder::Lost);
    assert_eq!(tree.holder("home/a.txt"), Holder::Git);
}

#[test]
fn a_fifo_in_the_place_of_an_object_does_not_stop_the_judge() {
    let tree = project();
    let opened = gix::open(tree.at(P)).unwrap();
    let index = opened.open_index().unwrap();
    let hex = index.entry_by_path("a.txt".into()).unwrap().id.to_string();
    let object = tree.at(&format!("home/p/.git/objects/{}/{}", &hex[..2], &hex[2..]));
    fs::remove_file(&object).unwrap();
    make_fifo(&object);
    let losses = [tree.remove("home/p/src/b.txt"), tree.remove("home/p/a.txt")];
    let judgement = tree.judge(&losses);
    assert_eq!(judgement.holders, [Holder::Git, Holder::Lost]);
}

#[test]
fn a_fifo_in_the_place_of_a_pack_does_not_stop_the_judge() {
    let tree = project();
    let name = "0".repeat(40);
    make_fifo(&tree.at(&format!("home/p/.git/objects/pack/pack-{name}.idx")));
    assert_eq!(tree.holder("home/p/a.txt"), Holder::Git);
}

fn make_fifo(path: &Path) {
    let mode = rustix::fs::Mode::RWXU;
    rustix::fs::mkfifoat(rustix::fs::CWD, path, mode).unwrap();
}
