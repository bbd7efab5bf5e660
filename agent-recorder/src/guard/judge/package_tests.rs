//! What dpkg's lists prove, on a folder of lists.

#![expect(clippy::unwrap_used, reason = "tests")]

use super::*;
use crate::guard::judge::fixture::Tree;
use crate::guard::judge::{Act, Holder};
use std::fs::File;
use std::time::{Duration, SystemTime};

/// An installation with one package.
fn installation() -> Tree {
    let tree = Tree::new();
    for name in [
        "usr/bin/tool",
        "lib/one.so",
        "usr/lib/two.so",
        "etc/tool.conf",
    ] {
        tree.write(name, "contents");
    }
    let list = "/.\n/usr\n/usr/bin\n/usr/bin/tool\n/usr/lib/one.so\n/lib/two.so\n\
        /etc/tool.conf\n/usr/lib/python3/mod.py\n";
    write_list(&tree, "tool:amd64.list", list);
    write_list(&tree, "tool:amd64.conffiles", "/etc/tool.conf\n");
    tree
}

fn write_list(tree: &Tree, name: &str, text: &str) {
    let path = tree.write(&format!("{INFO}/{name}"), text);
    tree.age(&path, Duration::from_secs(60));
}

fn package() -> Holder {
    Holder::Package("tool:amd64".to_owned())
}

#[test]
fn a_packages_file_is_held_under_each_name_of_a_merged_usr() {
    let tree = installation();
    assert_eq!(tree.holder("usr/bin/tool"), package());
    assert_eq!(tree.holder("lib/one.so"), package());
    assert_eq!(tree.holder("usr/lib/two.so"), package());
}

#[test]
fn a_name_that_unpacking_uses_belongs_to_the_file() {
    let tree = installation();
    tree.write("usr/bin/tool.dpkg-tmp", "contents");
    assert_eq!(tree.holder("usr/bin/tool.dpkg-tmp"), package());
}

#[test]
fn a_conffile_and_a_file_changed_since_are_lost() {
    let tree = installation();
    assert_eq!(tree.holder("etc/tool.conf"), Holder::Lost);
    let tool = tree.at("usr/bin/tool");
    let file = File::options().write(true).open(tool).unwrap();
    file.set_modified(SystemTime::now()).unwrap();
    assert_eq!(tree.holder("usr/bin/tool"), Holder::Lost);
}

#[test]
fn a_file_of_no_package_is_lost() {
    let tree = installation();
    tree.write("usr/bin/own", "contents");
    assert_eq!(tree.holder("usr/bin/own"), Holder::Lost);
    tree.write("home/usr/bin/tool", "contents");
    assert_eq!(tree.holder("home/usr/bin/tool"), Holder::Lost);
}

#[test]
fn bytecode_of_a_packages_module_is_held() {
    let tree = installation();
    let path = "usr/lib/python3/__pycache__/mod.cpython-313.pyc";
    tree.write(path, "code");
    assert_eq!(tree.holder(path), package());
}

#[test]
fn a_file_changed_in_place_is_held_by_no_package() {
    let tree = installation();
    let mut loss = tree.loss("usr/bin/tool");
    loss.act = Act::Changed;
    assert_eq!(tree.judge(&[loss]).holders, [Holder::Lost]);
}

#[test]
fn lists_that_the_session_planted_prove_nothing() {
    let mut tree = installation();
    tree.settings.planted = Some(std::sync::Arc::new(|path: &Path| path.ends_with(INFO)));
    assert_eq!(tree.holder("usr/bin/tool"), Holder::Lost);
}
