//! `doctor`: the kernel's features, the resulting profile, what is missing, and the
//! remedy.
//!
//! Features are tried where possible: the kernel programs are loaded, attached, and
//! removed again.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::process::ExitCode;

use serde::Serialize;

use super::setup::Setting;
use super::{Common, Error, Format};
use crate::bpf::{self, CAPABILITIES, Facts, Kernel, Profile};

/// Arguments of `doctor`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Form of the output
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum State {
    Ok,
    Missing,
    Unknown,
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Ok => "ok",
            Self::Missing => "missing",
            Self::Unknown => "unknown",
        })
    }
}

/// One point of the report.
#[derive(Clone, Debug, Serialize)]
struct Check {
    name: &'static str,
    state: State,
    says: String,
    #[serde(skip_serializing_if = "str::is_empty")]
    remedy: &'static str,
}

impl Check {
    fn new(
        name: &'static str,
        state: State,
        says: impl Into<String>,
        remedy: &'static str,
    ) -> Self {
        Self {
            name,
            state,
            says: says.into(),
            remedy: if state == State::Ok { "" } else { remedy },
        }
    }
}

/// The whole report.
#[derive(Debug, Serialize)]
struct Report {
    kernel: String,
    /// The profile that `auto` selects; `None` where nothing can be recorded.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "as_text")]
    profile: Option<Profile>,
    /// Whether the guard refuses operations beyond its limit.
    refuses: bool,
    /// Whether the guard sees the object that an operation is about to destroy.
    #[serde(rename = "seesVictims")]
    sees_victims: bool,
    checks: Vec<Check>,
    /// Instructions that the verifier visited for each program.
    verified: BTreeMap<String, u32>,
}

/// Exits with 0 when recording works, with 1 when it does not.
pub(super) fn run(args: &Args, common: &Common) -> Result<ExitCode, Error> {
    let facts = Facts::gather();
    let setting = Setting::load(common)?;
    let tried =
        Kernel::load(&setting.recorder(false).kernel, None).and_then(|(mut kernel, _rings)| {
            kernel.attach()?;
            Ok(kernel)
        });
    let works = tried.is_ok();
    let report = Report {
        kernel: facts.release.clone(),
        profile: tried.as_ref().ok().map(Kernel::profile),
        refuses: tried.as_ref().is_ok_and(Kernel::refuses),
        sees_victims: tried.as_ref().is_ok_and(Kernel::sees_victims),
        checks: checks(&facts, &tried, &setting.config.recorder.pins),
        verified: tried
            .as_ref()
            .map(|kernel| kernel.verified().into_iter().collect())
            .unwrap_or_default(),
    };
    match args.format {
        Format::Text => print!("{report}"),
        Format::Json => println!("{}", serde_json::json!(report)),
    }
    Ok(if works {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn as_text<S: serde::Serializer>(profile: &Option<Profile>, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(&profile.as_ref().map_or(String::new(), ToString::to_string))
}

fn programs(tried: &Result<Kernel, bpf::Error>) -> Check {
    let name = "kernel programs";
    match tried {
        Ok(kernel) if kernel.absent().is_empty() => Check::new(
            name,
            State::Ok,
            format!("all{} load and attach", kind(kernel)),
            "",
        ),
        Ok(kernel) => {
            let absent: Vec<_> = kernel.absent().iter().map(ToString::to_string).collect();
            Check::new(
                name,
                State::Missing,
                format!(
                    "those{} load and attach, but for some this kernel has no hook: {}",
                    kind(kernel),
                    absent.join("; ")
                ),
                "a newer kernel, as said for each",
            )
        }
        Err(error) => Check::new(
            name,
            State::Missing,
            // A verifier's log has thousands of lines; the last ones give the reason.
            last_lines(&error.to_string()),
            "put right what is missing below; if nothing is, report this output",
        ),
    }
}

/// The kind of the programs, where it is not the usual one.
fn kind(kernel: &Kernel) -> &'static str {
    if kernel.is_old() {
        " for kernels before 5.17"
    } else {
        ""
    }
}

/// Why profiles of higher preference are not in use.
fn passed_over(tried: &Result<Kernel, bpf::Error>) -> Vec<Check> {
    let Ok(kernel) = tried else {
        return Vec::new();
    };
    kernel
        .passed_over()
        .iter()
        .map(|(profile, why)| {
            let (name, gain) = match profile {
                Profile::Lsm => (
                    "profile lsm",
                    "with it the guard refuses what goes over its limit, and paths are the kernel's own: allow BPF LSM programs, see below",
                ),
                _ => (
                    "profile fentry",
                    "with it paths are the kernel's own, and the guard refuses what goes over its limit: allow programs on trampolines, see below",
                ),
            };
            Check::new(name, State::Missing, refusal(why), gain)
        })
        .collect()
}

/// Why a profile is not in use, without the advice to run `doctor`.
fn refusal(why: &bpf::Error) -> String {
    match why {
        bpf::Error::ProfileRefused { .. } => "the kernel refuses its programs".to_owned(),
        other => last_lines(&other.to_string()),
    }
}

/// Whether the guard refuses, or kills after the operation.
fn refusing(tried: &Result<Kernel, bpf::Error>) -> Check {
    let name = "refusing";
    match tried {
        Ok(kernel) if kernel.refuses() => Check::new(
            name,
            State::Ok,
            "the operation over the guard's limit is refused, and its session ended",
            "",
        ),
        Ok(kernel) => Check::new(
            name,
            State::Missing,
            format!("{AFTERWARDS}{}", because(kernel)),
            "it takes the profile lsm, or fentry on a kernel that takes fmod_ret programs",
        ),
        Err(_) => Check::new(name, State::Missing, "nothing is guarded", ""),
    }
}

/// Whether the guard distinguishes files that may be thrown away.
fn judging(tried: &Result<Kernel, bpf::Error>) -> Check {
    let name = "judging";
    match tried {
        Ok(kernel) if kernel.sees_victims() => Check::new(
            name,
            State::Ok,
            "the guard sees each file that is destroyed, and whether the session made it",
            "",
        ),
        Ok(_) => Check::new(
            name,
            State::Missing,
            "the guard counts every deleted name, the session's own as well, and nothing else",
            "it takes the profile lsm or fentry, or Linux 6.13 for the tracepoints of inode times",
        ),
        Err(_) => Check::new(name, State::Missing, "nothing is guarded", ""),
    }
}

const AFTERWARDS: &str =
    "the guard ends a session at the exit of the call that meets its limit, but refuses none";

fn because(kernel: &Kernel) -> String {
    kernel
        .not_refusing()
        .map_or(String::new(), |why| format!(": {}", refusal(why)))
}

/// Most lines of an error that are shown.
const SHOWN_LINES: usize = 3;

fn last_lines(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(SHOWN_LINES)..].join(" / ")
}

fn checks(facts: &Facts, tried: &Result<Kernel, bpf::Error>, pins: &Path) -> Vec<Check> {
    let mut checks = vec![programs(tried)];
    checks.extend(passed_over(tried));
    checks.extend([
        btf(facts),
        capabilities(facts),
        lockdown(facts),
        lsm(facts),
        fentry(facts),
        refusing(tried),
        judging(tried),
        outliving(pins),
    ]);
    checks
}

/// Whether a daemon can take over after another was killed.
fn outliving(pins: &Path) -> Check {
    let name = "outliving";
    if pins.as_os_str().is_empty() {
        let why = "sessions end with a daemon that is killed: recorder.pins is empty";
        return Check::new(name, State::Missing, why, "name a directory on a bpffs");
    }
    match bpf::is_on_bpffs(pins) {
        Ok(true) => Check::new(
            name,
            State::Ok,
            "kernel programs and sessions outlive a daemon that is killed",
            "",
        ),
        Ok(false) => Check::new(
            name,
            State::Missing,
            format!(
                "sessions end with a daemon that is killed: {} is on no bpffs",
                pins.display()
            ),
            "mount -t bpf bpf /sys/fs/bpf",
        ),
        Err(why) => Check::new(
            name,
            State::Unknown,
            why.to_string(),
            "mount -t bpf bpf /sys/fs/bpf",
        ),
    }
}

fn btf(facts: &Facts) -> Check {
    let state = if facts.btf { State::Ok } else { State::Missing };
    Check::new(
        "type information",
        state,
        "/sys/kernel/btf/vmlinux",
        "boot a kernel built with CONFIG_DEBUG_INFO_BTF=y; in a container, mount /sys/kernel/btf",
    )
}

fn capabilities(facts: &Facts) -> Check {
    let absent: Vec<&str> = CAPABILITIES
        .iter()
        .filter(|(number, _)| !facts.has(*number))
        .map(|(_, name)| *name)
        .collect();
    let (state, says) = if absent.is_empty() {
        (State::Ok, "all that are needed".to_owned())
    } else {
        (State::Missing, format!("without {}", absent.join(", ")))
    };
    Check::new("capabilities", state, says, "run as root")
}

fn lockdown(facts: &Facts) -> Check {
    match facts.lockdown.as_deref() {
        Some("confidentiality") => Check::new(
            "lockdown",
            State::Missing,
            "confidentiality: kernel memory may not be read",
            "boot with lockdown=integrity, or without lockdown=",
        ),
        Some(other) => Check::new("lockdown", State::Ok, other, ""),
        None => Check::new(
            "lockdown",
            State::Unknown,
            "/sys/kernel/security/lockdown is not there",
            "mount securityfs at /sys/kernel/security to find out",
        ),
    }
}

/// Whether BPF LSM programs can decide on this kernel.
fn lsm(facts: &Facts) -> Check {
    let name = "BPF LSM";
    let gain = "an operation can be refused before it happens";
    if facts.option("BPF_LSM") == Some("") {
        return Check::new(
            name,
            State::Missing,
            format!("this kernel is built without it; with it, {gain}"),
            "a kernel built with CONFIG_BPF_LSM=y, booted with bpf in its lsm= list",
        );
    }
    match facts.bpf_lsm {
        Some(true) => Check::new(name, State::Ok, "bpf is an active security module", ""),
        Some(false) => Check::new(
            name,
            State::Missing,
            format!("bpf is not an active security module; if it were, {gain}"),
            "add ,bpf to the lsm= list on the kernel's command line and reboot",
        ),
        None => Check::new(
            name,
            State::Unknown,
            "the list of security modules cannot be read",
            "mount securityfs at /sys/kernel/security to find out",
        ),
    }
}

/// Whether the kernel has trampolines, on which fentry and fmod_ret programs run.
fn fentry(facts: &Facts) -> Check {
    let name = "trampolines";
    if facts.ftrace_enabled == Some(false) {
        return Check::new(
            name,
            State::Missing,
            "/proc/sys/kernel/ftrace_enabled is 0",
            "sysctl kernel.ftrace_enabled=1",
        );
    }
    match facts.option("DYNAMIC_FTRACE_WITH_DIRECT_CALLS") {
        Some("y") => Check::new(name, State::Ok, "built in", ""),
        Some(_) => Check::new(
            name,
            State::Missing,
            "this kernel is built without them: fentry and fmod_ret programs do not attach",
            "a kernel built with CONFIG_FUNCTION_TRACER=y and CONFIG_DYNAMIC_FTRACE=y",
        ),
        None => Check::new(
            name,
            State::Unknown,
            "the kernel's configuration is not to be found",
            "look for CONFIG_DYNAMIC_FTRACE_WITH_DIRECT_CALLS in it",
        ),
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "kernel    {}", self.kernel)?;
        match self.profile {
            Some(profile) => writeln!(f, "profile   {profile}")?,
            None => writeln!(f, "profile   none: nothing can be recorded here")?,
        }
        writeln!(f)?;
        for check in &self.checks {
            writeln!(f, "{:<8} {:<17} {}", check.state, check.name, check.says)?;
            if !check.remedy.is_empty() {
                writeln!(f, "{:26} → {}", "", check.remedy)?;
            }
        }
        Ok(())
    }
}
