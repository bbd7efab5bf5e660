//! One guest in QEMU, without hardware virtualisation: it is started, its output is
//! read, and it is ended by its process id in every case. The image determines the
//! command.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use tempfile::NamedTempFile;

use crate::step;

const PROGRAM: &str = "qemu-system-x86_64";
/// Beginning of the guest's last line; see `init.sh`.
const STATUS: &[u8] = b"@status ";
/// `panic=-1`: a kernel that panics restarts at once, which ends QEMU.
const CMDLINE: &str = "console=ttyS0 quiet panic=-1";
/// Lines of the console in an error.
const CONSOLE_LINES: usize = 5;

/// The machine to boot.
pub(super) struct Machine<'a> {
    /// The kernel's image.
    pub kernel: &'a Path,
    /// The initial memory.
    pub initramfs: &'a Path,
    /// Further words of the kernel's command line.
    pub cmdline: &'a str,
}

impl Machine<'_> {
    /// Runs the image's command, and passes its output to `heard` as it comes.
    /// Returns the exit status of the command's shell.
    ///
    /// # Errors
    ///
    /// The guest ends without a status, has none within `limit`, or its kernel
    /// reports a fault.
    pub(super) fn run(&self, limit: Duration, mut heard: impl FnMut(&[u8])) -> Result<u8> {
        let console = NamedTempFile::new().context("make a file for the guest's console")?;
        let mut command = self.command();
        command
            .args(["-display", "none", "-monitor", "none"])
            .args(["-chardev", "stdio,id=output,signal=off"])
            .arg("-serial")
            .arg(format!("file:{}", console.path().display()))
            .args(["-serial", "chardev:output"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped());
        let mut guest = Guest::start(&mut command)?;
        let lines = guest.lines()?;
        let deadline = Instant::now() + limit;
        let mut status = None;
        // The newline of the last line before the status separates the two.
        let mut end: &[u8] = b"";
        loop {
            match lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) => match status_in(&line) {
                    Some(found) => status = Some(found),
                    None => {
                        heard(end);
                        let (text, line_end) = without_end(&line);
                        heard(text);
                        end = line_end;
                    }
                },
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => bail!(
                    "the guest had not ended after {} s, and --limit allows more{}",
                    limit.as_secs(),
                    last_words(console.path())
                ),
            }
        }
        guest.wait()?;
        if let Some(complaint) = complaint(&read(console.path())) {
            bail!("the guest's kernel complains: {complaint}");
        }
        status.with_context(|| {
            format!(
                "the guest ended without a status{}",
                last_words(console.path())
            )
        })
    }

    /// Connects the guest's shell to the terminal until it ends. Ctrl-A X ends QEMU,
    /// too.
    ///
    /// # Errors
    ///
    /// QEMU cannot be started, or fails.
    pub(super) fn shell(&self) -> Result<()> {
        let mut guest = Guest::start(self.command().arg("-nographic"))?;
        guest.wait()
    }

    fn command(&self) -> Command {
        let mut command = Command::new(PROGRAM);
        command
            // A hypervisor below this machine's seldom runs stock kernels, so the CPU
            // is emulated. One thread is used, because with several a guest's CPU can
            // reach a breakpoint of the kernel's code patching after the patching is
            // over (`Oops: int3`).
            .args(["-accel", "tcg,thread=single", "-cpu", "max"])
            .args(["-m", "1024", "-smp", "2", "-no-reboot", "-nic", "none"])
            .arg("-kernel")
            .arg(self.kernel)
            .arg("-initrd")
            .arg(self.initramfs)
            .arg("-append")
            .arg(format!("{CMDLINE} {}", self.cmdline));
        command
    }
}

/// A running QEMU.
struct Guest(Child);

impl Guest {
    fn start(command: &mut Command) -> Result<Self> {
        step::dies_with_us(command);
        let child = command
            .spawn()
            .with_context(|| format!("start {PROGRAM}: `cargo xtask setup` installs it"))?;
        Ok(Self(child))
    }

    /// The output line by line. A thread reads it, so that the wait can have a limit.
    fn lines(&mut self) -> Result<Receiver<Vec<u8>>> {
        let output: ChildStdout = self.0.stdout.take().context("take QEMU's output")?;
        let (to_us, lines) = channel();
        thread::spawn(move || {
            let mut output = BufReader::new(output);
            let mut line = Vec::new();
            while output
                .read_until(b'\n', &mut line)
                .is_ok_and(|read| read > 0)
            {
                if to_us.send(std::mem::take(&mut line)).is_err() {
                    break;
                }
            }
        });
        Ok(lines)
    }

    fn wait(&mut self) -> Result<()> {
        let status = self.0.wait().context("wait for QEMU")?;
        if !status.success() {
            bail!("{PROGRAM} ended with {status}");
        }
        Ok(())
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        // Both calls do nothing to a process that was waited for.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn without_end(line: &[u8]) -> (&[u8], &'static [u8]) {
    match line.strip_suffix(b"\n") {
        Some(text) => (text, b"\n"),
        None => (line, b""),
    }
}

fn status_in(line: &[u8]) -> Option<u8> {
    let rest = line.strip_prefix(STATUS)?;
    str::from_utf8(rest).ok()?.trim().parse().ok()
}

/// The line in which a kernel reports a fault of its own.
fn complaint(console: &str) -> Option<&str> {
    let signs = ["BUG: ", "Oops", "Kernel panic", "WARNING: CPU"];
    console
        .lines()
        .find(|line| signs.iter().any(|sign| line.contains(sign)))
        .map(str::trim)
}

fn read(console: &Path) -> String {
    let bytes = fs::read(console).unwrap_or_default();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The last lines of the console, for an error.
fn last_words(console: &Path) -> String {
    let text = read(console);
    let lines: Vec<_> = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .collect();
    let from = lines.len().saturating_sub(CONSOLE_LINES);
    match lines[from..].join(" / ") {
        said if said.is_empty() => said,
        said => format!("; its console: {said}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_status_is_a_line_of_its_own() {
        assert_eq!(status_in(b"@status 137\n"), Some(137));
        assert_eq!(status_in(b"said @status 0\n"), None);
        assert_eq!(status_in(b"@status of things\n"), None);
    }

    #[test]
    fn a_kernels_fault_is_found_on_its_console() {
        let console = "Booting\r\n[ 1.0] BUG: kernel NULL pointer dereference\r\n[ 1.1] RIP\r\n";
        assert_eq!(
            complaint(console),
            Some("[ 1.0] BUG: kernel NULL pointer dereference")
        );
        assert_eq!(complaint("all is well"), None);
    }
}
