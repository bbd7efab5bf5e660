//! The guide's table of what the guard counts, made of the rows that the kernel
//! programs are compiled with.
//!
//! Not here: the guide's text around it, which explains the words.

use std::fmt::Write as _;
use std::fs;

use agent_recorder_abi::criteria::{CRITERIA, Exceptions};
use anyhow::{Context as _, Result};

use super::markdown::{head, row};

/// The lines around the table. HTML, so that they are not shown.
const BEGIN: &str =
    "<!-- Made by `cargo xtask reference` of agent-recorder-ebpf/src/abi/criteria.rs. -->\n";
const END: &str = "<!-- The end of what is made. -->\n";

/// The guide with the table that it should have.
///
/// # Errors
///
/// The guide cannot be read, or has no place for the table.
pub(super) fn guide() -> Result<String> {
    let path = super::folder().join("guide.md");
    let guide = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    with_table(&guide)
}

/// A text whose table is made anew.
fn with_table(text: &str) -> Result<String> {
    let (before, rest) = text
        .split_once(BEGIN)
        .with_context(|| format!("the guide has no line {BEGIN:?}"))?;
    let (_, after) = rest
        .split_once(END)
        .with_context(|| format!("the guide has no line {END:?}"))?;
    let mut whole = String::new();
    write!(whole, "{before}{BEGIN}\n{}\n{END}{after}", table())?;
    Ok(whole)
}

fn table() -> String {
    let mut table = head(["act", "counts as", "except", "judged", "seen by"]);
    for criterion in CRITERIA {
        let exceptions = match criterion.exceptions {
            Exceptions::NONE => "nothing".to_owned(),
            some => some.to_string(),
        };
        table += &row([
            criterion.act,
            &criterion.weight.to_string(),
            &exceptions,
            &criterion.judged.to_string(),
            &criterion.seen.to_string(),
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use agent_recorder_abi::criteria::{FILE_REWRITTEN, PARTS_PER_FILE};

    use super::*;

    #[test]
    fn whatever_stands_in_the_table_is_made_anew() -> Result<()> {
        let text = format!("before\n{BEGIN}| old |\n{END}after\n");
        let made = with_table(&text)?;
        assert!(
            made.starts_with("before\n") && made.ends_with("after\n"),
            "{made}"
        );
        assert!(!made.contains("| old |"), "{made}");
        for criterion in CRITERIA {
            assert!(made.contains(criterion.act), "{made}");
        }
        assert_eq!(with_table(&made)?, made);
        assert!(with_table("no table").is_err());
        Ok(())
    }

    #[test]
    fn every_word_of_the_table_is_explained_in_the_guide() -> Result<()> {
        let guide = guide()?;
        for criterion in CRITERIA {
            let lists = [criterion.exceptions.to_string(), criterion.seen.to_string()];
            for word in lists.iter().flat_map(|list| list.split(", ")) {
                let is_explained = word.is_empty() || guide.contains(&format!("**{word}**"));
                assert!(is_explained, "{word} of {}", criterion.act);
            }
        }
        Ok(())
    }

    #[test]
    fn other_documents_state_the_weight_of_a_rewrite_as_it_is() -> Result<()> {
        let weight = FILE_REWRITTEN.weight.to_string();
        let limits = fs::read_to_string(super::super::folder().join("threat-model.md"))?;
        assert!(limits.contains(&format!("weighs {weight}")), "{weight}");
        let readme = fs::read_to_string(super::super::root().join("README.md"))?;
        assert!(readme.contains(&format!("counts as a {PARTS_PER_FILE}th of a deleted file")));
        Ok(())
    }
}
