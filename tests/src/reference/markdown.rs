//! The markdown constructs of the pages.

use std::fmt::Write as _;

/// A row of a table; bars and line ends do not break it.
pub(super) fn row<const N: usize>(cells: [&str; N]) -> String {
    let mut line = String::from("|");
    for cell in cells {
        let cell = cell.split_whitespace().collect::<Vec<_>>().join(" ");
        // Writing to a string cannot fail.
        let _ = write!(line, " {} |", cell.replace('|', "\\|"));
    }
    line.push('\n');
    line
}

/// A table's first two rows.
pub(super) fn head<const N: usize>(names: [&str; N]) -> String {
    row(names) + &row([" --- "; N])
}

/// Text as code, also where it has backticks.
pub(super) fn code(text: &str) -> String {
    if text.contains('`') {
        format!("`` {text} ``")
    } else {
        format!("`{text}`")
    }
}

/// A sentence: with a full stop, whatever the source has.
pub(super) fn sentence(text: &str) -> String {
    let text = text.trim();
    if text.is_empty() || text.ends_with(['.', ':', '!', '?']) {
        text.to_owned()
    } else {
        format!("{text}.")
    }
}

/// A text up to its first full stop.
pub(super) fn first_sentence(text: &str) -> String {
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    text.split_once(". ")
        .map_or(text.clone(), |(first, _)| format!("{first}."))
}
