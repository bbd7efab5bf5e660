//! The configuration: a TOML file over built-in defaults, every key checked.
//!
//! Not here: what the values mean to the rooms that use them.

pub mod built_in;
mod duration;
mod error;
mod gate;
mod guard;
mod handoff;

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use error::Error;
use error::Wrong;
pub use gate::{Answer, Gate, GateAction, GateRule, alternatives, glob};
pub use guard::{Guard, GuardAction, Protect, is_suffix};
pub use handoff::{HandOff, Heirs, WAYS, Way, glob as path_glob};

/// Where it is looked for when none is named.
pub const DEFAULT_FILE: &str = "/etc/agent-recorder/config.toml";
/// Where spool, keys and control socket are by default.
pub const DEFAULT_STATE_DIR: &str = "/var/lib/agent-recorder";

/// Where kernel programs are pinned by default.
pub const DEFAULT_PINS: &str = "/sys/fs/bpf/agent-recorder";

/// Everything that can be set.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The recorder itself.
    pub recorder: Recorder,
    /// The kernel side.
    pub kernel: Kernel,
    /// The guard.
    pub guard: Guard,
    /// Programs that are judged before they run.
    pub gate: Gate,
    /// Work that leaves a session.
    pub handoff: HandOff,
    /// What is kept on the host.
    pub spool: Spool,
    /// Where the records are sent.
    pub stream: Stream,
    /// What `collect` takes.
    pub collector: Collector,
    /// The built-in rules.
    pub agents: Agents,
    /// Rules beyond the built-in ones.
    #[serde(rename = "agent", skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<AgentRule>,
}

/// `[recorder]`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Recorder {
    /// Spool, keys and control socket.
    pub state_dir: PathBuf,
    /// Which hooks to use.
    pub profile: Profile,
    /// How often a daemon shows that its hooks still fire; 0s: never.
    #[serde(with = "duration")]
    pub canary: Duration,
    /// Where a daemon pins its kernel programs, which go on there when it is
    /// killed: a directory on a bpffs. Empty: nowhere, they end with it.
    pub pins: PathBuf,
    /// What a daemon that is stopped (SIGTERM) does with its sessions.
    pub on_stop: OnStop,
}

/// What becomes of sessions when their daemon is stopped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum OnStop {
    /// They are told of as detached, and nothing of the kernel side is left.
    #[default]
    End,
    /// They go on as if it were killed, for the next one: for restarts and upgrades.
    Leave,
}

impl Default for Recorder {
    fn default() -> Self {
        Self {
            state_dir: DEFAULT_STATE_DIR.into(),
            profile: Profile::Auto,
            canary: Duration::from_secs(30),
            pins: DEFAULT_PINS.into(),
            on_stop: OnStop::End,
        }
    }
}

/// The set of kernel hooks in use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Profile {
    /// The strongest that this kernel allows.
    #[default]
    Auto,
    /// BPF LSM programs decide before the act.
    Lsm,
    /// Programs on the functions that call the security hooks decide (fmod_ret).
    Fentry,
    /// Tracepoints record, and kill at the exit of a call.
    Tracepoint,
}

/// `[kernel]`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Kernel {
    /// Ring of exec, exit, fork, deletes and the guard, bytes.
    pub priority_ring_bytes: u32,
    /// Ring of all else, bytes.
    pub bulk_ring_bytes: u32,
}

impl Default for Kernel {
    fn default() -> Self {
        Self {
            priority_ring_bytes: 8 << 20,
            bulk_ring_bytes: 16 << 20,
        }
    }
}

/// `[spool]`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Spool {
    /// The oldest records are taken away when there are more bytes than this.
    pub max_bytes: u64,
    /// And when they are older than this.
    #[serde(with = "duration")]
    pub max_age: Duration,
}

impl Default for Spool {
    fn default() -> Self {
        Self {
            // Some 40 million records.
            max_bytes: 8 << 30,
            // A quarter of a year.
            max_age: Duration::from_secs(90 * 24 * 3600),
        }
    }
}

/// `[stream]`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Stream {
    /// `https://HOST:PORT`, or `http://127.0.0.1:PORT`; absent: everything stays on the host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub collector: Option<String>,
    /// The directory of `ca.pem`, `host.pem` and `host.key` for `https`; absent: `keys` in the state directory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keys: Option<PathBuf>,
    /// How long a recorder that ends waits for the collector's acknowledgement.
    #[serde(with = "duration")]
    pub drain: Duration,
}

impl Default for Stream {
    fn default() -> Self {
        Self {
            collector: None,
            keys: None,
            drain: Duration::from_secs(5),
        }
    }
}

/// `[collector]`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Collector {
    /// Where it listens; anything but loopback needs `keys`.
    pub listen: SocketAddr,
    /// Where it keeps the streams; the command line may name it instead.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub store: Option<PathBuf>,
    /// The directory of `ca.pem`, `collector.pem` and `collector.key`; absent: no TLS, and loopback only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keys: Option<PathBuf>,
    /// Connections at one time.
    pub connections: usize,
    /// Streams that are written at one time.
    pub streams: usize,
}

impl Default for Collector {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 4319)),
            store: None,
            keys: None,
            // A connection holds some 100 kB, a stream at work some MiB: both fit into a few GiB.
            connections: 1024,
            streams: 1024,
        }
    }
}

/// `[agents]`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Agents {
    /// Whether the built-in rules are used.
    pub builtin: bool,
    /// Agents whose built-in rules are not.
    pub disable: Vec<String>,
}

impl Default for Agents {
    fn default() -> Self {
        Self {
            builtin: true,
            disable: Vec::new(),
        }
    }
}

/// `[[agent]]`: any one pattern makes it that agent.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct AgentRule {
    /// The agent's name.
    pub name: String,
    /// Last components of program files.
    #[serde(default)]
    pub executables: Vec<String>,
    /// Last one or two components of a script among the first arguments.
    #[serde(default)]
    pub scripts: Vec<String>,
    /// `NAME=value` or `NAME`.
    #[serde(default)]
    pub environment: Vec<String>,
}

impl Config {
    /// Reads `file`, or [`DEFAULT_FILE`] where that exists, or takes the defaults.
    ///
    /// # Errors
    ///
    /// A named file is missing, or something in it is wrong: one line that says where and what.
    pub fn load(file: Option<&Path>) -> Result<Self, Error> {
        let path = file.unwrap_or(Path::new(DEFAULT_FILE));
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if file.is_none() && error.kind() == io::ErrorKind::NotFound => {
                return Ok(Self::default());
            }
            Err(source) => {
                return Err(Error::Read {
                    path: path.to_owned(),
                    source,
                });
            }
        };
        Self::parse(path, &text)
    }

    fn parse(path: &Path, text: &str) -> Result<Self, Error> {
        let config: Self =
            toml::from_str(text).map_err(|error| Error::syntax(path, text, &error))?;
        config
            .check()
            .map_err(|wrong| Error::value(path, text, &wrong))?;
        Ok(config)
    }

    fn check(&self) -> Result<(), Wrong> {
        for (key, bytes) in [
            (
                "kernel.priority_ring_bytes",
                self.kernel.priority_ring_bytes,
            ),
            ("kernel.bulk_ring_bytes", self.kernel.bulk_ring_bytes),
        ] {
            if !bytes.is_power_of_two() || !(1 << 16..=1 << 30).contains(&bytes) {
                return Err(Wrong::new(
                    key,
                    "must be a power of two from 65536 to 1073741824",
                ));
            }
        }
        // A canary takes some hundredths of a second.
        if !self.recorder.canary.is_zero() && self.recorder.canary < Duration::from_secs(1) {
            let why = "must be at least 1s, or 0s for none";
            return Err(Wrong::new("recorder.canary", why));
        }
        let pins = &self.recorder.pins;
        if !pins.as_os_str().is_empty() && !pins.is_absolute() {
            return Err(Wrong::new(
                "recorder.pins",
                "must be an absolute path, or empty",
            ));
        }
        self.guard.check()?;
        self.gate.check()?;
        self.handoff.check()?;
        // Less would be less than what is written and what a collector is sent at one time.
        if !(256 << 20..=1 << 60).contains(&self.spool.max_bytes) {
            let why = "must be from 256 MiB to 1 EiB, in bytes";
            return Err(Wrong::new("spool.max_bytes", why));
        }
        if self.spool.max_age < Duration::from_secs(3600) {
            return Err(Wrong::new("spool.max_age", "must be at least 1h"));
        }
        for (key, number) in [
            ("collector.connections", self.collector.connections),
            ("collector.streams", self.collector.streams),
        ] {
            // The upper end is what tokio's semaphores take.
            if !(1..=1_000_000).contains(&number) {
                return Err(Wrong::new(key, "must be from 1 to 1000000"));
            }
        }
        if let Some(collector) = &self.stream.collector {
            check_address(collector).map_err(|why| Wrong::new("stream.collector", why))?;
        }
        Ok(())
    }

    /// The whole as TOML.
    pub fn to_toml(&self) -> String {
        // Strings, numbers and tables only: what can be read can be written.
        toml::to_string(self).unwrap_or_default()
    }
}

/// Records say what happened on a host: in plaintext they stay on it.
fn check_address(collector: &str) -> Result<(), &'static str> {
    if collector.starts_with("https://") {
        return Ok(());
    }
    let rest = collector
        .strip_prefix("http://")
        .ok_or("must be https://HOST:PORT, or http://127.0.0.1:PORT")?;
    let loopback = match rest.parse::<SocketAddr>() {
        Ok(address) => address.ip().is_loopback(),
        Err(_) => rest.starts_with("localhost:"),
    };
    if loopback {
        Ok(())
    } else {
        Err("must be https://HOST:PORT: http is for loopback addresses only")
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn complaint(text: &str) -> String {
        Config::parse(Path::new("c.toml"), text)
            .unwrap_err()
            .to_string()
    }

    #[test]
    fn defaults_read_back_as_they_were_written() {
        let config = Config::default();
        assert_eq!(
            Config::parse(Path::new("c.toml"), &config.to_toml()).unwrap(),
            config
        );
    }

    #[test]
    fn what_is_wrong_is_told_in_one_line_with_its_place() {
        for (text, place) in [
            ("[guard]\nlimt = 5\n", "c.toml:2:1: "),
            ("[guard]\nlimit = \"many\"\n", "c.toml:2:9: "),
            ("[guard]\nlimit = 0\n", "c.toml:2:1: "),
            ("[guard]\nwindow = \"soon\"\n", "c.toml:2:10: "),
            ("[spool]\nmax_bytes = 1000\n", "c.toml:2:1: "),
            ("[spool]\nmax_age = \"5s\"\n", "c.toml:2:1: "),
            ("[recorder]\ncanary = \"5ms\"\n", "c.toml:2:1: "),
            ("[recorder]\npins = \"here\"\n", "c.toml:2:1: "),
            ("[kernel]\n\nbulk_ring_bytes = 100000\n", "c.toml:3:1: "),
            ("[guard\n", "c.toml:1:7: "),
            (
    #[test]
    fn durations_are_written_as_people_write_them() {
        let text = Config::default().to_toml();
        for line in [
            "canary = \"30s\"",
            "window = \"10s\"",
            "long_window = \"1h\"",
            "max_age = \"2160h\"",
        ] {
            assert!(text.lines().any(|it| it == line), "{line} is not in {text}");
        }
    }

    #[test]
    fn durations_are_read_in_the_forms_that_the_reference_names() {
        for text in ["500ms", "10s", "1h 30m", "1h 2m 3s 4ms 5us 6ns"] {
            let text = format!("[stream]\ndrain = \"{text}\"\n");
            assert!(Config::parse(Path::new("c.toml"), &text).is_ok(), "{text}");
        }
        let complaint = complaint("[spool]\nmax_age = \"90 fortnights\"\n");
        assert!(complaint.starts_with("c.toml:2:11: "), "{complaint}");
    }

                "[stream]\ncollector = \"http://192.0.2.1:4319\"\n",
                "c.toml:2:1: ",
            ),
            ("[collector]\nstreams = 0\n", "c.toml:2:1: "),
        ] {
            let complaint = complaint(text);
            assert!(
                complaint.starts_with(place) && !complaint.contains('\n'),
                "{complaint}"
            );
        }
    }

    #[test]
    fn a_guard_that_makes_no_sense_is_refused_with_its_line() {
        for (text, place, what) in [
            (
                "limit = 0\nwindow = \"0s\"\n",
                "2:1",
                "`limit` must be from 1",
            ),
            ("window = \"0s\"\n", "2:1", "`window` must be from 100ms"),
            ("window = \"-1s\"\n", "2:10", "cannot be negative"),
            (
                "window = \"99999999999999999999h\"\n",
                "2:10",
                "is no duration",
            ),
            ("limit = -1\n", "2:9", "invalid value"),
            ("limit = 1025\n", "2:1", "`limit` must be from 1"),
            ("limit = 99999999999999999999\n", "2:9", ""),
            ("bytes = 1\n", "2:1", "`bytes` must be 0, or"),
            (
                "bytes = 9000000000000000000\n",
                "2:1",
                "`bytes` must be 0, or",
            ),
            ("long_limit = 9000000000000000000\n", "2:1", "at most"),
            // At odds with a default: the one that is set is pointed at.
            ("\nlimit = 600\n", "3:1", "`long_limit` must not be below"),
            (
                "bytes = 1099511627776\n",
                "2:1",
                "`long_bytes` must not be below",
            ),
            (
                "window = \"2m\"\nlong_window = \"1m\"\n",
                "3:1",
                "`long_window`",
            ),
            ("temporary = [\"/a\", \"b\"]\n", "2:20", "is not absolute"),
            ("temporary = [\"/\"]\n", "2:14", "nothing would ever count"),
            ("throwaway = [\"a\", \"a//b\"]\n", "2:19", "is no name"),
            (
                "throwaway = [\"a\"]\nkeep = [\"a\"]\n",
                "3:9",
                "`throwaway` has, too",
            ),
            ("keep = [\"node_modlues\"]\n", "2:9", "is not built in"),
            (
                "builtin = false\nkeep = [\"build\"]\n",
                "3:9",
                "`builtin` is false",
            ),
            (
                "[[guard.protect]]\npath = \"data\"\n",
                "3:1",
                "is not absolute",
            ),
            (
                "[[guard.protect]]\nlimit = 4294967296\npath = \"/d\"\n",
                "3:9",
                "invalid value",
            ),
            (
                "temporary = [\"/d/t\"]\n[[guard.protect]]\npath = \"/d\"\n",
                "2:14",
                "which the protected",
            ),
            (
                "[[guard.protect]]\npath = \"/d\"\n[[guard.protect]]\nlimit = 3\npath = \"/d/\"\n",
                "6:1",
                "is protected twice",
            ),
        ] {
            let complaint = complaint(&format!("[guard]\n{text}"));
            assert!(
                complaint.starts_with(&format!("c.toml:{place}: "))
                    && complaint.contains(what)
                    && !complaint.contains('\n'),
                "{text}{complaint}"
            );
        }
    }

    #[test]
    fn a_key_of_the_same_name_elsewhere_is_not_blamed() {
        let text = "guard.limit = 2000\n[[guard.protect]]\npath = \"/d\"\nlimit = 5\n";
        assert!(
            complaint(text).starts_with("c.toml:1:7: "),
            "{}",
            complaint(text)
        );
    }

    #[test]
    fn more_protected_paths_than_a_session_counts_are_refused() {
        let text: String = (0..33)
            .map(|number| format!("[[guard.protect]]\npath = \"/d{number}\"\n"))
            .collect();
        let complaint = complaint(&text);
        assert!(complaint.starts_with("c.toml:66:1: "), "{complaint}");
    }

    #[test]
    fn a_gate_that_makes_no_sense_is_refused_with_its_line() {
        for (text, place, what) in [
            ("timeout = \"0s\"\n", "2:1", "must be from 1s"),
            ("disable = [\"terraform\"]\n", "2:12", "is no built-in rule"),
            ("answer = \"maybe\"\n", "2:10", ""),
            (
                "[[gate.rule]]\nname = \"x\"\n",
                "2:1",
                "must name a program",
            ),
            (
                "[[gate.rule]]\nname = \"x\"\nprograms = [\"/bin/x\"]\n",
                "4:1",
                "is no name of a program",
            ),
            (
                "[[gate.rule]]\nname = \"x\"\nprograms = [\"x\"]\nwords = [\"a|\"]\n",
                "5:1",
                "is no pattern",
            ),
        ] {
            let complaint = complaint(&format!("[gate]\n{text}"));
            assert!(
                complaint.starts_with(&format!("c.toml:{place}: "))
                    && complaint.contains(what)
                    && !complaint.contains('\n'),
                "{text}{complaint}"
            );
        }
    }

    #[test]
    fn a_named_file_must_be_there() {
        assert!(Config::load(Some(Path::new("/no/such/file"))).is_err());
    }
}
