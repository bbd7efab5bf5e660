//! What SQL statements do, in the words that rules have for it.
//!
//! Not here: words, strings and comments of a text (`tokens`), and which arguments and
//! files hold statements (`texts`).

use super::tokens::{Token, tokens};

/// Texts within texts, such as the body of a `do`.
const DEPTH: usize = 4;

/// What a text does.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Deeds {
    /// First words of its statements, and `delete-all`, `update-all`, `alter-drop`.
    pub(super) names: Vec<String>,
    /// Files whose statements the client reads as well.
    pub(super) includes: Vec<String>,
}

/// What the statements of a text do. `mysql`: as its clients read them.
pub(super) fn deeds(text: &str, mysql: bool) -> Deeds {
    let mut deeds = Deeds::default();
    deeds.add(text, mysql, DEPTH);
    deeds
}

impl Deeds {
    fn add(&mut self, text: &str, mysql: bool, depth: usize) {
        let Some(depth) = depth.checked_sub(1) else {
            return;
        };
        let tokens = tokens(text, mysql);
        for statement in statements(&tokens) {
            self.add_statement(statement, mysql, depth);
        }
    }

    fn add_statement(&mut self, statement: &[Token], mysql: bool, depth: usize) {
        let Some(first) = statement.iter().find_map(Token::word) else {
            return;
        };
        // A user or a database can be called so.
        let is_name = ["drop", "truncate", "delete", "update", "alter"].contains(&first);
        if matches!(statement.first(), Some(Token::Word(_))) && !(is_name && statement.len() < 2) {
            self.names.push(first.to_owned());
        }
        match first {
            // Nothing of it runs now.
            "grant" | "revoke" | "comment" => return,
            "create" if defines(statement) => return,
            "explain" | "describe" | "desc" if !is_analyzed(statement) => return,
            "source" => {
                if let [_, Token::Text(file)] = statement {
                    self.includes.push(file.clone());
                }
            }
            _ => {}
        }
        self.add_clauses(statement);
        let runs_texts =
            |word| ["do", "execute", "exec", "prepare", "gexec", "sp_executesql"].contains(&word);
        if statement.iter().filter_map(Token::word).any(runs_texts) {
            for token in statement {
                if let Token::Text(text) = token {
                    self.add(text, mysql, depth);
                }
            }
        }
    }

    fn add_clauses(&mut self, statement: &[Token]) {
        let is_alter = statement.first().is_some_and(|it| it.is("alter"));
        for (at, token) in statement.iter().enumerate() {
            let Some(word) = token.word() else { continue };
            let before = at.checked_sub(1).and_then(|at| statement.get(at));
            let rest = &statement[at + 1..];
            let next = rest.first();
            let begins = begins_a_statement(before);
            let deed = match word {
                "drop" if is_alter => (!next.is_some_and(is_no_data)).then_some("alter-drop"),
                // ClickHouse's mutations.
                "delete" if is_alter => takes_all(rest).then_some("delete-all"),
                "update" if is_alter => takes_all(rest).then_some("update-all"),
                "truncate" if is_alter => Some("alter-drop"),
                "drop" => {
                    let object = next.and_then(Token::word).is_some_and(is_object);
                    (object && !before.is_some_and(|it| it.is("for"))).then_some("drop")
                }
                "truncate" => {
                    let table = next.is_some_and(|it| it.is("table"));
                    let called = next == Some(&Token::Open);
                    (table || begins && next.is_some() && !called).then_some("truncate")
                }
                "delete" => {
                    let from = next.is_some_and(|it| it.is("from"));
                    (from || begins && next.is_some_and(Token::is_named))
                        .then(|| takes_all(rest).then_some("delete-all"))
                        .flatten()
                }
                "update" => (begins && position(rest, "set").is_some())
                    .then(|| takes_all(rest).then_some("update-all"))
                    .flatten(),
                _ => None,
            };
            self.names.extend(deed.map(str::to_owned));
        }
    }
}

/// Kinds of objects that `drop` takes.
fn is_object(word: &str) -> bool {
    const OBJECTS: &[&str] = &[
        "table",
        "database",
        "schema",
        "view",
        "materialized",
        "index",
        "column",
        "sequence",
        "type",
        "domain",
        "function",
        "procedure",
        "trigger",
        "owned",
        "tablespace",
        "keyspace",
        "user",
        "role",
        "collection",
        "warehouse",
        "stage",
        "stream",
        "measurement",
        "series",
        "shard",
        "bucket",
        "partition",
        "extension",
        "foreign",
        "server",
        "policy",
        "publication",
        "subscription",
        "dictionary",
        "if",
        "pluggable",
        "temporary",
        "unlogged",
        "external",
        "aggregate",
        "graph",
        "constraint",
    ];
    OBJECTS.contains(&word)
}

/// What `alter … drop` takes without losing rows or values.
fn is_no_data(token: &Token) -> bool {
    const KEPT: &[&str] = &[
        "constraint",
        "default",
        "not",
        "expression",
        "identity",
        "index",
        "key",
        "foreign",
        "primary",
        "check",
    ];
    token.word().is_some_and(|word| KEPT.contains(&word))
}

/// Whether a statement can begin behind this token.
fn begins_a_statement(before: Option<&Token>) -> bool {
    match before {
        None | Some(Token::Open | Token::Close) => true,
        Some(Token::Word(word)) => [
            "begin",
            "then",
            "else",
            "loop",
            "as",
            "analyze",
            "analyse",
            "verbose",
            "execute",
            "immediate",
        ]
        .contains(&word.as_str()),
        Some(_) => false,
    }
}

/// Whether the statement only defines what is run later.
fn defines(statement: &[Token]) -> bool {
    let words = statement.iter().filter_map(Token::word).take(6);
    let mut words = words.take_while(|word| !["table", "view", "as"].contains(word));
    words.any(|word| {
        [
            "function",
            "procedure",
            "trigger",
            "rule",
            "event",
            "policy",
            "package",
        ]
        .contains(&word)
    })
}

/// Whether `explain` runs the statement.
fn is_analyzed(statement: &[Token]) -> bool {
    let at = statement
        .iter()
        .position(|it| it.is("analyze") || it.is("analyse"));
    at.is_some_and(|at| {
        let next = statement.get(at + 1).and_then(Token::word);
        !["false", "off", "0"].contains(&next.unwrap_or_default())
    })
}

/// Whether a `delete` or `update` has no condition, or one that excludes nothing.
fn takes_all(rest: &[Token]) -> bool {
    let rest = until_its_end(rest);
    let Some(at) = position(rest, "where") else {
        return true;
    };
    let ends =
        |it: &Token| ["returning", "order", "limit"].contains(&it.word().unwrap_or_default());
    let condition = rest[at + 1..].split(ends).next().unwrap_or_default();
    condition.split(|it| it.is("or")).any(excludes_nothing)
}

/// Where the word stands outside of parentheses.
fn position(rest: &[Token], word: &str) -> Option<usize> {
    let mut depth = 0_usize;
    until_its_end(rest).iter().position(|token| {
        match token {
            Token::Open => depth += 1,
            Token::Close => depth = depth.saturating_sub(1),
            _ => {}
        }
        depth == 0 && token.is(word)
    })
}

/// The tokens up to the parenthesis that closes around them.
fn until_its_end(rest: &[Token]) -> &[Token] {
    let mut depth = 0_usize;
    for (at, token) in rest.iter().enumerate() {
        match token {
            Token::Open => depth += 1,
            Token::Close if depth == 0 => return &rest[..at],
            Token::Close => depth -= 1,
            _ => {}
        }
    }
    rest
}

/// Whether a condition is true of all rows: `true`, `1`, `1 = 1`, `x = x`.
fn excludes_nothing(condition: &[Token]) -> bool {
    let bare: Vec<_> = condition
        .iter()
        .filter(|it| !matches!(it, Token::Open | Token::Close))
        .collect();
    match bare[..] {
        [Token::Word(word)] => word == "true" || word.parse().is_ok_and(|it: u64| it != 0),
        [left, Token::Other('='), right] => left == right,
        [
            Token::Word(left),
            Token::Other('<' | '!'),
            Token::Other('>' | '='),
            Token::Word(right),
        ] => {
            let numbers = [left, right].map(|it| it.parse::<u64>().ok());
            numbers[0].is_some() && numbers[1].is_some() && left != right
        }
        [Token::Word(not), Token::Word(word)] => not == "not" && (word == "false" || word == "0"),
        _ => false,
    }
}

/// The statements of a text. One that defines a trigger or procedure goes on to its `end`.
fn statements(tokens: &[Token]) -> Vec<&[Token]> {
    let mut all = Vec::new();
    let mut rest = tokens;
    while !rest.is_empty() {
        let end = |rest: &[Token]| rest.iter().position(|it| *it == Token::End);
        let mut length = end(rest).unwrap_or(rest.len());
        let own = &rest[..length];
        if own.first().is_some_and(|it| it.is("create"))
            && defines(own)
            && own.iter().any(|it| it.is("begin"))
        {
            while length < rest.len() && !is_end_of_body(&rest[length + 1..]) {
                length += 1 + end(&rest[length + 1..]).unwrap_or(rest.len() - length - 1);
            }
        }
        let length = length.min(rest.len());
        all.push(&rest[..length]);
        rest = rest.get(length + 1..).unwrap_or_default();
    }
    all
}

/// Whether the next statement is the `end` of a body.
fn is_end_of_body(rest: &[Token]) -> bool {
    let ends = matches!(rest.get(1), None | Some(Token::End | Token::Other(_)));
    rest.first().is_none_or(|it| it.is("end")) && ends
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn does(text: &str) -> Vec<String> {
        let mut names = deeds(text, false).names;
        names.retain(|it| {
            ["drop", "truncate", "delete-all", "update-all", "alter-drop"].contains(&it.as_str())
        });
        names.dedup();
        names
    }

    proptest! {
        #[test]
        fn any_text_is_read(text in any::<String>(), mysql in any::<bool>()) {
            deeds(&text, mysql);
        }

        #[test]
        fn any_pieces_are_read(
            pieces in proptest::collection::vec(prop::sample::select(vec![
                "drop", " ", "'", "\"", "/*", "*/", "--", "\n", "$$", "$a$", "\\", "create trigger", "begin", "end",
                ";", "(", ")", "delete from x", "where", "or", "=", "1", "do", "\\i ", "source f", "/*!",
            ]), 0..30),
            mysql in any::<bool>(),
        ) {
            deeds(&pieces.concat(), mysql);
        }
    }

    #[test]
    fn a_statement_that_destroys_is_found() {
        for (text, deed) in [
            ("drop table x", "drop"),
            ("SELECT 1; DROP TABLE x", "drop"),
            ("select 1 drop table x", "drop"),
            ("/* it's */ -- or\n truncate x", "truncate"),
            ("/* /* nested */ */ truncate table x", "truncate"),
            ("drop\ttable x", "drop"),
            ("delete from users", "delete-all"),
            ("DELETE FROM users WHERE true", "delete-all"),
            ("delete from users where 1=1", "delete-all"),
            ("delete from users where (id = id)", "delete-all"),
            ("delete from users where id = 7 or 1 = 1", "delete-all"),
            ("delete from users -- where id = 7", "delete-all"),
            ("delete from a where id in (1); delete from b", "delete-all"),
            (
                "with x as (select 1 where true) delete from users",
                "delete-all",
            ),
            (
                "with x as (delete from users returning *) select * from x where id = 1",
                "delete-all",
            ),
            ("explain analyze delete from users", "delete-all"),
            ("explain (analyze, verbose) delete from users", "delete-all"),
            ("update users set a = 0", "update-all"),
            (
                "update users set a = (select b from c where d = 1)",
                "update-all",
            ),
            ("alter table users drop column a", "alter-drop"),
            ("alter table users drop a", "alter-drop"),
            (
                "alter table only users alter b type int, drop column if exists a",
                "alter-drop",
            ),
            ("do $$ begin drop table users; end $$", "drop"),
            (
                "do $x$ begin execute 'drop table ' || 'users'; end $x$ language plpgsql",
                "drop",
            ),
            ("do 'begin delete from users; end'", "delete-all"),
            ("select 'drop table x' \\gexec", "drop"),
            ("execute immediate 'drop table x'", "drop"),
            ("prepare s from 'truncate table x'", "truncate"),
            ("begin;drop schema public cascade;commit", "drop"),
        ] {
            assert_eq!(does(text), [deed], "{text}");
        }
    }

    #[test]
    fn a_statement_that_only_speaks_of_it_is_let_go() {
        for text in [
            "select 'drop table x'",
            "select \"drop table x\" from y",
            "select 'it''s; drop table x'",
            "select $$ drop table x $$",
            "dropped",
            "drop",
            "-- drop table x",
            "/* drop table x */ select 1",
            "",
            "create table drop_x (a int)",
            "create table a (b int references c on delete cascade on update cascade)",
            "delete from users where id = 7",
            "delete from users where exists (select 1 from x) and id = 7",
            "update users set a = 0 where id = 7",
            "insert into x values (1) on conflict (a) do update set a = 2",
            "insert into x values (1) on duplicate key update a = 2",
            "select * from x for update",
            "alter table x alter column a drop not null",
            "alter table x drop constraint y",
            "alter table x add column a int",
            "explain delete from users",
            "explain (analyze false) delete from users",
            "grant delete, truncate on x to y",
            "select truncate(1.5, 1)",
            "create function f() returns void as $$ delete from x $$ language sql",
            "create trigger t after insert on x begin delete from y; drop table z; end",
            "comment on table x is 'drop table y'",
        ] {
            assert_eq!(does(text), Vec::<String>::new(), "{text}");
        }
    }

    #[test]
    fn comments_that_mysql_runs_are_statements() {
        let of = |text| deeds(text, true).names;
        assert!(of("/*!50000 drop table x */").contains(&"drop".to_owned()));
        assert!(of("select 1 --drop\n; # x\n truncate x").contains(&"truncate".to_owned()));
        assert!(!of("select 'it\\'s; drop table x'").contains(&"drop".to_owned()));
        assert!(
            !deeds("/*!50000 drop table x */", false)
                .names
                .contains(&"drop".to_owned())
        );
    }

    #[test]
    fn files_that_a_client_reads_are_named() {
        assert_eq!(
            deeds("\\i /srv/a b.sql\nselect 1", false).includes,
            ["/srv/a b.sql"]
        );
        assert_eq!(deeds("source f.sql", true).includes, ["f.sql"]);
        assert_eq!(deeds("\\. f.sql", true).includes, ["f.sql"]);
        assert_eq!(deeds(".read f.sql", false).includes, ["f.sql"]);
        assert_eq!(
            deeds("source dir/Upper-1.sql", true).includes,
            ["dir/Upper-1.sql"]
        );
    }
}
