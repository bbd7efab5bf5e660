//! Words, strings and comments of SQL text, with the commands of its clients.
//!
//! Reading never fails: the text is a session's, and a client sends what it does not
//! understand. A tokenizer of one dialect would refuse the others.
//!
//! Not here: what the statements do (`statements`).

/// Most tokens of one text.
const MOST: usize = 100_000;

/// A piece of a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Token {
    /// A word or number, in lower case.
    Word(String),
    /// A string's contents.
    Text(String),
    /// A quoted name.
    Name(String),
    Open,
    Close,
    /// The end of a statement.
    End,
    /// Any other character.
    Other(char),
}

impl Token {
    pub(super) fn word(&self) -> Option<&str> {
        match self {
            Self::Word(word) => Some(word),
            _ => None,
        }
    }

    pub(super) fn is(&self, word: &str) -> bool {
        self.word() == Some(word)
    }

    pub(super) fn is_named(&self) -> bool {
        matches!(
            self,
            Self::Word(_) | Self::Name(_) | Self::Other('[' | '@' | '#')
        )
    }
}

/// The tokens of a text. `mysql`: as its clients read it.
pub(super) fn tokens(text: &str, mysql: bool) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut rest = text;
    while let Some(letter) = rest.chars().next() {
        if tokens.len() >= MOST {
            break;
        }
        let after = &rest[letter.len_utf8()..];
        rest = match letter {
            _ if letter.is_whitespace() => after,
            '-' if is_line_comment(rest, mysql) => past(rest, "\n"),
            '#' if mysql => past(rest, "\n"),
            '/' if rest.starts_with("/*") => match executed(rest, mysql) {
                Some(inside) => inside,
                None => past_comment(rest, !mysql),
            },
            // The end of a comment that MySQL runs.
            '*' if mysql && rest.starts_with("*/") => &rest[2..],
            '\'' => quoted(
                after,
                '\'',
                mysql || ends_with_e(&tokens, text, rest),
                Token::Text,
                &mut tokens,
            ),
            '"' if mysql => quoted(after, '"', true, Token::Text, &mut tokens),
            '"' => quoted(after, '"', false, Token::Name, &mut tokens),
            '`' => quoted(after, '`', false, Token::Name, &mut tokens),
            '$' => match dollars(rest) {
                Some((inside, after)) => {
                    tokens.push(Token::Text(inside.to_owned()));
                    after
                }
                None => {
                    tokens.push(Token::Other('$'));
                    after
                }
            },
            '(' => push(&mut tokens, Token::Open, after),
            ')' => push(&mut tokens, Token::Close, after),
            ';' => push(&mut tokens, Token::End, after),
            '\\' => meta(after, &mut tokens),
            '.' if begins_line(text, rest)
                && after.starts_with(|it: char| it.is_ascii_alphabetic()) =>
            {
                meta(after, &mut tokens)
            }
            _ if letter.is_alphanumeric() || letter == '_' => {
                let end = rest.find(|it: char| !(it.is_alphanumeric() || it == '_'));
                let (word, after) = rest.split_at(end.unwrap_or(rest.len()));
                if word.eq_ignore_ascii_case("source")
                    && matches!(tokens.last(), None | Some(Token::End))
                {
                    source(after, &mut tokens)
                } else {
                    let is_batch_end = word.eq_ignore_ascii_case("go") && begins_line(text, rest);
                    tokens.push(
                        if is_batch_end && after.trim_start_matches([' ', '\r']).starts_with('\n') {
                            Token::End
                        } else {
                            Token::Word(word.to_lowercase())
                        },
                    );
                    after
                }
            }
            _ => push(&mut tokens, Token::Other(letter), after),
        };
    }
    tokens
}

fn push<'a>(tokens: &mut Vec<Token>, token: Token, after: &'a str) -> &'a str {
    tokens.push(token);
    after
}

fn past<'a>(text: &'a str, end: &str) -> &'a str {
    text.split_once(end).map_or("", |(_, after)| after)
}

/// MySQL takes two hyphens for a comment only before a blank.
fn is_line_comment(rest: &str, mysql: bool) -> bool {
    rest.strip_prefix("--")
        .is_some_and(|after| !mysql || after.is_empty() || after.starts_with(char::is_whitespace))
}

/// Text of a comment that MySQL and MariaDB run: `/*! … */`, `/*!50000 … */`, `/*M! … */`.
fn executed(rest: &str, mysql: bool) -> Option<&str> {
    let inside = rest
        .strip_prefix("/*!")
        .or_else(|| rest.strip_prefix("/*M!"))?;
    mysql.then(|| inside.trim_start_matches(|it: char| it.is_ascii_digit()))
}

/// PostgreSQL nests comments.
fn past_comment(text: &str, nests: bool) -> &str {
    let mut rest = text.get(2..).unwrap_or_default();
    let mut depth = 1;
    loop {
        let Some(end) = rest.find("*/") else {
            return "";
        };
        match rest[..end].find("/*") {
            Some(open) if nests => {
                depth += 1;
                rest = &rest[open + 2..];
            }
            _ => {
                depth -= 1;
                rest = &rest[end + 2..];
                if depth == 0 {
                    return rest;
                }
            }
        }
    }
}

/// Whether the string behind the last token is PostgreSQL's `E'…'`.
fn ends_with_e(tokens: &[Token], text: &str, rest: &str) -> bool {
    let before = &text[..text.len() - rest.len()];
    tokens.last().is_some_and(|it| it.is("e")) && before.ends_with(['e', 'E'])
}

/// Reads up to the closing quote; two of them stand for one.
fn quoted<'a>(
    text: &'a str,
    quote: char,
    escapes: bool,
    token: impl Fn(String) -> Token,
    tokens: &mut Vec<Token>,
) -> &'a str {
    let mut inside = String::new();
    let mut letters = text.char_indices().peekable();
    let mut end = text.len();
    while let Some((at, letter)) = letters.next() {
        if letter == '\\' && escapes {
            inside.extend(letters.next().map(|(_, letter)| letter));
        } else if letter == quote {
            if letters.peek().is_none_or(|(_, next)| *next != quote) {
                end = at + quote.len_utf8();
                break;
            }
            letters.next();
            inside.push(quote);
        } else {
            inside.push(letter);
        }
    }
    tokens.push(token(inside));
    &text[end..]
}

/// The text of `$tag$ … $tag$`, and what is behind it.
fn dollars(text: &str) -> Option<(&str, &str)> {
    let tag = text[1..].find('$').map(|at| &text[..at + 2])?;
    let is_tag = tag[1..tag.len() - 1]
        .chars()
        .all(|it| it.is_alphanumeric() || it == '_');
    if !is_tag {
        return None;
    }
    let inside = &text[tag.len()..];
    Some(inside.split_once(tag).unwrap_or((inside, "")))
}

fn begins_line(text: &str, rest: &str) -> bool {
    let before = text[..text.len() - rest.len()].trim_end_matches([' ', '\t']);
    before.is_empty() || before.ends_with('\n')
}

/// A client's own command, which ends with its line. One that reads a file is given as
/// `source`; `\gexec` runs what the statement before it returns.
fn meta<'a>(after: &'a str, tokens: &mut Vec<Token>) -> &'a str {
    let name_end = after.find(|it: char| !(it.is_ascii_alphabetic() || it == '.' || it == '!'));
    let (name, rest) = after.split_at(name_end.unwrap_or(after.len()));
    let (_, next) = rest.split_once('\n').unwrap_or((rest, ""));
    match name {
        "gexec" => tokens.push(Token::Word("gexec".to_owned())),
        "i" | "ir" | "include" | "include_relative" | "." | "read" => return source(rest, tokens),
        _ => {}
    }
    tokens.push(Token::End);
    next
}

/// The file of `source FILE`, up to the end of the line or of the statement.
fn source<'a>(rest: &'a str, tokens: &mut Vec<Token>) -> &'a str {
    let end = rest.find([';', '\n']).unwrap_or(rest.len());
    let (file, after) = rest.split_at(end);
    let file = file.trim().trim_matches(['\'', '"']).to_owned();
    tokens.extend([
        Token::End,
        Token::Word("source".to_owned()),
        Token::Text(file),
        Token::End,
    ]);
    after
}
