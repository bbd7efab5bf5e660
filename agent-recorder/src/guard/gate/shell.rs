//! Simple commands of a shell's program text: words without their quotes, split at the
//! operators of POSIX shells.
//!
//! Not here: what a command does (`rules`). Variables are not expanded: `$X` stays as
//! it is.

/// Most commands of one text.
const MOST: usize = 256;
/// Command substitutions within one another.
const DEPTH: usize = 6;

/// One command of a text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Simple {
    /// Assignments before the command's name.
    pub(super) assignments: Vec<(String, String)>,
    /// Its name and arguments.
    pub(super) words: Vec<String>,
    /// What it reads from a here-document, or from an echo(1) before its pipe.
    pub(super) input: Option<String>,
    /// The file that it reads its input from.
    pub(super) input_file: Option<String>,
}

/// The commands of a text.
pub(super) fn commands(text: &str) -> Vec<Simple> {
    let mut all = Vec::new();
    read(text, DEPTH, &mut all);
    all.truncate(MOST);
    all
}

/// The words of a text, as a program splits an environment variable of arguments.
pub(super) fn words(text: &str) -> Vec<String> {
    let all = commands(text);
    all.into_iter().flat_map(|it| it.words).collect()
}

fn read(text: &str, depth: usize, all: &mut Vec<Simple>) {
    let mut reader = Reader {
        rest: text,
        word: None,
        target: None,
        here: Vec::new(),
        command: Simple::default(),
        piped: None,
        depth,
        all,
    };
    reader.read();
}

/// What the next word is for, when it is no argument.
#[derive(Clone, Copy)]
enum Target {
    Input,
    Output,
    HereText,
    HereDocument { strip: bool },
}

struct Reader<'a> {
    rest: &'a str,
    word: Option<String>,
    target: Option<Target>,
    /// Here-documents whose bodies follow, with their delimiters.
    here: Vec<(String, bool)>,
    command: Simple,
    /// What the command before the pipe writes.
    piped: Option<String>,
    depth: usize,
    all: &'a mut Vec<Simple>,
}

impl<'a> Reader<'a> {
    fn read(&mut self) {
        while let Some(letter) = self.next() {
            if self.all.len() >= MOST {
                return;
            }
            match letter {
                '\'' => {
                    let text = self.until('\'');
                    self.push(text);
                }
                '"' => self.double_quoted(),
                '\\' => {
                    let letter = self.next().filter(|it| *it != '\n');
                    self.word.get_or_insert_default().extend(letter);
                }
                '`' => {
                    let text = self.until('`');
                    self.substitute(text);
                }
                '$' if self.rest.starts_with('(') => {
                    self.next();
                    let text = self.until_closed();
                    self.substitute(text);
                }
                '#' if self.word.is_none() => {
                    let end = self.rest.find('\n').unwrap_or(self.rest.len());
                    self.rest = &self.rest[end..];
                }
                '\n' => {
                    // The bodies belong to the line's commands.
                    self.end_word();
                    self.read_here();
                    self.end_command(false);
                }
                ' ' | '\t' | '\r' => self.end_word(),
                '<' | '>' => self.redirect(letter),
                '&' if self.rest.starts_with('>') => self.end_word(),
                '|' => {
                    let is_or = self.rest.starts_with('|');
                    self.end_command(!is_or);
                }
                ';' | '&' | '(' | ')' => self.end_command(false),
                _ => self.word.get_or_insert_default().push(letter),
            }
        }
        self.end_command(false);
    }

    fn next(&mut self) -> Option<char> {
        let letter = self.rest.chars().next()?;
        self.rest = &self.rest[letter.len_utf8()..];
        Some(letter)
    }

    fn until(&mut self, end: char) -> &'a str {
        let (text, rest) = self.rest.split_once(end).unwrap_or((self.rest, ""));
        self.rest = rest;
        text
    }

    /// The text up to the parenthesis that closes the substitution.
    fn until_closed(&mut self) -> &'a str {
        let (begin, mut depth, mut quote, mut escaped) = (self.rest, 1, None, false);
        for (at, letter) in begin.char_indices() {
            match (quote, letter) {
                _ if escaped => escaped = false,
                (None | Some('"'), '\\') => escaped = true,
                (None, '\'' | '"') => quote = Some(letter),
                (Some(open), _) if open == letter => quote = None,
                (None, '(') => depth += 1,
                (None, ')') => depth -= 1,
                _ => {}
            }
            if depth == 0 {
                self.rest = &begin[at + 1..];
                return &begin[..at];
            }
        }
        self.rest = "";
        begin
    }

    fn push(&mut self, text: &str) {
        self.word.get_or_insert_default().push_str(text);
    }

    /// A substituted command is one of its own.
    fn substitute(&mut self, text: &str) {
        if let Some(depth) = self.depth.checked_sub(1) {
            read(text, depth, self.all);
        }
        self.push("$()");
    }

    fn double_quoted(&mut self) {
        self.push("");
        while let Some(letter) = self.next() {
            match letter {
                '"' => return,
                '\\' => {
                    let next = self.next();
                    if !matches!(next, Some('"' | '\\' | '$' | '`' | '\n')) {
                        self.push("\\");
                    }
                    let next = next.filter(|it| *it != '\n');
                    self.word.get_or_insert_default().extend(next);
                }
                '$' if self.rest.starts_with('(') => {
                    self.next();
                    let text = self.until_closed();
                    self.substitute(text);
                }
                '`' => {
                    let text = self.until('`');
                    self.substitute(text);
                }
                _ => self.word.get_or_insert_default().push(letter),
            }
        }
    }

    fn redirect(&mut self, letter: char) {
        // A number before it is a descriptor.
        if self
            .word
            .as_ref()
            .is_some_and(|it| it.chars().all(|it| it.is_ascii_digit()))
        {
            self.word = None;
        }
        self.end_word();
        let length = self
            .rest
            .find(|it| !matches!(it, '<' | '>' | '&' | '|' | '-'));
        let (operator, rest) = self.rest.split_at(length.unwrap_or(self.rest.len()));
        self.rest = rest;
        self.target = Some(match (letter, operator) {
            ('<', "") => Target::Input,
            ('<', "<<") => Target::HereText,
            ('<', "<") => Target::HereDocument { strip: false },
            ('<', "<-") => Target::HereDocument { strip: true },
            _ => Target::Output,
        });
        // `2>&-` has no word behind it.
        if operator.ends_with('-') && operator != "<-" {
            self.target = None;
        }
    }

    fn end_word(&mut self) {
        let Some(word) = self.word.take() else {
            return;
        };
        match self.target.take() {
            Some(Target::Input) => self.command.input_file = Some(word),
            Some(Target::HereText) => self.command.input = Some(word),
            Some(Target::HereDocument { strip }) => self.here.push((word, strip)),
            Some(Target::Output) => {}
            None => self.add(word),
        }
    }

    fn add(&mut self, word: String) {
        const BEFORE_A_COMMAND: &[&str] = &[
            "if", "then", "elif", "else", "while", "until", "do", "!", "{", "time",
        ];
        if self.command.words.is_empty() {
            if BEFORE_A_COMMAND.contains(&word.as_str()) {
                return;
            }
            if let Some((name, value)) = word.split_once('=')
                && is_name(name)
            {
                let assignment = (name.to_owned(), value.to_owned());
                return self.command.assignments.push(assignment);
            }
        }
        self.command.words.push(word);
    }

    fn read_here(&mut self) {
        for (delimiter, strip) in std::mem::take(&mut self.here) {
            let mut body = String::new();
            while !self.rest.is_empty() {
                let line = self.until('\n');
                if (if strip {
                    line.trim_start_matches('\t')
                } else {
                    line
                }) == delimiter
                {
                    break;
                }
                body += line;
                body.push('\n');
            }
            // The command of the document can have been ended by a pipe on its line.
            match self.all.last_mut() {
                Some(last) if self.command.words.is_empty() => last.input = Some(body),
                _ => self.command.input = Some(body),
            }
        }
    }

    fn end_command(&mut self, pipes: bool) {
        self.end_word();
        let mut command = std::mem::take(&mut self.command);
        if command.input.is_none() {
            command.input = self.piped.take();
        }
        self.piped = pipes.then(|| written_by(&command)).flatten();
        if !command.words.is_empty() || !command.assignments.is_empty() {
            self.all.push(command);
        }
    }
}

fn is_name(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with(|it: char| it.is_ascii_digit())
        && name
            .chars()
            .all(|it| it.is_ascii_alphanumeric() || it == '_')
}

/// What a command writes, where its words say so.
fn written_by(command: &Simple) -> Option<String> {
    let (name, arguments) = command.words.split_first()?;
    match name.rsplit('/').next()? {
        "echo" | "printf" => Some(arguments.join(" ").replace("\\n", "\n")),
        "cat" if arguments.iter().all(|it| it == "-") => command.input.clone(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_text_is_read(text in any::<String>()) {
            commands(&text);
        }

        #[test]
        fn any_pieces_are_read(
            pieces in proptest::collection::vec(prop::sample::select(vec![
                "rm", " ", "'", "\"", "$(", "(", ")", "`", "<<", "<<<", "<", ">", "EOF", "\n", ";", "&&", "|", "\\",
                "2>&1", "#", "A=1", "if", "é",
            ]), 0..40),
        ) {
            commands(&pieces.concat());
        }
    }

    fn lines(text: &str) -> Vec<String> {
        commands(text).iter().map(|it| it.words.join(" ")).collect()
    }

    #[test]
    fn each_command_of_a_text_is_found() {
        for (text, all) in [
            ("cd x;rm -rf y", &["cd x", "rm -rf y"][..]),
            ("a && b||c | d & e\nf", &["a", "b", "c", "d", "e", "f"]),
            (
                "if test -d x; then rm -r x; fi",
                &["test -d x", "rm -r x", "fi"],
            ),
            ("(cd x && rm -r y)", &["cd x", "rm -r y"]),
            (
                "echo 'rm -rf x; y' \"a;b\" c\\;d",
                &["echo rm -rf x; y a;b c;d"],
            ),
            (
                "echo $(rm -r \"$(pwd)\") `ls x`",
                &["pwd", "rm -r $()", "ls x", "echo $() $()"],
            ),
            ("A=1 B=2 rm x # and y", &["rm x"]),
            ("rm x 2>&1 >/dev/null 2>&- -f", &["rm x -f"]),
            ("{ rm x; }", &["rm x", "}"]),
        ] {
            assert_eq!(lines(text), all, "{text}");
        }
    }

    #[test]
    fn input_that_the_text_holds_is_known() {
        let input = |text: &str| {
            commands(text)
                .into_iter()
                .find(|it| it.words == ["psql"])
                .and_then(|it| it.input)
        };
        for text in [
            "psql <<EOF\ndrop table x\nEOF\nls",
            "cat <<'EOF' | psql\ndrop table x\nEOF",
            "echo drop table x | psql",
            "psql <<< 'drop table x'",
        ] {
            let input = input(text);
            assert_eq!(
                input.as_deref().map(str::trim),
                Some("drop table x"),
                "{text}"
            );
        }
        assert_eq!(
            commands("psql < f.sql")[0].input_file.as_deref(),
            Some("f.sql")
        );
    }
}
