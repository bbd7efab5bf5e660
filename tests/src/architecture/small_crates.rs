//! The rule can fail: small crates with one fault each, and the findings.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::floors::{Circle, Layout, violations};
use super::imports::Imports;

/// A crate with two floors, `low` and `high`, and `beside` on the floor of `low`.
const SMALL: Layout = Layout {
    root: "lib.rs",
    floors: &[&["low", "beside"], &["high"]],
    circles: &[],
};

/// The findings in a small crate of these files.
fn broken_in(layout: &Layout, files: &[(&str, &str)]) -> anyhow::Result<Vec<String>> {
    let files: BTreeMap<PathBuf, &str> = files
        .iter()
        .map(|(path, text)| (PathBuf::from(path), *text))
        .collect();
    let read = |path: &Path| files.get(path).map(ToString::to_string);
    Ok(violations(
        layout,
        &Imports::of(Path::new(layout.root), &read)?,
    ))
}

/// The small crate in order, with one file's text replaced.
fn small_with(path: &str, text: &str) -> anyhow::Result<Vec<String>> {
    let mut files = vec![
        ("lib.rs", "pub mod low; pub mod beside; pub mod high;"),
        (
            "low/mod.rs",
            "mod inner; mod twin; pub use inner::{Inner, other};",
        ),
        ("low/inner.rs", "pub struct Inner; pub fn other() {}"),
        ("low/twin.rs", "pub struct Twin;"),
        (
            "beside.rs",
            "use crate::low::Inner; pub struct Beside(Inner);",
        ),
        (
            "high.rs",
            "use crate::{beside, low::{self, other as another}}; pub struct High; pub mod within {}",
        ),
    ];
    for file in &mut files {
        if file.0 == path {
            file.1 = text;
        }
    }
    broken_in(&SMALL, &files)
}

/// Expects one finding with these words.
fn assert_one(broken: &[String], wanted: &str) {
    assert!(
        broken.len() == 1 && broken[0].contains(wanted),
        "not one violation with {wanted:?}: {broken:#?}"
    );
}

#[test]
fn a_crate_in_order_breaks_nothing() -> anyhow::Result<()> {
    let broken = small_with("", "")?;
    assert!(broken.is_empty(), "{broken:#?}");
    Ok(())
}

#[test]
fn an_upward_import_is_found_however_it_is_written() -> anyhow::Result<()> {
    for text in [
        "use crate::high::High;",
        "use crate::{high::High as Other};",
        "use super::super::high::*;",
        "pub use crate::high::High;",
        "pub fn f() { crate::high::f(); }",
        "pub fn f() { use crate::high::High; }",
        "pub struct S(super::super::high::High);",
        "impl From<crate::high::High> for u8 {}",
        "pub fn f() { println!(\"{:?}\", crate::high::f()); }",
        "global! { fn f() { if true { crate::high::f(); } } }",
        "macro_rules! m { () => { $crate::high::f() }; }",
        "mod within { use super::super::super::high::High; }",
        "mod within { pub(super) use crate::high; } fn f() { within::high::f(); }",
    ] {
        let broken = small_with("low/twin.rs", text)?;
        assert_one(&broken, "`low::twin` imports upward, from `high`");
    }
    Ok(())
}

#[test]
fn an_import_is_of_the_file_that_defines_the_name() -> anyhow::Result<()> {
    // `twin` reaches `high` through what `low` imports for itself.
    let broken = broken_in(
        &SMALL,
        &[
            ("lib.rs", "pub mod low; pub mod beside; pub mod high;"),
            ("low/mod.rs", "mod twin; use crate::high::High;"),
            ("low/twin.rs", "use super::High;"),
            ("beside.rs", ""),
            ("high.rs", "pub struct High;"),
        ],
    )?;
    assert_eq!(broken.len(), 2, "{broken:#?}");
    assert!(broken[1].contains("`low::twin` imports upward, from `high`"));
    Ok(())
}

#[test]
fn a_circle_of_files_is_found() -> anyhow::Result<()> {
    let broken = broken_in(
        &SMALL,
        &[
            ("lib.rs", "pub mod low; pub mod beside; pub mod high;"),
            (
                "low/mod.rs",
                "mod a; mod b; mod c; pub use a::A; pub use c::*;",
            ),
            ("low/a.rs", "use super::b::B; pub struct A;"),
            ("low/b.rs", "use super::C; pub struct B;"),
            ("low/c.rs", "use crate::low::A; pub struct C;"),
            ("beside.rs", ""),
            ("high.rs", ""),
        ],
    )?;
    assert_one(&broken, "files in a circle: low::a, low::b, low::c");
    Ok(())
}

#[test]
fn a_parent_and_its_child_in_a_circle_are_found() -> anyhow::Result<()> {
    for (parent, child) in [
        ("mod inner; fn f() { inner::g(); }", "use super::f;"),
        (
            "mod inner; pub use inner::g; pub fn f() { g(); }",
            "pub fn g() { super::f(); }",
        ),
    ] {
        let broken = broken_in(
            &SMALL,
            &[
                ("lib.rs", "pub mod low; pub mod beside; pub mod high;"),
                ("low/mod.rs", parent),
                ("low/inner.rs", child),
                ("beside.rs", ""),
                ("high.rs", ""),
            ],
        )?;
        assert_one(&broken, "files in a circle: low, low::inner");
    }
    Ok(())
}

#[test]
fn a_circle_of_modules_is_found_where_their_files_make_none() -> anyhow::Result<()> {
    let broken = small_with("low/twin.rs", "use crate::beside::Beside;")?;
    assert_one(&broken, "top-level modules in a circle: beside, low");
    Ok(())
}

#[test]
fn a_declared_circle_is_let_be_and_is_missed_when_it_is_gone() -> anyhow::Result<()> {
    const DECLARED: Layout = Layout {
        circles: &[Circle {
            files: &["low::inner", "low::twin"],
            reason: "for the test",
        }],
        ..SMALL
    };
    let files = |twin| {
        [
            ("lib.rs", "pub mod low; pub mod beside; pub mod high;"),
            ("low/mod.rs", "mod inner; mod twin;"),
            ("low/inner.rs", "use super::twin::Twin;"),
            ("low/twin.rs", twin),
            ("beside.rs", ""),
            ("high.rs", ""),
        ]
    };
    let broken = broken_in(&DECLARED, &files("use super::inner::Inner;"))?;
    assert!(broken.is_empty(), "{broken:#?}");
    let broken = broken_in(&DECLARED, &files(""))?;
    assert_one(&broken, "is not there: low::inner, low::twin");
    Ok(())
}

#[test]
fn a_module_without_a_floor_and_a_floor_without_its_module_are_found() -> anyhow::Result<()> {
    let broken = broken_in(
        &SMALL,
        &[
            ("lib.rs", "pub mod low; pub mod attic; pub mod high;"),
            ("low/mod.rs", ""),
            ("attic.rs", ""),
            ("high.rs", ""),
        ],
    )?;
    assert_eq!(broken.len(), 2, "{broken:#?}");
    assert!(broken[0].contains("`attic` stands on no floor"));
    assert!(broken[1].contains("`beside` has a floor and is not there"));
    Ok(())
}

#[test]
fn test_code_may_look_up_and_other_crates_are_nobodys() -> anyhow::Result<()> {
    for text in [
        "#[cfg(test)] mod tests { use crate::high::High; }",
        "#[cfg(test)] fn f() { crate::high::f(); }",
        "use high::High; use std::io;",
        "pub(in crate::low) struct S;",
    ] {
        let broken = small_with("low/twin.rs", text)?;
        assert!(broken.is_empty(), "{text}: {broken:#?}");
    }
    Ok(())
}

#[test]
fn both_files_of_a_module_that_the_build_chooses_are_read() -> anyhow::Result<()> {
    let broken = broken_in(
        &SMALL,
        &[
            ("lib.rs", "pub mod low; pub mod beside; pub mod high;"),
            (
                "low/mod.rs",
                "#[cfg_attr(feature = \"a\", path = \"compat/old.rs\")] \
                 #[cfg_attr(not(feature = \"a\"), path = \"compat/new.rs\")] mod compat;",
            ),
            ("low/compat/old.rs", ""),
            ("low/compat/new.rs", "use crate::high::High;"),
            ("beside.rs", ""),
            ("high.rs", ""),
        ],
    )?;
    assert_one(&broken, "`low::compat` imports upward");
    Ok(())
}
