//! Parses strace's text, with the options of [`OPTIONS`]: calls with their arguments and
//! results, and ends of threads.
//!
//! Strings and paths are in hexadecimal, so no quote, bracket or comma in
//! them can be taken for strace's own.

use std::collections::BTreeMap;

use anyhow::{Context as _, bail, ensure};

/// All threads; numbers instead of names; strings and descriptors' paths whole, in hexadecimal.
pub const OPTIONS: &[&str] = &[
    "-f",
    "-xx",
    "-X",
    "raw",
    "-y",
    "-s",
    "131072",
    "--seccomp-bpf",
];

/// The working directory in the place of a descriptor (openat(2)).
pub const AT_FDCWD: i64 = -100;
/// How the kernel marks the path of a file without a name (proc_pid_fd(5)).
const DELETED: &[u8] = b" (deleted)";

/// One event; a call that other lines interrupt is put together again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// The thread.
    pub tid: u32,
    /// The event's content.
    pub what: What,
}

/// The content of an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// A system call that returned, or never will.
    Call(Call),
    /// The thread's end.
    Exited(u32),
    /// The thread's end by a signal, and whether a core was dumped.
    Killed(String, bool),
}

/// A system call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// Its name.
    pub name: String,
    /// As strace writes them.
    pub arguments: Vec<String>,
    /// Its outcome.
    pub outcome: Outcome,
}

/// How a call ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// What it returned, as strace writes it.
    Returned(String),
    /// The errno's name.
    Failed(String),
    /// The process died in the call, or repeats it.
    Never,
}

/// Reads an account.
///
/// # Errors
///
/// A line is of no known kind.
pub fn parse(text: &str) -> anyhow::Result<Vec<Event>> {
    let mut events = Vec::new();
    let mut unfinished: BTreeMap<u32, String> = BTreeMap::new();
    for line in text.lines() {
        let event = read_line(line, &mut unfinished).with_context(|| format!("read {line}"))?;
        events.extend(event);
    }
    Ok(events)
}

fn read_line(line: &str, unfinished: &mut BTreeMap<u32, String>) -> anyhow::Result<Option<Event>> {
    let (tid, what) = line.split_once(' ').context("no thread")?;
    let tid: u32 = tid.parse()?;
    let what = what.trim_start();
    let event = |what| Ok(Some(Event { tid, what }));
    if what.starts_with("---") {
        return Ok(None);
    }
    if let Some(end) = what.strip_prefix("+++ ") {
        let end = end.strip_suffix(" +++").context("no end of an end")?;
        if let Some(thread) = end.strip_prefix("superseded by execve in pid ") {
            // The thread's exec continues under the leader's id.
            if let Some(call) = unfinished.remove(&thread.parse()?) {
                unfinished.insert(tid, call);
            }
            return Ok(None);
        }
        if let Some(code) = end.strip_prefix("exited with ") {
            return event(What::Exited(code.parse()?));
        }
        let signal = end.strip_prefix("killed by ").context("a strange end")?;
        let (name, core) = match signal.strip_suffix(" (core dumped)") {
            Some(name) => (name, true),
            None => (signal, false),
        };
        return event(What::Killed(name.to_owned(), core));
    }
    if let Some(begin) = what.strip_suffix("<unfinished ...>") {
        ensure!(
            unfinished.insert(tid, begin.to_owned()).is_none(),
            "two calls at once"
        );
        return Ok(None);
    }
    if let Some(resumed) = what.strip_prefix("<... ") {
        let (_, rest) = resumed.split_once(" resumed>").context("not resumed")?;
        let mut call = unfinished.remove(&tid).context("resumed, never begun")?;
        call.push_str(rest);
        return event(What::Call(call_of(&call)?));
    }
    event(What::Call(call_of(what)?))
}

fn call_of(text: &str) -> anyhow::Result<Call> {
    let (name, rest) = text.split_once('(').context("no call")?;
    let (arguments, rest) = arguments(rest)?;
    let result = rest
        .trim_start()
        .strip_prefix("= ")
        .context("no result")?
        .trim();
    let outcome = if result.starts_with('?') {
        Outcome::Never
    } else if let Some(error) = result.strip_prefix("-1 E") {
        let end = error.find(' ').unwrap_or(error.len());
        Outcome::Failed(format!("E{}", &error[..end]))
    } else {
        Outcome::Returned(result.to_owned())
    };
    Ok(Call {
        name: name.to_owned(),
        arguments,
        outcome,
    })
}

/// Arguments up to the closing parenthesis, and what follows it.
fn arguments(text: &str) -> anyhow::Result<(Vec<String>, &str)> {
    let mut arguments = vec![String::new()];
    let mut depth = 0_u32;
    let mut quote = None;
    for (at, character) in text.char_indices() {
        match (quote, character) {
            (Some(end), _) if character == end => quote = None,
            (Some(_), _) => {}
            (None, '"') => quote = Some('"'),
            // A descriptor's path: hexadecimal, so it ends at the next `>`.
            (None, '<') => quote = Some('>'),
            (None, '(' | '[' | '{') => depth += 1,
            (None, ')') if depth == 0 => {
                let list = arguments.iter().map(|one| one.trim().to_owned());
                return Ok((list.collect(), &text[at + 1..]));
            }
            (None, ')' | ']' | '}') => depth -= 1,
            (None, ',') if depth == 0 => {
                arguments.push(String::new());
                continue;
            }
            (None, _) => {}
        }
        if let Some(last) = arguments.last_mut() {
            last.push(character);
        }
    }
    bail!("the arguments do not end")
}

/// A descriptor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Descriptor {
    /// Its number.
    pub number: i64,
    /// The path that it leads to, `None` when it is closed.
    pub path: Option<Vec<u8>>,
}

/// `3</path>`, `-100</working/directory>`, `3</path>(deleted)`.
pub fn descriptor(text: &str) -> anyhow::Result<Descriptor> {
    let Some((number_part, rest)) = text.split_once('<') else {
        return Ok(Descriptor {
            number: text.parse().with_context(|| text.to_owned())?,
            path: None,
        });
    };
    let (path, _deleted) = rest.rsplit_once('>').with_context(|| text.to_owned())?;
    let number = number_part.parse().with_context(|| text.to_owned())?;
    let mut path = unhex(path)?;
    // For a working directory, strace leaves the mark of a deleted file in the name.
    if number == AT_FDCWD && path.ends_with(DELETED) {
        path.truncate(path.len() - DELETED.len());
    }
    Ok(Descriptor {
        number,
        path: Some(path),
    })
}

/// A string in quotes, whole.
pub fn string(text: &str) -> anyhow::Result<Vec<u8>> {
    let inside = text
        .strip_prefix('"')
        .and_then(|rest| rest.strip_suffix('"'))
        .with_context(|| format!("no whole string: {text}"))?;
    unhex(inside)
}

/// An array of strings in quotes.
pub fn strings(text: &str) -> anyhow::Result<Vec<Vec<u8>>> {
    let inside = text
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .with_context(|| format!("no whole array: {text}"))?;
    inside
        .split(", ")
        .filter(|one| !one.is_empty())
        .map(string)
        .collect()
}

/// A number as C writes it, or several that are or-ed.
pub fn number(text: &str) -> anyhow::Result<i64> {
    text.split('|').try_fold(0, |sum, part| {
        let value = if let Some(hexadecimal) = part.strip_prefix("0x") {
            // As the kernel takes it: 64 bits.
            u64::from_str_radix(hexadecimal, 16).map(u64::cast_signed)
        } else if part.len() > 1 && part.starts_with('0') {
            i64::from_str_radix(part, 8)
        } else {
            part.parse()
        };
        Ok(sum | value.with_context(|| format!("no number: {text}"))?)
    })
}

/// The value of `name=` in a structure, as the caller gave it (`given => returned`).
pub fn field<'a>(structure: &'a str, name: &str) -> Option<&'a str> {
    let given = structure.split(" => ").next()?;
    given
        .trim_matches(['{', '}', '[', ']'])
        .split(", ")
        .find_map(|part| {
            part.trim_start_matches('{')
                .strip_prefix(name)?
                .strip_prefix('=')
        })
        .map(|value| value.trim_end_matches('}'))
}

/// `\x2f\x61` as bytes.
pub fn unhex(text: &str) -> anyhow::Result<Vec<u8>> {
    if text.is_empty() {
        return Ok(Vec::new());
    }
    let pairs = text.strip_prefix("\\x").with_context(|| text.to_owned())?;
    pairs
        .split("\\x")
        .map(|pair| {
            ensure!(pair.len() == 2, "strange string: {text}");
            Ok(u8::from_str_radix(pair, 16)?)
        })
        .collect()
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failed unwrap fails the test")]
mod tests {
    use super::*;

    #[test]
    fn a_call_that_others_interrupted_is_one_call() {
        let text = concat!(
            "7 openat(-100<\\x2f>, \"\\x61\", 0x80000 <unfinished ...>\n",
            "8 +++ exited with 3 +++\n",
            "7 <... openat resumed>) = 3<\\x2f\\x61>\n",
        );
        let events = parse(text).unwrap();
        assert_eq!(events[0].what, What::Exited(3));
        let call = Call {
            name: "openat".to_owned(),
            arguments: ["-100<\\x2f>", "\"\\x61\"", "0x80000"]
                .map(str::to_owned)
                .to_vec(),
            outcome: Outcome::Returned("3<\\x2f\\x61>".to_owned()),
        };
        assert_eq!(events[1].what, What::Call(call));
    }

    #[test]
    fn structures_are_one_argument() {
        let call =
            call_of("clone3({flags=0x3d0f00, exit_signal=0} => {parent_tid=[662]}, 88) = 662")
                .unwrap();
        assert_eq!(call.arguments.len(), 2);
        assert_eq!(field(&call.arguments[0], "flags"), Some("0x3d0f00"));
        assert_eq!(field(&call.arguments[0], "exit_signal"), Some("0"));
    }

    #[test]
    fn what_is_cut_is_no_string() {
        assert!(string("\"\\x61\"...").is_err());
        assert_eq!(string("\"\\x61\\x00\"").unwrap(), b"a\0");
        assert_eq!(number("0x10|0101").unwrap(), 0x51);
    }
}
