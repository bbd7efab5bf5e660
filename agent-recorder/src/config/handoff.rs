//! `[handoff]`: by what work leaves a session, and what becomes of who starts
//! what a session wrote.
//!
//! Not here: which records are compared with these (`session::handoff`).

use globset::{Glob, GlobBuilder};
use serde::{Deserialize, Serialize};

use super::Wrong;

/// `[handoff]`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct HandOff {
    /// Whether the recorder uses its built-in patterns of sockets and files.
    pub builtin: bool,
    /// More patterns for unix sockets of services that work for others. A connect to such a socket is a
    /// hand-off. `*` stays within a name, `**` stands for any number of names, and a leading `@` marks an
    /// abstract socket.
    pub sockets: Vec<String>,
    /// More patterns for files that programs outside the session run or read, as in `sockets`. A change of such
    /// a file is a hand-off.
    pub files: Vec<String>,
    /// What happens when a process outside the session starts a file that the session wrote.
    pub heirs: Heirs,
}

impl Default for HandOff {
    fn default() -> Self {
        Self {
            builtin: true,
            sockets: Vec::new(),
            files: Vec::new(),
            heirs: Heirs::default(),
        }
    }
}

/// What becomes of a process that starts a file which a session wrote.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Heirs {
    /// The recorder does nothing.
    Off,
    /// The recorder writes a record.
    #[default]
    Record,
    /// The recorder writes a record, and the process belongs to the session from then on, with its descendants.
    /// When the session has ended, the process starts a session of its own.
    Join,
}

/// How work is handed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Docker, containerd and their like.
    ContainerEngine,
    /// systemd, init.
    ServiceManager,
    /// D-Bus.
    MessageBus,
    /// cron, at.
    Scheduler,
    /// tmux, screen.
    TerminalMultiplexer,
    /// Hooks of a version control system.
    HookFile,
    /// What logins and shells read.
    StartupFile,
}

/// What is built in: the way, its sockets, its files. In globs `*` stays within
/// a name, `**` is any number of them.
pub const WAYS: &[(Way, &[&str], &[&str])] = &[
    (
        Way::ContainerEngine,
        &[
            "/{run,var/run}/docker.sock",
            "**/{docker,podman,crio,containerd,buildkitd}.sock",
            "/{run,var/run}/{docker,containerd,podman,crio,buildkit}/**",
            "/{run,var/run}/{lxd,incus,libvirt}/**",
            "**/{lxd,incus}/unix.socket",
        ],
        &[],
    ),
    (
        Way::ServiceManager,
        &["/run/systemd/private", "/run/user/*/systemd/private"],
        &[
            "/{etc,run,usr/lib,usr/local/lib,lib}/systemd/{system,user,network,system-generators}/**",
            "/run/systemd/transient/**",
            "**/.config/systemd/user/**",
            "/etc/init.d/*",
            "/etc/rc.local",
            "/etc/rc[0-6S].d/*",
            "/etc/inittab",
            "/etc/udev/rules.d/*",
            "/etc/supervisor/**",
        ],
    ),
    (
        Way::MessageBus,
        &[
            "/{run,var/run}/dbus/system_bus_socket",
            "/run/user/*/bus",
            "@/tmp/dbus-*",
            "/tmp/dbus-*",
        ],
        &[],
    ),
    (
        Way::Scheduler,
        &[],
        &[
            "/etc/{crontab,anacrontab}",
            "/etc/cron.*/*",
            "/var/spool/{cron,at,anacron}/**",
        ],
    ),
    (
        Way::TerminalMultiplexer,
        &[
            "**/tmux-*/*",
            "/{run,var/run,tmp}/screen{,s}/**",
            "**/.screen/*",
            "**/zellij/**",
            "**/emacs*/server",
        ],
        &[],
    ),
    (
        Way::HookFile,
        &[],
        &["**/.git/hooks/*", "**/*.git/hooks/*", "**/.husky/**"],
    ),
    (
        Way::StartupFile,
        &[],
        &[
            "/{root,home/*}/.{bashrc,bash_profile,bash_login,bash_logout,profile,zshrc,zshenv,zprofile,zlogin,pam_environment,xprofile,xsessionrc}",
            "/{root,home/*}/.config/{fish,autostart}/**",
            "/{root,home/*}/.ssh/{authorized_keys,authorized_keys2,rc,environment}",
            "/etc/{profile,bash.bashrc,environment,zshenv,zshrc}",
            "/etc/profile.d/*",
            "/etc/zsh/*",
            "/etc/ld.so.{preload,conf}",
            "/etc/ld.so.conf.d/*",
            "/etc/{sudoers,passwd,shadow}",
            "/etc/{sudoers.d,pam.d}/*",
        ],
    ),
];

impl HandOff {
    /// What makes no sense, and why.
    pub(super) fn check(&self) -> Result<(), Wrong> {
        for (key, globs) in [("sockets", &self.sockets), ("files", &self.files)] {
            for (index, pattern) in globs.iter().enumerate() {
                let at = format!("handoff.{key}.{index}");
                if !pattern.starts_with(['/', '@', '*']) {
                    let why = "must begin with a slash, `**`, or `@` for an abstract socket";
                    return Err(Wrong::new(at, why));
                }
                self::glob(pattern).map_err(|error| Wrong::new(at, error.kind().to_string()))?;
            }
        }
        Ok(())
    }
}

/// A path's pattern: `*` stays within a name.
///
/// # Errors
///
/// It is no glob.
pub fn glob(pattern: &str) -> Result<Glob, globset::Error> {
    GlobBuilder::new(pattern)
        .literal_separator(true)
        .empty_alternates(true)
        .build()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_built_in_patterns_are_globs() {
        for (way, sockets, files) in WAYS {
            for pattern in sockets.iter().chain(*files) {
                assert!(glob(pattern).is_ok(), "{way:?}: {pattern}");
            }
        }
    }
}
