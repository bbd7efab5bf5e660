//! The command lines beside the built-in rules: what each holds, and what runs.
//!
//! Not here: the lines (`policy/exec_gate`).

use super::rules::{Rule, Rules, Started, base, interprets};
use super::shell::commands;
use super::texts::NoFiles;
use crate::config::{ExecGate, Gate as Config, GateAction};
use crate::guard::script::after_script;

/// What the gate says of a line, and whether the kernel asks it.
struct Verdict<'a> {
    rule: Option<&'a Rule>,
    is_stopped: bool,
}

/// Judges a line as the kernel and the daemon do, one started program after another.
fn judge<'a>(rules: &'a Rules, line: &str) -> Verdict<'a> {
    let simple = commands(line).into_iter().last().unwrap_or_default();
    let words = simple.words;
    let interpreter = base(&words[0]);
    let bytes: Vec<_> = words.iter().map(|it| it.clone().into_bytes()).collect();
    // By the name of the file, and where that is an interpreter's by the script's.
    let named = |name: &str| {
        let position = rules.triggers.position(name)?;
        Some(rules.triggers.programs[position].0.clone())
    };
    let script = words.iter().take(4).skip(1).find_map(|word| {
        let program = interprets(interpreter)
            .then(|| named(base(word)))
            .flatten()?;
        let begin = after_script(interpreter, &bytes, base(word).as_bytes())?;
        Some((program, begin))
    });
    let Some((program, begin)) = named(interpreter).map(|it| (it, 1)).or(script) else {
        let rule = rules.met_unstopped(&words, interpreter);
        return Verdict {
            rule,
            is_stopped: true,
        };
    };
    let started = Started {
        program: program.clone(),
        interpreter: interpreter.to_owned(),
        arguments: words[begin..].to_vec(),
        environment: simple.assignments,
    };
    Verdict {
        is_stopped: rules.triggers.stops_with(&program, &words[1..]),
        rule: rules.met(&started, &NoFiles),
    }
}

#[test]
fn each_line_is_decided_by_its_rule() {
    let rules = Rules::of(&Config::default());
    let mut wrong = Vec::new();
    for tested in &ExecGate::built_in().rules {
        let name = &tested.rule.name;
        for line in &tested.holds {
            let verdict = judge(&rules, line);
            let by = verdict.rule.map(|it| it.name.as_str());
            if by != Some(name) {
                wrong.push(format!("{name}: `{line}` is decided by {by:?}"));
            } else if !verdict.is_stopped {
                wrong.push(format!("{name}: `{line}` has no word for the kernel"));
            }
        }
        for line in &tested.runs {
            let rule = judge(&rules, line).rule;
            if let Some(rule) = rule.filter(|it| it.action != GateAction::Allow) {
                wrong.push(format!("{name}: `{line}` is not let go by {}", rule.name));
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "{} wrong:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

#[test]
fn each_rule_has_a_line_that_it_decides() {
    for tested in &ExecGate::built_in().rules {
        let is_allow = tested.rule.action == GateAction::Allow;
        assert!(is_allow || !tested.holds.is_empty(), "{}", tested.rule.name);
    }
}

#[test]
fn the_built_in_rules_leave_room_in_the_kernel() {
    let rules = Rules::of(&Config::default());
    let words = rules.triggers.words();
    assert!(words <= 160, "{words} words");
    assert!(
        rules.triggers.programs.len() <= 384,
        "{}",
        rules.triggers.programs.len()
    );
}
