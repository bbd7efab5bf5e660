//! Program text that a command is given: in its arguments, in files that they name,
//! and on its standard input.
//!
//! Not here: what the text does (`statements`), and how a stopped program's files are
//! read (`stopped_files`).

use super::options::{Item, Reading};
use super::statements::{Deeds, deeds};

/// Most files of one command.
const FILES: usize = 16;

/// What is known of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Content {
    /// Its text, perhaps only the begin.
    Text(String),
    /// There is no such file, or it is no text.
    None,
    /// It could not be read in time.
    Unknown,
}

/// The files of a stopped program.
pub(super) trait Files {
    /// A file by the name that the program uses.
    fn read(&self, name: &str) -> Content;
    /// What the program will read from its standard input.
    fn input(&self) -> Content;
}

/// A program whose files are elsewhere.
pub(super) struct NoFiles;

impl Files for NoFiles {
    fn read(&self, _: &str) -> Content {
        Content::None
    }

    fn input(&self) -> Content {
        Content::None
    }
}

/// The texts of a command.
#[derive(Debug, Default)]
pub(super) struct Texts {
    all: Vec<String>,
    /// Whether one of them could not be read in time.
    is_unknown: bool,
    mysql: bool,
}

impl Texts {
    /// The texts in a command's arguments, its files and its input. `input` is known
    /// where a shell's text has it.
    pub(super) fn of(
        program: &str,
        items: &[Item<'_>],
        reading: &Reading,
        input: Option<&str>,
        files: &dyn Files,
    ) -> Self {
        let line = reading.line();
        let mut texts = Self {
            mysql: ["mysql", "mariadb"]
                .iter()
                .any(|it| program.starts_with(it)),
            ..Self::default()
        };
        for item in items {
            match item {
                Item::Option { raw, settings, .. } => {
                    let values = settings.iter().filter_map(|it| it.value);
                    texts.all.extend(values.map(str::to_owned));
                    // A letter that is not known can have its value behind it.
                    let behind = raw.get(2..).filter(|_| !raw.starts_with("--"));
                    texts.all.extend(behind.map(str::to_owned));
                }
                Item::Value(text) | Item::Operand(text) => texts.all.push((*text).to_owned()),
                Item::End => {}
            }
        }
        let options = line.map(|it| &it.files[..]).unwrap_or_default();
        let settings = items.iter().flat_map(Item::settings);
        let named = settings.filter(|it| {
            options
                .iter()
                .any(|option| reading.is_named(&it.name, option))
        });
        let mut names: Vec<_> = named.filter_map(|it| it.value.map(str::to_owned)).collect();
        if line.is_some_and(|it| it.input) {
            match input {
                Some(input) => texts.all.push(input.to_owned()),
                None => texts.take(files.input()),
            }
        }
        let mut seen = 0;
        for text in texts.all.clone() {
            names.extend(deeds(&text, texts.mysql).includes);
        }
        while let Some(name) = names.pop() {
            seen += 1;
            if seen > FILES {
                texts.is_unknown = true;
                break;
            }
            let content = if name == "-" {
                files.input()
            } else {
                files.read(&name)
            };
            if let Content::Text(text) = &content {
                names.extend(deeds(text, texts.mysql).includes);
            }
            texts.take(content);
        }
        texts
    }

    fn take(&mut self, content: Content) {
        match content {
            Content::Text(text) => self.all.push(text),
            Content::None => {}
            Content::Unknown => self.is_unknown = true,
        }
    }

    /// Whether a statement does what the test accepts.
    pub(super) fn state(&self, is: impl Fn(&str) -> bool) -> bool {
        let does = |text: &String| {
            let Deeds { names, .. } = deeds(text, self.mysql);
            names.iter().any(|it| is(it))
        };
        self.is_unknown || self.all.iter().any(does)
    }

    /// Whether the text without its blanks, comments and strings is what the test
    /// accepts.
    pub(super) fn have_code(&self, is: impl Fn(&str) -> bool) -> bool {
        self.is_unknown || self.all.iter().any(|text| is(&bare(text)))
    }
}

/// A text of JavaScript or its kind without blanks, comments, and the contents of
/// strings.
fn bare(text: &str) -> String {
    let mut bare = String::new();
    let mut rest = text;
    while let Some(letter) = rest.chars().next() {
        let after = &rest[letter.len_utf8()..];
        rest = if rest.starts_with("//") && !bare.ends_with(':') {
            after.split_once('\n').map_or("", |(_, after)| after)
        } else if let Some(comment) = rest.strip_prefix("/*") {
            comment.split_once("*/").map_or("", |(_, after)| after)
        } else if matches!(letter, '\'' | '"' | '`') {
            bare.push_str("\"\"");
            past_string(after, letter)
        } else {
            if !letter.is_whitespace() {
                bare.push(letter);
            }
            after
        };
    }
    bare
}

fn past_string(text: &str, quote: char) -> &str {
    let mut escaped = false;
    for (at, letter) in text.char_indices() {
        if escaped {
            escaped = false;
        } else if letter == '\\' {
            escaped = true;
        } else if letter == quote {
            return &text[at + 1..];
        }
    }
    ""
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::options::program_of;
    use super::*;

    proptest! {
        #[test]
        fn any_code_is_read(text in any::<String>()) {
            bare(&text);
        }
    }

    #[test]
    fn code_is_compared_without_what_says_nothing() {
        assert_eq!(bare("db.x.deleteMany( { } ) // y"), "db.x.deleteMany({})");
        assert_eq!(bare("print('x.drop()'); /* db.drop() */"), "print(\"\");");
        assert_eq!(bare("db[\"it\\\"s\"].drop ()"), "db[\"\"].drop()");
    }

    /// Some files, and the standard input.
    struct Given(Option<&'static str>);

    impl Files for Given {
        fn read(&self, name: &str) -> Content {
            match name {
                "drop.sql" => Content::Text("begin; drop table x;".to_owned()),
                "outer.sql" => Content::Text("\\i drop.sql\n".to_owned()),
                "itself.sql" => Content::Text("\\i itself.sql\n".to_owned()),
                "slow.sql" => Content::Unknown,
                "ok.sql" => Content::Text("create table x (a int)".to_owned()),
                _ => Content::None,
            }
        }

        fn input(&self) -> Content {
            self.0
                .map_or(Content::None, |it| Content::Text(it.to_owned()))
        }
    }

    #[test]
    fn statements_are_found_wherever_the_client_reads_them() {
        let states = |program: &str, arguments: &[&str], files: &dyn Files| {
            let arguments: Vec<_> = arguments.iter().map(|&it| it.to_owned()).collect();
            let reading = Reading::plain(program_of(program));
            let items = reading.items(&arguments);
            let texts = Texts::of(program, &items, &reading, None, files);
            texts.state(|it| it == "drop" || it == "truncate")
        };
        for arguments in [
            &["-c", "drop table x"][..],
            &["-cdrop table x"],
            &["-Atc", "drop table x"],
            &["--command=drop table x"],
            &["--comm", "drop table x"],
            &["-f", "drop.sql"],
            &["-fdrop.sql"],
            &["--file=outer.sql"],
            &["-f", "itself.sql"],
            &["-f", "slow.sql"],
            &["-c", "\\i drop.sql"],
        ] {
            assert!(states("psql", arguments, &Given(None)), "{arguments:?}");
        }
        assert!(states("mysql", &["-e", "source drop.sql"], &Given(None)));
        assert!(states("psql", &["-l"], &Given(Some("truncate x"))));
        assert!(states("psql", &["-f", "-"], &Given(Some("truncate x"))));
        for arguments in [
            &["-f", "ok.sql"][..],
            &["-f", "missing.sql"],
            &["-c", "select 'drop table x'"],
            &["drop"],
        ] {
            assert!(!states("psql", arguments, &Given(None)), "{arguments:?}");
        }
    }
}
