//! Each kind of holder, where a name may speak, and what is spared.

#![expect(clippy::unwrap_used, reason = "tests")]

use super::*;
use crate::guard::judge::fixture::Tree;
use crate::guard::judge::judge;
use std::os::unix::fs::symlink;
use std::time::Duration;

#[test]
fn a_link_and_an_empty_directory_lose_nothing() {
    let tree = Tree::new();
    tree.write("data/file", "x");
    symlink("file", tree.at("data/link")).unwrap();
    fs::create_dir(tree.at("data/empty")).unwrap();
    assert_eq!(tree.holder("data/link"), Holder::Link);
    assert_eq!(tree.holder("data/empty"), Holder::Directory);
    assert_eq!(tree.holder("data/file"), Holder::Lost);
}

#[test]
fn a_file_is_made_anew_with_a_quarter_of_its_length() {
    let tree = Tree::new();
    tree.write("data/file", [0; 100]);
    for (length, holder) in [(25, Holder::MadeAnew), (24, Holder::Lost)] {
        let loss = tree.remove("data/file");
        fs::write(&loss.path, vec![1; length]).unwrap();
        assert_eq!(tree.judge(&[loss]).holders, [holder]);
        tree.write("data/file", [0; 100]);
    }
}

#[test]
fn a_link_or_a_directory_in_its_place_is_no_new_file() {
    let tree = Tree::new();
    tree.write("data/file", "x");
    let loss = tree.remove("data/file");
    symlink("/etc/passwd", &loss.path).unwrap();
    assert_eq!(tree.judge(&[loss]).holders, [Holder::Lost]);
}

#[test]
fn a_file_that_is_still_the_same_was_not_made_anew() {
    let tree = Tree::new();
    tree.write("data/file", "x");
    let loss = tree.loss("data/file");
    assert_eq!(tree.judge(&[loss]).holders, [Holder::Lost]);
}

#[test]
fn a_tagged_directory_is_a_cache_and_spared() {
    let tree = Tree::new();
    tree.write("srv/cache/CACHEDIR.TAG", cache_tag::SIGNATURE);
    tree.write("srv/cache/deep/file", "x");
    let loss = tree.remove("srv/cache/deep/file");
    let judgement = tree.judge(&[loss]);
    assert_eq!(judgement.holders, [Holder::CacheTag]);
    assert_eq!(judgement.spared, [tree.at("srv/cache")]);
}

#[test]
fn a_tag_that_went_with_its_directory_counts() {
    let tree = Tree::new();
    tree.write("srv/cache/CACHEDIR.TAG", cache_tag::SIGNATURE);
    tree.write("srv/cache/file", "x");
    let losses = [
        tree.remove("srv/cache/CACHEDIR.TAG"),
        tree.remove("srv/cache/file"),
    ];
    let judgement = tree.judge(&losses);
    assert_eq!(judgement.holders, [Holder::CacheTag, Holder::CacheTag]);
}

#[test]
fn a_tag_in_a_home_or_at_a_repositorys_root_says_nothing() {
    let tree = Tree::new();
    tree.write("home/CACHEDIR.TAG", cache_tag::SIGNATURE);
    tree.write("home/thesis", "x");
    assert_eq!(tree.holder("home/thesis"), Holder::Lost);
    tree.repository("home/project");
    tree.write("home/project/CACHEDIR.TAG", cache_tag::SIGNATURE);
    tree.write("home/project/new", "x");
    assert_eq!(tree.holder("home/project/new"), Holder::Lost);
}

#[test]
fn a_planted_tag_says_nothing() {
    let mut tree = Tree::new();
    tree.write("srv/data/CACHEDIR.TAG", cache_tag::SIGNATURE);
    tree.write("srv/data/file", "x");
    tree.settings.planted = Some(std::sync::Arc::new(|path: &Path| {
        path.ends_with(cache_tag::NAME)
    }));
    assert_eq!(tree.holder("srv/data/file"), Holder::Lost);
}

#[test]
fn a_tools_output_below_a_home_is_made_again() {
    let tree = Tree::new();
    tree.write("home/site/package.json", "{}");
    tree.write("home/site/node_modules/x/dist/y.js", "x");
    let loss = tree.remove("home/site/node_modules/x/dist/y.js");
    let judgement = tree.judge(&[loss]);
    assert_eq!(judgement.holders, [Holder::BuildOutput]);
    assert_eq!(judgement.spared, [tree.at("home/site/node_modules")]);
}

#[test]
fn a_throwaway_name_says_nothing_at_its_fence_or_without_one() {
    let tree = Tree::new();
    // The home itself is no project.
    tree.write("home/package.json", "{}");
    tree.write("home/dist/file", "x");
    assert_eq!(tree.holder("home/dist/file"), Holder::Lost);
    // Neither a repository nor a home is above.
    tree.write("srv/package.json", "{}");
    tree.write("srv/dist/file", "x");
    assert_eq!(tree.holder("srv/dist/file"), Holder::Lost);
    // A repository in `out/` is somebody's work.
    tree.write("home/p/package.json", "{}");
    tree.repository("home/p/dist");
    tree.write("home/p/dist/work", "x");
    assert_eq!(tree.holder("home/p/dist/work"), Holder::Lost);
}

#[test]
fn a_home_with_a_throwaway_name_is_nobodys_output() {
    let mut tree = Tree::new();
    tree.settings.homes.push(tree.at("srv/build"));
    tree.write("srv/CMakeLists.txt", "");
    tree.write("srv/build/thesis", "x");
    assert_eq!(tree.holder("srv/build/thesis"), Holder::Lost);
}

#[test]
fn a_project_that_goes_with_its_marker_is_no_output() {
    let tree = Tree::new();
    tree.write("home/p/package.json", "{}");
    tree.write("home/p/dist/file", "x");
    let losses = [
        tree.remove("home/p/package.json"),
        tree.remove("home/p/dist/file"),
    ];
    let judgement = tree.judge(&losses);
    assert_eq!(judgement.holders, [Holder::Lost, Holder::Lost]);
    assert_eq!(judgement.spared, [] as [PathBuf; 0]);
}

#[test]
fn an_output_directory_with_tracked_files_is_judged_file_by_file() {
    let tree = Tree::new();
    tree.repository("home/p");
    tree.write("home/p/package.json", "{}");
    tree.write("home/p/dist/kept", "kept");
    tree.git("home/p", ["add", "-f", "dist/kept"]);
    tree.write("home/p/dist/new", "x");
    assert_eq!(tree.holder("home/p/dist/new"), Holder::Lost);
    assert_eq!(tree.holder("home/p/dist/kept"), Holder::Git);
}

#[test]
fn a_name_of_sources_is_output_where_the_repository_ignores_it() {
    let tree = Tree::new();
    tree.repository("home/p");
    tree.write("home/p/package.json", "{}");
    tree.write("home/p/lib/a.js", "x");
    tree.write("home/p/types/a.d.ts", "x");
    assert_eq!(tree.holder("home/p/lib/a.js"), Holder::BuildOutput);
    assert_eq!(tree.holder("home/p/types/a.d.ts"), Holder::Lost);
}

#[test]
fn contents_changed_in_place_are_lost_outside_a_throwaway_directory() {
    let tree = Tree::new();
    tree.repository("home/p");
    tree.write("home/p/package.json", "{}");
    tree.write("home/p/node_modules/x", "x");
    let mut losses = [
        tree.loss("home/p/a.txt"),
        tree.loss("home/p/node_modules/x"),
    ];
    losses.iter_mut().for_each(|loss| loss.act = Act::Changed);
    let judgement = tree.judge(&losses);
    assert_eq!(judgement.holders, [Holder::Lost, Holder::BuildOutput]);
}

#[test]
fn a_directory_with_a_repository_in_it_is_not_spared() {
    let tree = Tree::new();
    tree.write("home/p/CMakeLists.txt", "");
    tree.write("home/p/build/object.o", "x");
    tree.repository("home/p/build/_deps/other");
    let loss = tree.remove("home/p/build/object.o");
    let judgement = tree.judge(&[loss]);
    assert_eq!(judgement.holders, [Holder::BuildOutput]);
    assert_eq!(judgement.spared, [] as [PathBuf; 0]);
}

#[test]
fn a_path_through_a_link_is_not_judged() {
    let tree = Tree::new();
    tree.write("home/p/package.json", "{}");
    tree.write("home/p/dist/file", "x");
    let mut loss = tree.remove("home/p/dist/file");
    symlink(tree.at("home/p"), tree.at("planted")).unwrap();
    loss.path = tree.at("planted/dist/file");
    let judgement = tree.judge(&[loss]);
    assert_eq!(judgement.holders, [Holder::Unjudged]);
    assert!(matches!(judgement.faults[..], [Fault::Planted(_)]));
}

#[test]
fn what_has_no_answer_by_the_deadline_is_unjudged() {
    let tree = Tree::new();
    tree.write("home/a", "x");
    let loss = tree.remove("home/a");
    let judgement = judge(&[loss], &tree.settings, Instant::now());
    assert_eq!(judgement.holders, [Holder::Unjudged]);
    assert!(judgement.took < Duration::from_secs(5));
}

#[test]
fn a_file_without_contents_that_is_special_is_lost() {
    let tree = Tree::new();
    let socket = tree.at("home/socket");
    let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    assert_eq!(tree.holder("home/socket"), Holder::Lost);
}

#[test]
fn a_path_below_another_root_is_judged_from_there() {
    let tree = Tree::new();
    tree.repository("home/p");
    tree.write("home/q/package.json", "{}");
    tree.write("home/q/node_modules/x", "x");
    let mut losses = [
        tree.remove("home/p/a.txt"),
        tree.remove("home/q/node_modules/x"),
    ];
    for loss in &mut losses {
        let inside = loss.path.strip_prefix("/").unwrap();
        loss.path = Path::new("/proc/self/root").join(inside);
    }
    let judgement = tree.judge(&losses);
    assert_eq!(
        judgement.holders,
        [Holder::Git, Holder::BuildOutput],
        "{judgement:?}"
    );
    let spared = tree.at("home/q/node_modules");
    let spared = Path::new("/proc/self/root").join(spared.strip_prefix("/").unwrap());
    assert_eq!(judgement.spared, [spared]);
}
