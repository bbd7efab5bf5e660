//! The rows: every kernel in every profile that it allows. Each row is one boot.

use super::kernels::Kernel;

/// One boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    pub(super) kernel: Kernel,
    pub(super) profile: &'static str,
    pub(super) cmdline: &'static str,
}

impl Row {
    /// Name of the kernel and the profile.
    pub(super) fn name(&self) -> String {
        format!("{} {}", self.kernel.number(), self.profile)
    }

    /// The name on the command line, and in the table of expected skips.
    pub(super) fn label(&self) -> String {
        format!("{}-{}", self.kernel.number(), self.profile)
    }

    /// The profile that its recorder is configured with.
    pub(super) fn profile(&self) -> &'static str {
        self.profile
    }
}

/// Without `bpf` in this list the kernel calls no LSM program, and the profile is
/// fentry.
const NO_BPF_LSM: &str = "lsm=landlock,lockdown,yama";

/// The rows of all kernels, or of one.
pub(crate) fn of(only: Option<Kernel>) -> Vec<Row> {
    Kernel::ALL
        .into_iter()
        .filter(|kernel| only.is_none_or(|only| only == *kernel))
        .flat_map(of_kernel)
        .collect()
}

/// The two rows with the greatest coverage: the object for old kernels with fmod_ret
/// programs, and that for new kernels with LSM programs. The host's own tests cover
/// tracepoints.
pub(crate) fn two() -> Vec<Row> {
    let is_one = |row: &Row| match row.kernel {
        Kernel::Bullseye => row.profile == "fentry",
        Kernel::Trixie => row.profile == "lsm",
        Kernel::Bookworm | Kernel::Sid => false,
    };
    of(None).into_iter().filter(is_one).collect()
}

fn of_kernel(kernel: Kernel) -> Vec<Row> {
    let row = |profile, cmdline| Row {
        kernel,
        profile,
        cmdline,
    };
    match kernel {
        // Debian built this kernel without `bpf` in its list.
        Kernel::Bullseye => vec![row("tracepoint", ""), row("fentry", "")],
        Kernel::Bookworm | Kernel::Trixie | Kernel::Sid => vec![
            row("tracepoint", ""),
            row("lsm", ""),
            row("fentry", NO_BPF_LSM),
        ],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kernel_is_tried_on_tracepoints_and_fentry() {
        for kernel in Kernel::ALL {
            let profiles: Vec<_> = of(Some(kernel)).iter().map(|row| row.profile).collect();
            assert!(profiles.contains(&"tracepoint") && profiles.contains(&"fentry"));
        }
        assert_eq!(of(None).len(), 11);
    }

    #[test]
    fn the_two_are_an_old_kernel_and_one_of_today() {
        let labels: Vec<_> = two().iter().map(Row::label).collect();
        assert_eq!(labels, ["5.10-fentry", "6.12-lsm"]);
    }
}
