//! The configuration: a TOML file over built-in defaults, every key checked.
//!
//! Not here: the meaning of the values for the rooms that use them.

mod agents;
mod built_in;
mod duration;
mod error;
mod exec_gate;
mod gate;
mod gate_rule;
mod guard;
mod handoff;
mod throwaway;

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use agents::{AgentRule, AgentRules, Agents};
pub use error::Error;
use error::Wrong;
pub use exec_gate::{CommandLine, ExecGate, GatePrograms, OptionStyle, Runner, TestedRule};
pub use gate::{Answer, Gate};
pub use gate_rule::{EVERY_PROGRAM, GateAction, GateRule, alternatives, glob};
pub use guard::{Guard, GuardAction, Protect, is_suffix};
pub use handoff::{HandOff, HandOffWay, HandOffWays, Heirs, Way, glob as path_glob};
pub use throwaway::Throwaway;

/// Path of the configuration, unless the command line names another.
pub const DEFAULT_FILE: &str = "/etc/agent-recorder/config.toml";
/// Default directory of spool, keys and control socket.
pub const DEFAULT_STATE_DIR: &str = "/var/lib/agent-recorder";

/// Default directory of the kernel programs' pins.
pub const DEFAULT_PINS: &str = "/sys/fs/bpf/agent-recorder";

/// The whole configuration. The comments on the fields of this struct and of
/// those in it are the text of docs/reference/configuration.md.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The recorder itself: `agent-recorder daemon`, and `agent-recorder run` where no daemon runs.
    pub recorder: Recorder,
    /// The buffers between the kernel programs and the recorder.
    pub kernel: Kernel,
    /// The guard counts what a session destroys and acts when a limit is reached.
    pub guard: Guard,
    /// The gate stops a session's program before its first instruction when the program can destroy
    /// something that is no file of this host, and judges it by rules.
    pub gate: Gate,
    /// Ways by which a session hands work to processes outside it. The recorder writes a record for each.
    pub handoff: HandOff,
    /// How many records stay on the host, and for how long. The recorder removes the oldest records first.
    pub spool: Spool,
    /// The connection to a collector, to which the recorder sends its records.
    pub stream: Stream,
    /// The collector, `agent-recorder collect`. Its command-line options take precedence over these keys.
    pub collector: Collector,
    /// The built-in rules by which the recorder recognises an agent.
    pub agents: Agents,
    /// One more rule by which the recorder recognises an agent. A program that matches any one pattern of
    /// the rule starts a session. A pattern has 1 to 47 bytes.
    #[serde(rename = "agent", skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<AgentRule>,
}

/// `[recorder]`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Recorder {
    /// Directory of the spool and of the host's keys. The control socket is `control.sock` in it, except for
    /// the default directory, whose socket is `/run/agent-recorder/control.sock`.
    pub state_dir: PathBuf,
    /// Kernel hooks that the recorder uses. `agent-recorder doctor` says which profiles a kernel allows.
    pub profile: Profile,
    /// Interval at which the daemon checks that its hooks still fire. At least `1s`; `0s` turns the check off.
    #[serde(with = "duration")]
    pub canary: Duration,
    /// Directory on a bpffs where the daemon pins its kernel programs. They keep recording there after the
    /// daemon was killed, and the next daemon takes them over. An absolute path; when empty, the programs end
    /// with the daemon.
    pub pins: PathBuf,
    /// What happens to the running sessions when the daemon receives SIGTERM or SIGINT.
    pub on_stop: OnStop,
}

/// The treatment of running sessions when their daemon is stopped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum OnStop {
    /// Each session ends with the reason `DETACHED`, and the daemon removes its kernel programs.
    #[default]
    End,
    /// The sessions go on, and the next daemon takes them over: for restarts and upgrades.
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
    /// The strongest profile that this kernel allows, in the order of this list.
    #[default]
    Auto,
    /// BPF LSM programs see each operation before it happens, and can refuse it.
    Lsm,
    /// Programs on the kernel's security functions (`fmod_ret`) see each operation before it happens. They
    /// can refuse it on kernels that take such programs.
    Fentry,
    /// Tracepoints record each system call at its exit, where they can kill the caller. They refuse nothing.
    Tracepoint,
}

/// `[kernel]`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Kernel {
    /// Size of the ring buffer for exec, exit, fork and delete events and for those of the guard, in bytes.
    /// A power of two from 65536 to 1073741824.
    pub priority_ring_bytes: u32,
    /// Size of the ring buffer for all other events, in bytes. A power of two from 65536 to 1073741824.
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
    /// Size that the spool's segments may have together, in bytes, from 268435456 (256 MiB) to 1 EiB. Above
    /// it, the recorder removes the oldest segment.
    pub max_bytes: u64,
    /// Age that a record may have. At least `1h`. The recorder removes older segments.
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
    /// Address of the collector: `https://HOST:PORT`, or `http://127.0.0.1:PORT` on this host. When unset,
    /// every record stays on the host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub collector: Option<String>,
    /// Directory of `ca.pem`, `host.pem` and `host.key`, as `agent-recorder keys host` makes them. Used with
    /// `https` only. When unset, `keys` in the state directory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keys: Option<PathBuf>,
    /// Longest time for which a recorder that ends waits until the collector has acknowledged its records.
    /// With `0s` it does not wait. Records without an acknowledgement stay in the spool.
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
    /// Address and port on which the collector listens. Any address but a loopback address needs `keys`.
    pub listen: SocketAddr,
    /// Directory in which the collector stores the streams. When unset, `--store` must name one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub store: Option<PathBuf>,
    /// Directory of `ca.pem`, `collector.pem` and `collector.key`, as `agent-recorder keys collector` makes
    /// them. The collector then takes hosts of that CA only. When unset, the collector uses no TLS and listens
    /// on loopback addresses only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keys: Option<PathBuf>,
    /// Largest number of simultaneous connections, from 1 to 1000000.
    pub connections: usize,
    /// Largest number of streams that the collector writes at one time, from 1 to 1000000.
    pub streams: usize,
}

impl Default for Collector {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 4319)),
            store: None,
            keys: None,
            // A connection takes some 100 kB, a stream at work some MiB: both fit
            // into a few GiB.
            connections: 1024,
            streams: 1024,
        }
    }
}

impl Config {
    /// Reads `file`, or [`DEFAULT_FILE`] where that exists; otherwise takes the
    /// defaults.
    ///
    /// # Errors
    ///
    /// A named file is missing, or its contents are invalid: one line with the
    /// position and the message.
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
        // A smaller spool could not hold the open segment and the records that are
        // being sent.
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
            // tokio's semaphores accept no larger number.
            if !(1..=1_000_000).contains(&number) {
                return Err(Wrong::new(key, "must be from 1 to 1000000"));
            }
        }
        if let Some(collector) = &self.stream.collector {
            check_address(collector).map_err(|why| Wrong::new("stream.collector", why))?;
        }
        Ok(())
    }

    /// The whole configuration as TOML.
    pub fn to_toml(&self) -> String {
        // The configuration consists of strings, numbers and tables, so writing it
        // cannot fail.
        toml::to_string(self).unwrap_or_default()
    }
}

/// Records show what happened on a host, so in plaintext they stay on it.
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
            // The value contradicts a default: the position is that of the key in the
            // file.
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
            (
                "[[gate.rule]]\nname = \"x\"\nprograms = [\"x\"]\nholds = [\"x y\"]\n",
                "5:1",
                "unknown field",
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
    fn a_rule_that_could_match_nothing_is_refused_with_the_remedy() {
        for (key, what) in [
            ("words = [\"-f\"]", "use `any`"),
            ("words = [\"a|**\", \"b\"]", "write two rules"),
            ("words = [\"a\", \"**\"]", "after which anything"),
            ("any = [\"\"]", "is no pattern"),
            ("any = [\"--[ab]\"]", "brackets are no wildcards"),
            ("any = [\"x{a,b}\"]", "brackets are no wildcards"),
            ("unless = [\"*\"]", "remove the rule"),
            ("until = [\"list\"]", "remove it"),
            ("values = [\"label\"]", "begins with a hyphen"),
            ("flags = [\"-x=1\"]", "without its value"),
            ("statements = [\"drop table\"]", "by its first word"),
            ("code = [\"db.drop( )\"]", "without its blanks"),
            ("environment = [\"CI=true\"]", "without its value"),
            (
                "interpreters = [\"/usr/bin/python3\"]",
                "without its directory",
            ),
            ("programs = [\"a|b\"]", "is no name of a program"),
            ("programs = [\"*\"]\naction = \"hold\"", "must be \"alert\""),
            ("programs = [\"*\", \"x\"]", "beside others"),
        ] {
            let programs = if key.starts_with("programs") {
                ""
            } else {
                "programs = [\"x\"]\n"
            };
            let text = format!("[[gate.rule]]\nname = \"x\"\n{programs}{key}\n");
            let complaint = complaint(&text);
            assert!(complaint.contains(what), "{text}{complaint}");
        }
        for key in [
            "any = [\"*deleteMany({})*\", \"-X=DELETE\"]",
            "environment = [\"AWS_*|GOOGLE_*\"]",
            "words = [\"**\", \"x\"]\nuntil = [\"list\"]",
        ] {
            let text = format!("[[gate.rule]]\nname = \"x\"\nprograms = [\"x\"]\n{key}\n");
            Config::parse(Path::new("c.toml"), &text).unwrap();
        }
    }

    #[test]
    fn a_named_file_must_be_there() {
        assert!(Config::load(Some(Path::new("/no/such/file"))).is_err());
    }
}
