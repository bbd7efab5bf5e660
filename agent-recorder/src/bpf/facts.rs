//! Facts about the running kernel, for `doctor`.
//!
//! Not here: conclusions from the facts. A fact that cannot be determined is `None`.

use std::collections::HashMap;
use std::fs;
use std::io::Read as _;

/// `LSM_ID_BPF` (include/uapi/linux/lsm.h).
const LSM_ID_BPF: u64 = 109;
/// lsm_list_modules(2), 6.8; libc has no name for it yet.
const SYS_LSM_LIST_MODULES: libc::c_long = 461;
/// Most security modules that a kernel has at one time; 7.x has fourteen.
const MAX_LSMS: usize = 64;
/// A configuration has some 300 KiB. This bound limits what another file in its place
/// can take, bytes.
const MAX_CONFIG: u64 = 4 << 20;

/// CAP_KILL, CAP_SYS_PTRACE, CAP_SYS_ADMIN, CAP_PERFMON, CAP_BPF (capabilities(7)).
pub const CAPABILITIES: [(u32, &str); 5] = [
    (5, "CAP_KILL"),
    (19, "CAP_SYS_PTRACE"),
    (21, "CAP_SYS_ADMIN"),
    (38, "CAP_PERFMON"),
    (39, "CAP_BPF"),
];

/// The facts.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// Release as uname(2) returns it.
    pub release: String,
    /// Whether /sys/kernel/btf/vmlinux can be read.
    pub btf: bool,
    /// Effective capabilities of this process, one bit each.
    pub capabilities: u64,
    /// Whether `bpf` is among the active security modules.
    pub bpf_lsm: Option<bool>,
    /// `none`, `integrity` or `confidentiality` (kernel_lockdown(7)).
    pub lockdown: Option<String>,
    /// /proc/sys/kernel/ftrace_enabled: 0 silences every trampoline.
    pub ftrace_enabled: Option<bool>,
    config: Option<HashMap<String, String>>,
}

impl Facts {
    /// Gathers the facts.
    pub fn gather() -> Self {
        let release = rustix::system::uname()
            .release()
            .to_string_lossy()
            .into_owned();
        Self {
            btf: fs::File::open(super::btf::VMLINUX).is_ok(),
            capabilities: capabilities().unwrap_or_default(),
            bpf_lsm: bpf_lsm(),
            lockdown: lockdown(),
            ftrace_enabled: fs::read_to_string("/proc/sys/kernel/ftrace_enabled")
                .ok()
                .map(|value| value.trim() != "0"),
            config: config(&release),
            release,
        }
    }

    /// Value of an option of the kernel's configuration: `""` where it is not set,
    /// `None` where no configuration is found.
    pub fn option(&self, name: &str) -> Option<&str> {
        let config = self.config.as_ref()?;
        Some(config.get(name).map_or("", String::as_str))
    }

    /// Whether this process has the capability.
    pub fn has(&self, capability: u32) -> bool {
        self.capabilities >> capability & 1 != 0
    }
}

fn capabilities() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let effective = status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))?;
    u64::from_str_radix(effective.trim(), 16).ok()
}

/// Reads the list in securityfs, or calls lsm_list_modules(2) where securityfs is not
/// mounted.
fn bpf_lsm() -> Option<bool> {
    if let Ok(list) = fs::read_to_string("/sys/kernel/security/lsm") {
        return Some(list.trim().split(',').any(|name| name == "bpf"));
    }
    let mut ids = [0u64; MAX_LSMS];
    let mut size = u32::try_from(size_of_val(&ids)).ok()?;
    // SAFETY: `ids` is a local array of `size` bytes, and `size` is a local variable.
    let count = unsafe { libc::syscall(SYS_LSM_LIST_MODULES, ids.as_mut_ptr(), &raw mut size, 0) };
    let count = usize::try_from(count).ok()?;
    Some(ids.get(..count)?.contains(&LSM_ID_BPF))
}

/// The value in brackets is the active one.
fn lockdown() -> Option<String> {
    let text = fs::read_to_string("/sys/kernel/security/lockdown").ok()?;
    let (_, rest) = text.split_once('[')?;
    Some(rest.split_once(']')?.0.to_owned())
}

fn config(release: &str) -> Option<HashMap<String, String>> {
    let mut text = String::new();
    if let Ok(file) = fs::File::open("/proc/config.gz") {
        let unpacked = flate2::read::GzDecoder::new(file);
        unpacked.take(MAX_CONFIG).read_to_string(&mut text).ok()?;
    } else {
        let file = fs::File::open(format!("/boot/config-{release}")).ok()?;
        file.take(MAX_CONFIG).read_to_string(&mut text).ok()?;
    }
    Some(parse_config(&text))
}

fn parse_config(text: &str) -> HashMap<String, String> {
    text.lines()
        .filter_map(|line| line.strip_prefix("CONFIG_")?.split_once('='))
        .map(|(name, value)| (name.to_owned(), value.trim_matches('"').to_owned()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_option_that_is_not_set_is_told_from_a_configuration_that_is_not_there() {
        let text = "# CONFIG_BPF_LSM is not set\nCONFIG_LSM=\"yama,bpf\"\nCONFIG_BPF=y\n";
        let facts = Facts {
            config: Some(parse_config(text)),
            ..Facts::default()
        };
        assert_eq!(facts.option("BPF"), Some("y"));
        assert_eq!(facts.option("LSM"), Some("yama,bpf"));
        assert_eq!(facts.option("BPF_LSM"), Some(""));
        assert_eq!(Facts::default().option("BPF"), None);
    }

    #[test]
    fn this_kernel_says_something_of_itself() {
        let facts = Facts::gather();
        assert!(!facts.release.is_empty());
        assert_eq!(
            facts.btf,
            std::path::Path::new(crate::bpf::btf::VMLINUX).exists()
        );
    }
}
