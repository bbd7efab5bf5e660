//! The report on the guard in guests: the cases that a guest's few programs can do,
//! on every kernel and in every profile, as one table with a row a case.
//!
//! Not here: the cases and their expected results (the tests' `guard_report`).

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt::Write as _;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use super::image::{self, DESTROY, GUARD_REPORT, Image};
use super::kernels::Kernel;
use super::{matrix, rows, script};

/// Time limit of a guest: an emulated case takes up to half a minute, and there are a
/// hundred.
const LIMIT: Duration = Duration::from_secs(5400);
/// Folder of the cases: outside temporary directories, and on a file system with room
/// for them.
const PLACE: &str = "/var/lib";
/// The guard's short window in guests: emulated programs need longer for the same
/// work.
const WINDOW: &str = "2m";

/// The result of one case in one guest.
#[derive(Debug, PartialEq, Eq)]
enum Cell {
    /// A program of the case is missing.
    NotRun,
    /// The expected result: files destroyed, or counted.
    Right(String),
    /// A known deviation.
    Known(String),
    Wrong(String),
}

/// The cases of one kind: their names in order, and each guest's results.
#[derive(Debug, Default)]
struct Section {
    title: String,
    cases: Vec<String>,
    cells: BTreeMap<(String, usize), Cell>,
}

/// Runs the cases whose names contain a pattern in the guests of these kernels, or of
/// all if none is named. Returns the table, and the number of wrong cells.
///
/// # Errors
///
/// Something does not compile, or a guest does not end by itself.
pub(crate) fn report(kernels: &[Kernel], pattern: &str) -> Result<(String, usize)> {
    super::ready()?;
    let image = Image::for_guard_report()?;
    let rows: Vec<_> = if kernels.is_empty() {
        rows::of(None)
    } else {
        let rows = kernels.iter().map(|kernel| rows::of(Some(*kernel)));
        rows.flatten().collect()
    };
    let said = matrix::said(&rows, &image, LIMIT, |row| {
        let words = [
            GUARD_REPORT,
            "--place",
            PLACE,
            "--at-once",
            "1",
            "--window",
            WINDOW,
            "--destroy",
            DESTROY,
            "--only",
            pattern,
        ];
        let command = image::script(&words.map(OsString::from));
        let variables = format!(
            "export AGENT_RECORDER_PROFILE={} AGENT_RECORDER_SHARED={}\n",
            row.profile(),
            script::SHARED
        );
        [variables.into_bytes(), command].concat()
    });
    let mut names = Vec::new();
    let mut sections = Vec::new();
    for (column, (row, said)) in said.into_iter().enumerate() {
        let said = said.with_context(|| row.name())?;
        let before = cells(&sections);
        read(&said, column, &mut sections);
        ensure!(
            cells(&sections) > before,
            "{}: no case was tried: {}",
            row.name(),
            said.trim_end().lines().next_back().unwrap_or("")
        );
        names.push(row.name());
    }
    let wrong = sections
        .iter()
        .flat_map(|section| section.cells.values())
        .filter(|cell| matches!(cell, Cell::Wrong(_)))
        .count();
    Ok((table(&names, &sections), wrong))
}

fn cells(sections: &[Section]) -> usize {
    sections.iter().map(|section| section.cells.len()).sum()
}

/// Reads the tables of one guest.
fn read(said: &str, column: usize, sections: &mut Vec<Section>) {
    let mut current = None;
    for line in said.lines() {
        if let Some(title) = line.strip_prefix("## ") {
            let known = sections.iter().position(|section| section.title == title);
            current = Some(known.unwrap_or_else(|| {
                sections.push(Section {
                    title: title.to_owned(),
                    ..Section::default()
                });
                sections.len() - 1
            }));
        }
        let Some(section) = current.and_then(|at| sections.get_mut(at)) else {
            continue;
        };
        let Some((name, cell)) = cell(line) else {
            continue;
        };
        if !section.cases.iter().any(|case| case == name) {
            section.cases.push(name.to_owned());
        }
        section.cells.insert((name.to_owned(), column), cell);
    }
}

/// The cells of a case's row: the name first, the result last, and a number of files
/// before it.
fn cell(line: &str) -> Option<(&str, Cell)> {
    let fields: Vec<_> = line
        .strip_prefix("| ")?
        .strip_suffix(" |")?
        .split(" | ")
        .collect();
    let (name, remark) = (*fields.first()?, fields.last()?.trim());
    let files = match fields.len() {
        5 => fields[3],
        7 => fields[1],
        _ => "",
    };
    let cell = if remark == "ok" {
        Cell::Right(files.to_owned())
    } else if remark.contains("not run: ") {
        Cell::NotRun
    } else if remark.starts_with("known: ") {
        Cell::Known(files.to_owned())
    } else if let Some(fault) = remark.strip_prefix("**") {
        Cell::Wrong(fault.trim_end_matches('*').to_owned())
    } else {
        return None;
    };
    Some((name, cell))
}

fn table(names: &[String], sections: &[Section]) -> String {
    let mut text = format!(
        "# The guard on other kernels\n\nMade by `cargo xtask guard-report --guests`: the cases that programs of busybox, the C program and the stimulus of io_uring can do, in emulated guests, with a window of {WINDOW}. A number is of files that were destroyed (by the destroyers; limit 64 where the case sets none) or counted (of ordinary work, which is not stopped); `*` is known to go beyond, as [the report of this machine](guard-report.md) says or because that profile on that kernel sees names only, or no request of io_uring; `—` was not tried, for a program is missing.\n"
    );
    text +=
        "\n| of each | as it should be | known otherwise | wrong |\n| --- | --: | --: | --: |\n";
    for section in sections {
        for (column, name) in names.iter().enumerate() {
            text += &sum(section, column, name);
        }
    }
    for section in sections {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "\n## {}\n", section.title);
        let _ = writeln!(text, "| | {} |", names.join(" | "));
        let _ = writeln!(text, "| --- |{}", " --: |".repeat(names.len()));
        for case in &section.cases {
            let of = |column| section.cells.get(&(case.clone(), column));
            let tried =
                (0..names.len()).any(|column| !matches!(of(column), None | Some(Cell::NotRun)));
            if tried {
                let shown: Vec<_> = (0..names.len()).map(|column| shown(of(column))).collect();
                let _ = writeln!(text, "| {case} | {} |", shown.join(" | "));
            }
        }
    }
    text
}

/// The results of a kind's cases in one guest, as one row.
fn sum(section: &Section, column: usize, name: &str) -> String {
    let count = |is_so: fn(&Cell) -> bool| {
        let cells = section.cells.iter().filter(|((_, of), _)| *of == column);
        cells.filter(|(_, cell)| is_so(cell)).count()
    };
    format!(
        "| {}, {name} | {} | {} | {} |\n",
        section.title.to_lowercase(),
        count(|cell| matches!(cell, Cell::Right(_))),
        count(|cell| matches!(cell, Cell::Known(_))),
        count(|cell| matches!(cell, Cell::Wrong(_))),
    )
}

fn shown(cell: Option<&Cell>) -> String {
    match cell {
        None | Some(Cell::NotRun) => "—".to_owned(),
        Some(Cell::Right(files)) => files.clone(),
        Some(Cell::Known(files)) => format!("{files}*"),
        Some(Cell::Wrong(fault)) => format!("**{fault}**"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAID: &str = "# What\n\n## Destroyers\n\nEach.\n\n| way | destroyed | beyond the limit | policy | until the last death, ms | survivors | |\n| --- | --: | --: | --- | --: | --: | --- |\n\
        | rm -rf | 64 | 0 | bulk-delete | 27.8 | 0 | ok |\n\
        | zip -m | | | | | | not run: no zip here |\n\
        | map | 5000 | 4936 | none |  | 0 | known: not followed (5000) |\n\
        ## Ordinary work\n\n| make | 1.0 | bulk-delete | 66 | **stopped: bulk-delete** |\n";

    #[test]
    fn every_case_of_a_guest_is_a_cell() {
        let mut sections = Vec::new();
        read(SAID, 0, &mut sections);
        let of = |section: usize, name: &str| &sections[section].cells[&(name.to_owned(), 0)];
        assert_eq!(of(0, "rm -rf"), &Cell::Right("64".to_owned()));
        assert_eq!(of(0, "zip -m"), &Cell::NotRun);
        assert_eq!(of(0, "map"), &Cell::Known("5000".to_owned()));
        assert_eq!(
            of(1, "make"),
            &Cell::Wrong("stopped: bulk-delete".to_owned())
        );
        assert_eq!(cells(&sections), 4);
    }

    #[test]
    fn what_no_guest_can_do_has_no_row() {
        let mut sections = Vec::new();
        read(SAID, 0, &mut sections);
        let table = table(&["6.12 lsm".to_owned()], &sections);
        assert!(table.contains("| rm -rf | 64 |") && table.contains("| map | 5000* |"));
        assert!(table.contains("| destroyers, 6.12 lsm | 1 | 1 | 0 |"));
        assert!(table.contains("| ordinary work, 6.12 lsm | 0 | 0 | 1 |"));
        assert!(table.contains("| make | **stopped: bulk-delete** |") && !table.contains("zip -m"));
    }
}
