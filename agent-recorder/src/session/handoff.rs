//! Hand-offs: a session connects to something, or writes something, by which a
//! process outside works for it.
//!
//! Not here: the processes that start what a session wrote (`daemon::written_files`).

use std::ffi::OsStr;
use std::fs;
use std::net::IpAddr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use globset::{GlobSet, GlobSetBuilder};

use super::path::KnownPath;
use crate::config::{HandOff as Config, HandOffWay, Way, path_glob};
use crate::record::{OpenFlags, proto};
use proto::record::Body;

/// Port of sshd(8).
const SSH: u16 = 22;
/// Suffix of the samples that `git init` puts beside hooks; git never runs them.
const SAMPLE: &[u8] = b".sample";

/// The ways of a hand-off that are recognised.
#[derive(Debug, Default)]
pub struct HandOffs {
    sockets: Patterns,
    files: Patterns,
}

/// Patterns, each with its way.
#[derive(Debug, Default)]
struct Patterns {
    set: GlobSet,
    ways: Vec<proto::HandOffWay>,
}

impl Patterns {
    fn new<'a>(patterns: impl Iterator<Item = (proto::HandOffWay, &'a str)>) -> Self {
        let (mut set, mut ways) = (GlobSetBuilder::new(), Vec::new());
        for (way, pattern) in patterns {
            // The pattern was checked, with the configuration or by a test.
            if let Ok(glob) = path_glob(pattern) {
                set.add(glob);
                ways.push(way);
            }
        }
        Self {
            set: set.build().unwrap_or_default(),
            ways,
        }
    }

    fn way_of(&self, path: &[u8]) -> Option<proto::HandOffWay> {
        let path = Path::new(OsStr::from_bytes(path));
        let first = self.set.matches(path).into_iter().next()?;
        self.ways.get(first).copied()
    }
}

impl HandOffs {
    /// Builds the ways from a checked configuration. Its patterns precede the
    /// built-in ones.
    pub fn of(config: &Config) -> Self {
        let sockets = built_in(config, |row| &row.sockets);
        let files = built_in(config, |row| &row.files);
        Self {
            sockets: Patterns::new(configured(&config.sockets).chain(sockets)),
            files: Patterns::new(configured(&config.files).chain(files)),
        }
    }

    /// The hand-off that a record shows, if it is one.
    pub fn in_record(&self, body: &Body, cwd: &KnownPath) -> Option<proto::HandOff> {
        match body {
            Body::Network(network) => self.by_network(network, cwd),
            Body::File(file) => self.by_file(file),
            _ => None,
        }
    }

    fn by_network(&self, network: &proto::Network, cwd: &KnownPath) -> Option<proto::HandOff> {
        let connects = matches!(
            network.op(),
            proto::NetworkOp::Connect | proto::NetworkOp::Send
        );
        let waits = network.error == libc::EINPROGRESS.cast_unsigned();
        if !connects || network.error != 0 && !waits {
            return None;
        }
        match network.peer.as_ref()?.kind.as_ref()? {
            proto::address::Kind::Unix(path) => self.by_socket(path, cwd),
            proto::address::Kind::Inet(inet) => by_login(inet),
        }
    }

    fn by_socket(&self, path: &[u8], cwd: &KnownPath) -> Option<proto::HandOff> {
        let (shown, to_truncated) = match path.split_first()? {
            (0, name) => ([b"@", name].concat(), false),
            (b'/', _) => (path.to_vec(), false),
            _ => ([&*cwd.bytes, b"/", path].concat(), cwd.truncated),
        };
        let way = self.sockets.way_of(&shown);
        let found = way.map(|way| (way, shown.clone())).or_else(|| {
            // A tail of a path cannot be looked up.
            if to_truncated {
                return None;
            }
            // The real path differs where the name contains a link or `..`.
            let real = fs::canonicalize(OsStr::from_bytes(&shown)).ok()?;
            let real = real.as_os_str().as_bytes().to_vec();
            Some((self.sockets.way_of(&real)?, real))
        });
        let (way, to) = found?;
        Some(proto::HandOff {
            way: way.into(),
            to,
            to_truncated,
        })
    }

    fn by_file(&self, file: &proto::File) -> Option<proto::HandOff> {
        let path = written(file)?;
        if path.bytes.ends_with(SAMPLE) {
            return None;
        }
        Some(proto::HandOff {
            way: self.files.way_of(&path.bytes)?.into(),
            to: path.bytes.to_vec(),
            to_truncated: path.truncated,
        })
    }
}

/// Built-in globs of one sort.
fn built_in(
    config: &Config,
    globs: fn(&HandOffWay) -> &[String],
) -> impl Iterator<Item = (proto::HandOffWay, &str)> {
    config.built_in().iter().flat_map(move |row| {
        let way = recorded(row.way);
        globs(row).iter().map(move |glob| (way, glob.as_str()))
    })
}

fn configured(globs: &[String]) -> impl Iterator<Item = (proto::HandOffWay, &str)> {
    let way = proto::HandOffWay::Configured;
    globs.iter().map(move |glob| (way, glob.as_str()))
}

/// The path at which a call changed a file's contents, or which it gave to a file.
pub fn written(file: &proto::File) -> Option<KnownPath> {
    if file.error != 0 {
        return None;
    }
    let flags = OpenFlags(file.flags);
    let first = || KnownPath::new(&file.path, file.path_truncated);
    match file.op() {
        proto::FileOp::Create | proto::FileOp::Symlink => Some(first()),
        proto::FileOp::Open if flags.writes() || flags.truncates() => Some(first()),
        proto::FileOp::Rename | proto::FileOp::Link => {
            Some(KnownPath::new(&file.new_path, file.new_path_truncated))
        }
        _ => None,
    }
}

/// A connection to this host's sshd, as ssh(1) makes it.
fn by_login(inet: &proto::Inet) -> Option<proto::HandOff> {
    let address = match inet.addr.as_slice() {
        bytes if bytes.len() == 4 => IpAddr::from(<[u8; 4]>::try_from(bytes).ok()?),
        bytes => IpAddr::from(<[u8; 16]>::try_from(bytes).ok()?).to_canonical(),
    };
    if inet.port != u32::from(SSH) || !address.is_loopback() {
        return None;
    }
    let to = std::net::SocketAddr::new(address, SSH).to_string();
    Some(proto::HandOff {
        way: proto::HandOffWay::LocalLogin.into(),
        to: to.into_bytes(),
        to_truncated: false,
    })
}

fn recorded(way: Way) -> proto::HandOffWay {
    match way {
        Way::ContainerEngine => proto::HandOffWay::ContainerEngine,
        Way::ServiceManager => proto::HandOffWay::ServiceManager,
        Way::MessageBus => proto::HandOffWay::MessageBus,
        Way::Scheduler => proto::HandOffWay::Scheduler,
        Way::TerminalMultiplexer => proto::HandOffWay::TerminalMultiplexer,
        Way::HookFile => proto::HandOffWay::HookFile,
        Way::StartupFile => proto::HandOffWay::StartupFile,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connect(kind: proto::address::Kind) -> Body {
        Body::Network(proto::Network {
            op: proto::NetworkOp::Connect.into(),
            peer: Some(proto::Address { kind: Some(kind) }),
            ..proto::Network::default()
        })
    }

    fn way(body: &Body) -> Option<proto::HandOffWay> {
        let cwd = KnownPath::new(b"/run/user/1000", false);
        let found = HandOffs::of(&Config::default()).in_record(body, &cwd);
        found.map(|it| it.way())
    }

    fn socket(path: &[u8]) -> Option<proto::HandOffWay> {
        way(&connect(proto::address::Kind::Unix(path.to_vec())))
    }

    fn login(addr: &[u8], port: u32) -> Option<proto::HandOffWay> {
        let addr = addr.to_vec();
        way(&connect(proto::address::Kind::Inet(proto::Inet {
            addr,
            port,
        })))
    }

    fn file(op: proto::FileOp, path: &str, flags: i32) -> Option<proto::HandOffWay> {
        let renamed = matches!(op, proto::FileOp::Rename | proto::FileOp::Link);
        let (old, new) = if renamed {
            ("/tmp/x", path)
        } else {
            (path, "")
        };
        way(&Body::File(proto::File {
            op: op.into(),
            path: old.into(),
            new_path: new.into(),
            flags: u64::from(flags.cast_unsigned()),
            ..proto::File::default()
        }))
    }

    #[test]
    fn sockets_behind_which_others_work_are_known() {
        use proto::HandOffWay as Way;
        for (path, way) in [
            (&b"/var/run/docker.sock"[..], Way::ContainerEngine),
            (b"/home/a/.docker/run/docker.sock", Way::ContainerEngine),
            (b"/run/containerd/containerd.sock", Way::ContainerEngine),
            (b"/run/user/1000/podman/podman.sock", Way::ContainerEngine),
            (b"/run/systemd/private", Way::ServiceManager),
            (b"/run/dbus/system_bus_socket", Way::MessageBus),
            (b"\0/tmp/dbus-x", Way::MessageBus),
            (b"bus", Way::MessageBus),
            (b"/tmp/tmux-0/default", Way::TerminalMultiplexer),
        ] {
            assert_eq!(socket(path), Some(way), "{}", path.escape_ascii());
        }
        for path in [
            &b"/run/nscd/socket"[..],
            b"\0/tmp/.X11-unix/X0",
            b"",
            b"docker",
        ] {
            assert_eq!(socket(path), None, "{}", path.escape_ascii());
        }
    }

    #[test]
    fn a_socket_below_a_directory_that_was_cut_has_a_path_that_was_cut() {
        let kind = proto::address::Kind::Unix(b"docker.sock".to_vec());
        for truncated in [false, true] {
            let cwd = KnownPath::new(b"/run", truncated);
            let found = HandOffs::of(&Config::default()).in_record(&connect(kind.clone()), &cwd);
            assert_eq!(
                found.map(|it| (it.to, it.to_truncated)),
                Some((b"/run/docker.sock".to_vec(), truncated))
            );
        }
    }

    #[test]
    fn a_login_on_this_host_is_known() {
        let way = Some(proto::HandOffWay::LocalLogin);
        let mapped = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 127, 0, 0, 1];
        assert_eq!(login(&[127, 0, 0, 1], 22), way);
        assert_eq!(login(&mapped, 22), way);
        assert_eq!(login(&[127, 0, 0, 1], 80), None);
        assert_eq!(login(&[192, 0, 2, 1], 22), None);
        assert_eq!(login(&[], 22), None);
    }

    #[test]
    fn files_that_others_run_are_known_however_they_come_there() {
        use proto::{FileOp as Op, HandOffWay as Way};
        for (path, way) in [
            ("/etc/cron.d/job", Way::Scheduler),
            ("/var/spool/cron/crontabs/root", Way::Scheduler),
            ("/etc/systemd/system/x.service", Way::ServiceManager),
            ("/home/a/.config/systemd/user/x.timer", Way::ServiceManager),
            ("/home/a/project/.git/hooks/post-commit", Way::HookFile),
            ("/srv/git/project.git/hooks/update", Way::HookFile),
            ("/root/.bashrc", Way::StartupFile),
            ("/home/a/.ssh/authorized_keys", Way::StartupFile),
            ("/etc/ld.so.preload", Way::StartupFile),
        ] {
            for (op, flags) in [
                (Op::Create, 0),
                (Op::Open, libc::O_WRONLY),
                (Op::Rename, 0),
                (Op::Link, 0),
                (Op::Symlink, 0),
            ] {
                assert_eq!(file(op, path, flags), Some(way), "{op:?} {path}");
            }
            assert_eq!(file(Op::Open, path, libc::O_RDONLY), None, "{path}");
            assert_eq!(file(Op::Delete, path, 0), None, "{path}");
        }
        for path in [
            "/home/a/project/.git/hooks/post-commit.sample",
            "/home/a/project/src/main.rs",
            "/home/a/project/.bashrc",
        ] {
            assert_eq!(file(Op::Create, path, 0), None, "{path}");
        }
    }
}
