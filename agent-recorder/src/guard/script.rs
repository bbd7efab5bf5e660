//! Finds the script among an interpreter's arguments.

/// Most arguments among which the script is searched: an interpreter, its options,
/// the script.
const SCRIPT_WITHIN: usize = 8;

/// Index of the first argument after a script of this name; `None` where the
/// interpreter runs something else. An option may have a value or none; both readings
/// count.
pub fn after_script(interpreter: &str, argv: &[Vec<u8>], name: &[u8]) -> Option<usize> {
    let inline = Inline::of(interpreter);
    let mut may_be_a_value = false;
    for (position, argument) in argv.iter().enumerate().take(SCRIPT_WITHIN).skip(1) {
        let own = argument.rsplit(|&byte| byte == b'/').next();
        if own == Some(name) {
            return Some(position + 1);
        }
        if inline.is(argument) {
            return None;
        }
        let is_option = argument.starts_with(b"-");
        // env(1) takes `NAME=value` before the command.
        if !is_option && !may_be_a_value && !argument.contains(&b'=') {
            return None;
        }
        may_be_a_value = is_option;
    }
    None
}

/// Options of an interpreter whose argument is the program text.
struct Inline {
    /// Letters that end such an option: `-c`, `-lc`.
    letters: &'static [u8],
    words: &'static [&'static str],
}

impl Inline {
    fn of(interpreter: &str) -> Self {
        let stem = interpreter
            .split(|it: char| !it.is_ascii_lowercase())
            .next();
        let (letters, words): (_, &[_]) = match stem.unwrap_or_default() {
            "perl" => (&b"eE"[..], &[]),
            "ruby" => (b"e", &[]),
            "php" => (b"r", &["--run"]),
            "node" | "nodejs" | "bun" | "deno" | "tsx" => (b"ep", &["--eval", "--print"]),
            // Shells and Python have the option; env(1) and tclsh(1) have none.
            _ => (b"c", &[]),
        };
        Self { letters, words }
    }

    fn is(&self, argument: &[u8]) -> bool {
        if self.words.iter().any(|word| word.as_bytes() == argument) {
            return true;
        }
        argument.strip_prefix(b"-").is_some_and(|letters| {
            letters.iter().all(u8::is_ascii_alphabetic)
                && letters
                    .last()
                    .is_some_and(|last| self.letters.contains(last))
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_arguments_of_a_script_begin_behind_its_name(
            interpreter in "[a-z]{0,6}|bash|env|perl|node",
            argv in vec(vec(prop_oneof![Just(b'-'), Just(b'/'), Just(b'='), any::<u8>()], 0..6), 0..12),
            at in 0..12usize,
        ) {
            let name = argv.get(at).cloned().unwrap_or_default();
            if let Some(begin) = after_script(&interpreter, &argv, &name) {
                prop_assert!((2..=argv.len()).contains(&begin));
                prop_assert!(argv[begin - 1].ends_with(&name));
            }
        }
    }

    fn after(line: &str) -> Option<usize> {
        let argv: Vec<_> = line
            .split(' ')
            .map(|word| word.as_bytes().to_vec())
            .collect();
        let interpreter = line.split(' ').next().unwrap_or_default();
        after_script(interpreter, &argv, b"cdk")
    }

    #[test]
    fn a_script_is_what_an_interpreter_runs_and_no_word_of_another() {
        for (line, begin) in [
            ("sh /usr/bin/cdk destroy", 2),
            ("node --max-old-space-size 4096 /opt/cdk destroy", 4),
            ("node --require=x /opt/cdk destroy", 3),
            ("env -S node /usr/bin/cdk destroy", 4),
            ("env A=1 cdk destroy", 3),
            ("python3 -m cdk destroy", 3),
            ("sh -e /usr/bin/cdk destroy", 3),
            ("bash -ex cdk destroy", 3),
            ("perl -p cdk destroy", 3),
        ] {
            assert_eq!(after(line), Some(begin), "{line}");
        }
        for line in [
            "sh -c echo cdk destroy",
            "bash -lc true cdk",
            "python3 -c pass cdk",
            "node --eval 1 cdk",
            "node -p 1 cdk",
            "perl -pe 1 cdk",
            "php -r 1 cdk",
            "perl script.pl cdk destroy",
            "sh",
        ] {
            assert_eq!(after(line), None, "{line}");
        }
    }
}
