//! The page of the configuration: each key with its comment, its type and the default
//! that the parser uses.

use std::fmt::Write as _;

use agent_recorder::config::{Config, DEFAULT_FILE};
use anyhow::{Context as _, Result};
use toml::{Table, Value};

use super::markdown::{code, first_sentence, head, row, sentence};
use super::source::{Key, Kind, Types};

/// The smallest configuration with one of each `[[table]]`: every key in it is required.
const LEAST: &str = r#"
[[guard.protect]]
path = "/x"
[[gate.rule]]
name = "x"
programs = ["x"]
[[agent]]
name = "x"
"#;

const INTRODUCTION: &str = "\
# Configuration

The configuration is a TOML file. Every key is optional unless it says *required*; a key that the file does not set has
its default. A key that does not exist is an error, as is a value that makes no sense: `agent-recorder config check`
names the line. `agent-recorder config show` prints the configuration in force, with everything that is built in. The
recorder reads the file once, when it starts.

";

const TYPES: &str = "\
A *duration* is a string of numbers with units: `\"500ms\"`, `\"10s\"`, `\"1h 30m\"`. The units are `h`, `m`, `s`, `ms`,
`us` and `ns`. A *path* is a string. An *address* is a string such as `\"127.0.0.1:4319\"` or `\"[::1]:4319\"`. Sizes are
integers, in bytes.

";

/// The page.
///
/// # Errors
///
/// The configuration's source cannot be read, or its types no longer agree with it.
pub(super) fn page() -> Result<String> {
    let keys = keys()?;
    let defaults = Defaults::read()?;
    let mut page = String::from(INTRODUCTION);
    writeln!(
        page,
        "The file is {}, or the one that `--config FILE` names.\n",
        code(DEFAULT_FILE)
    )?;
    page += TYPES;
    page += &head(["table", "what it is about"]);
    let mut sections = String::new();
    for key in &keys {
        table(key, "", &defaults, &mut page, &mut sections)?;
    }
    page.push('\n');
    page += &sections;
    write!(
        page,
        "## All defaults\n\n```toml\n{}```\n",
        Config::default().to_toml()
    )?;
    Ok(page)
}

/// The tables at the top.
pub(super) fn keys() -> Result<Vec<Key>> {
    Types::of(&super::root().join("agent-recorder/src/config"))?.keys("Config")
}

/// Writes a table's line of the overview, and its section.
fn table(
    key: &Key,
    within: &str,
    defaults: &Defaults,
    overview: &mut String,
    sections: &mut String,
) -> Result<()> {
    let (keys, path) = match &key.kind {
        Kind::Table(keys) | Kind::Tables(keys) => (keys, format!("{within}{}", key.name)),
        _ => return Ok(()),
    };
    let name = match key.kind {
        Kind::Tables(_) => format!("[[{path}]]"),
        _ => format!("[{path}]"),
    };
    let anchor = path.replace('.', "");
    *overview += &row([
        &format!("[{}](#{anchor})", code(&name)),
        &first_sentence(&key.comment),
    ]);
    writeln!(
        sections,
        "## {}\n\n{}\n",
        code(&name),
        sentence(&key.comment)
    )?;
    for key in keys {
        value(key, &path, defaults, sections)?;
    }
    for key in keys {
        table(key, &format!("{path}."), defaults, overview, sections)?;
    }
    Ok(())
}

/// A key that is no table.
fn value(key: &Key, path: &str, defaults: &Defaults, out: &mut String) -> Result<()> {
    let Some(kind) = type_name(&key.kind) else {
        return Ok(());
    };
    let default = defaults.of(path, key)?;
    writeln!(
        out,
        "### {}\n\n{kind}, {default}\n\n{}\n",
        code(&format!("{path}.{}", key.name)),
        sentence(&key.comment)
    )?;
    if let Kind::Choice(choices) = &key.kind {
        for choice in choices {
            let comment = choice.comment.split_whitespace().collect::<Vec<_>>();
            writeln!(
                out,
                "- {}: {}",
                code(&format!("\"{}\"", choice.name)),
                sentence(&comment.join(" "))
            )?;
        }
        out.push('\n');
    }
    Ok(())
}

/// The readable name of the type; `None` for tables.
fn type_name(kind: &Kind) -> Option<String> {
    Some(match kind {
        Kind::Boolean => "boolean".to_owned(),
        Kind::Integer => "integer".to_owned(),
        Kind::Text => "string".to_owned(),
        Kind::Duration => "duration".to_owned(),
        Kind::Path => "path".to_owned(),
        Kind::Address => "address".to_owned(),
        Kind::Choice(_) => "one of these names".to_owned(),
        Kind::List(of) => format!("list of {}s", type_name(of)?),
        Kind::Table(_) | Kind::Tables(_) => return None,
    })
}

/// The values of the smallest configuration.
struct Defaults {
    /// The keys of [`LEAST`] alone.
    said: Table,
    /// All keys after parsing.
    whole: Table,
}

impl Defaults {
    fn read() -> Result<Self> {
        let config: Config = toml::from_str(LEAST)?;
        Ok(Self {
            said: toml::from_str(LEAST)?,
            whole: toml::from_str(&config.to_toml())?,
        })
    }

    fn of(&self, path: &str, key: &Key) -> Result<String> {
        if find(&self.said, path).is_some_and(|table| table.contains_key(&key.name)) {
            return Ok("*required*".to_owned());
        }
        let table = find(&self.whole, path).with_context(|| format!("find [{path}]"))?;
        Ok(match table.get(&key.name) {
            None if matches!(key.kind, Kind::List(_)) => "default `[]`".to_owned(),
            None => "default: unset".to_owned(),
            Some(value) => format!("default {}{}", code(&value.to_string()), size(key, value)),
        })
    }
}

/// A table by its path; of an array of tables, the first.
fn find<'a>(whole: &'a Table, path: &str) -> Option<&'a Table> {
    path.split('.').try_fold(whole, |table, part| {
        let value = table.get(part)?;
        match value {
            Value::Array(array) => array.first()?.as_table(),
            other => other.as_table(),
        }
    })
}

/// A number of bytes with a binary unit.
fn size(key: &Key, value: &Value) -> String {
    const UNITS: [(&str, u32); 3] = [("GiB", 30), ("MiB", 20), ("KiB", 10)];
    let bytes = value
        .as_integer()
        .filter(|_| key.comment.contains("in bytes"));
    bytes
        .and_then(|bytes| {
            let (unit, shift) = UNITS
                .iter()
                .find(|(_, shift)| bytes >= 1 << shift && bytes % (1 << shift) == 0)?;
            Some(format!(" ({} {unit})", bytes >> shift))
        })
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::io::Write as _;

    use super::*;

    /// Every key of every table, with the table's path.
    fn each(keys: &[Key], path: &str, call: &mut impl FnMut(&str, &[Key])) {
        call(path, keys);
        for key in keys {
            if let Kind::Table(keys) | Kind::Tables(keys) = &key.kind {
                let path = if path.is_empty() {
                    key.name.clone()
                } else {
                    format!("{path}.{}", key.name)
                };
                each(keys, &path, call);
            }
        }
    }

    #[test]
    fn every_key_and_every_choice_has_a_comment() -> Result<()> {
        each(&keys()?, "", &mut |path, keys| {
            for key in keys {
                assert!(!key.comment.is_empty(), "{path}.{}: no comment", key.name);
                if let Kind::Choice(choices) = &key.kind {
                    for choice in choices {
                        let bare = choice.comment.is_empty();
                        assert!(!bare, "{path}.{} = {}: no comment", key.name, choice.name);
                    }
                }
            }
        });
        Ok(())
    }

    #[test]
    fn the_comment_of_every_number_says_what_it_counts() -> Result<()> {
        each(&keys()?, "", &mut |path, keys| {
            for key in keys.iter().filter(|key| key.kind == Kind::Integer) {
                let comment = key.comment.to_lowercase();
                assert!(
                    comment.contains("in bytes") || comment.contains("number of "),
                    "{path}.{}: its comment has neither \"in bytes\" nor \"number of\"",
                    key.name
                );
            }
        });
        Ok(())
    }

    /// The parser names the keys of a table when it is given one that it does not know.
    #[test]
    fn the_page_has_the_keys_that_the_parser_takes_and_no_others() -> Result<()> {
        each(&keys()?, "", &mut |path, keys| {
            let at = format!("{path}.").trim_start_matches('.').to_owned();
            let mut whole: Table = toml::from_str(LEAST).unwrap_or_default();
            let mut table = &mut whole;
            for part in path.split('.').filter(|part| !part.is_empty()) {
                let value = table
                    .entry(part)
                    .or_insert_with(|| Value::Table(Table::new()));
                table = match value {
                    Value::Array(array) => array.first_mut().and_then(Value::as_table_mut),
                    other => other.as_table_mut(),
                }
                .unwrap_or_else(|| panic!("{path} is no table"));
            }
            table.insert("no_such_key".to_owned(), true.into());
            let error = toml::from_str::<Config>(&whole.to_string()).err();
            let error = error.map(|error| error.message().to_owned());
            let error = error.unwrap_or_else(|| panic!("{at}no_such_key is taken"));
            let names: BTreeSet<&str> = error.split('`').skip(3).step_by(2).collect();
            let ours: BTreeSet<&str> = keys.iter().map(|key| key.name.as_str()).collect();
            assert_eq!(names, ours, "{at} {error}");
        });
        Ok(())
    }

    #[test]
    fn what_is_required_is_missed_where_it_is_absent() -> Result<()> {
        let loads = |text: &str| -> Result<bool> {
            let mut file = tempfile::NamedTempFile::new()?;
            file.write_all(text.as_bytes())?;
            Ok(Config::load(Some(file.path())).is_ok())
        };
        assert!(loads(LEAST)?);
        for line in LEAST.lines().filter(|line| line.contains('=')) {
            // Each line is there once, except the names, of which the first is removed.
            let without = LEAST.replacen(&format!("{line}\n"), "", 1);
            assert!(!loads(&without)?, "taken without {line}");
        }
        let (before, _) = LEAST.rsplit_once("name").context("the agent's name")?;
        assert!(!loads(before)?, "taken without the agent's name");
        Ok(())
    }
}
