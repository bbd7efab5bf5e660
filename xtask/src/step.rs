//! Progress messages: numbered steps with their times, and commands whose failures
//! name them. All messages go to stderr.

use std::fmt::Write as _;
use std::io::IsTerminal as _;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, ExitCode, Output, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

/// The steps of one command, numbered in their order, and stored for the closing
/// table.
pub(crate) struct Steps {
    total: usize,
    finished: Vec<Finished>,
}

struct Finished {
    what: String,
    ok: bool,
    took: Duration,
}

impl Steps {
    /// The steps of a command with `total` of them.
    pub(crate) fn new(total: usize) -> Self {
        Self {
            total,
            finished: Vec::new(),
        }
    }

    /// Announces a step, runs it, and stores its result.
    pub(crate) fn run<T>(&mut self, what: &str, act: impl FnOnce() -> Result<T>) -> Result<T> {
        say(&format!(
            "[{}/{}] {what}",
            self.finished.len() + 1,
            self.total
        ));
        let begun = Instant::now();
        let result = act();
        self.finished.push(Finished {
            what: what.to_owned(),
            ok: result.is_ok(),
            took: begun.elapsed(),
        });
        result
    }

    /// Like [`Steps::run`], for a step that later ones do not need: reports a failure
    /// at once, and lets the command continue. True on success.
    pub(crate) fn check(&mut self, what: &str, act: impl FnOnce() -> Result<()>) -> bool {
        match self.run(what, act) {
            Ok(()) => true,
            Err(error) => {
                say(&format!("failed: {error:#}"));
                false
            }
        }
    }

    /// Whether every step so far succeeded.
    pub(crate) fn all_ok(&self) -> bool {
        self.finished.iter().all(|step| step.ok)
    }

    /// A table with a line a step: name, result, time.
    pub(crate) fn table(&self) -> String {
        let width = self
            .finished
            .iter()
            .map(|step| step.what.len())
            .max()
            .unwrap_or(0);
        let mut text = String::new();
        for Finished { what, ok, took } in &self.finished {
            let outcome = if *ok { "ok" } else { "FAILED" };
            // Writing to a String cannot fail.
            let _ = writeln!(
                text,
                "  {what:width$}  {outcome:6}  {:>7.1} s",
                took.as_secs_f64()
            );
        }
        let total: Duration = self.finished.iter().map(|step| step.took).sum();
        let _ = write!(
            text,
            "  {:width$}  {:6}  {:>7.1} s",
            "in all",
            "",
            total.as_secs_f64()
        );
        text
    }
}

/// The exit status of a command that ran to its end.
pub(crate) fn code(is_well: bool) -> ExitCode {
    if is_well {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// Prints a message of xtask between the output of commands.
pub(crate) fn say(text: &str) {
    if std::io::stderr().is_terminal() {
        eprintln!("\x1b[1mxtask: {text}\x1b[0m");
    } else {
        eprintln!("xtask: {text}");
    }
}

/// Has the kernel end a started program when xtask ends, for whatever reason.
pub(crate) fn dies_with_us(command: &mut Command) {
    let die = || {
        let signal = Some(rustix::process::Signal::TERM);
        Ok(rustix::process::set_parent_process_death_signal(signal)?)
    };
    // SAFETY: between fork and exec the closure makes one system call, and allocates
    // nothing.
    unsafe { command.pre_exec(die) };
}

/// Runs a command whose output goes to that of xtask.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let status = command
        .status()
        .with_context(|| format!("start `{}`", shown(command)))?;
    if !status.success() {
        bail!("`{}` ended with {status}", shown(command));
    }
    Ok(())
}

/// Runs a command and returns its stdout; an error contains its stderr.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    String::from_utf8(output_bytes(command)?)
        .with_context(|| format!("read what `{}` printed", shown(command)))
}

/// As [`output`], for a command whose output is not text.
pub(crate) fn output_bytes(command: &mut Command) -> Result<Vec<u8>> {
    let Output {
        status,
        stdout,
        stderr,
    } = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("start `{}`", shown(command)))?;
    if !status.success() {
        let stderr = String::from_utf8_lossy(&stderr);
        bail!(
            "`{}` ended with {status}: {}",
            shown(command),
            stderr.trim()
        );
    }
    Ok(stdout)
}

/// The command as a person would type it, without its environment.
pub(crate) fn shown(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words
        .map(|word| word.to_string_lossy())
        .collect::<Vec<_>>()
        .join(" ")
}

/// A command for `program`, through sudo when xtask does not run as root.
///
/// # Errors
///
/// xtask does not run as root, and there is no sudo: the error names the command to
/// run as root.
pub(crate) fn as_root(program: impl AsRef<std::ffi::OsStr>) -> Result<Command> {
    let program = program.as_ref();
    if is_root() {
        return Ok(Command::new(program));
    }
    if which::which("sudo").is_err() {
        bail!(
            "`{}` needs root and there is no sudo here: run this command as root",
            program.display()
        );
    }
    let mut command = Command::new("sudo");
    command.arg(program);
    Ok(command)
}

/// Whether xtask runs as root.
pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_check_lets_later_steps_run_and_shows_in_the_table() {
        let mut steps = Steps::new(2);
        assert!(!steps.check("first", || bail!("no")));
        assert!(steps.check("second", || Ok(())));
        assert!(!steps.all_ok());
        let table = steps.table();
        assert!(
            table
                .lines()
                .next()
                .is_some_and(|line| line.contains("first") && line.contains("FAILED"))
        );
        assert!(
            table
                .lines()
                .nth(1)
                .is_some_and(|line| line.contains("second") && line.contains("ok"))
        );
    }

    #[test]
    fn an_error_names_the_command_and_holds_what_it_said() {
        let error = output(Command::new("sh").args(["-c", "echo why >&2; exit 3"])).map(drop);
        let text = format!(
            "{:#}",
            error
                .err()
                .map_or_else(String::new, |error| error.to_string())
        );
        assert!(
            text.contains("sh -c") && text.contains("why") && text.contains('3'),
            "{text}"
        );
    }
}
