//! Notifications to the service manager (sd_notify(3)), and its watchdog.
//!
//! Not here: whether records arrive (`Recorder::is_proven`).

use std::ffi::OsStr;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::{Duration, Instant};

/// Sends a state to the socket of NOTIFY_SOCKET. Without the socket it does nothing.
pub(super) fn notify(state: &str) {
    let Some(name) = std::env::var_os("NOTIFY_SOCKET") else {
        return;
    };
    let name = name.into_encoded_bytes();
    let Ok(socket) = UnixDatagram::unbound() else {
        return;
    };
    // A manager that does not read must not block the recorder.
    let _ = socket.set_nonblocking(true);
    let sent = match name.strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name)
            .and_then(|address| socket.send_to_addr(state.as_bytes(), &address)),
        None => socket.send_to(state.as_bytes(), OsStr::from_bytes(&name)),
    };
    if let Err(error) = sent {
        tracing::warn!("cannot notify systemd: {error}");
    }
}

/// The service manager's watchdog, which ends a process that does not report in time.
#[derive(Debug)]
pub(super) struct Watchdog {
    /// Half of the manager's interval, as sd_watchdog_enabled(3) advises; `None`
    /// without a watchdog.
    every: Option<Duration>,
    last: Option<Instant>,
}

impl Watchdog {
    /// The watchdog of this process, by WATCHDOG_USEC and WATCHDOG_PID.
    pub(super) fn of_this() -> Self {
        let number = |name| std::env::var(name).ok()?.parse::<u64>().ok();
        let is_meant = std::env::var_os("WATCHDOG_PID").is_none()
            || number("WATCHDOG_PID") == Some(u64::from(std::process::id()));
        let within = number("WATCHDOG_USEC").filter(|within| is_meant && *within > 0);
        Self {
            every: within.map(|within| Duration::from_micros(within / 2)),
            last: None,
        }
    }

    /// Reports to the watchdog, when it is time.
    pub(super) fn come_by(&mut self) {
        let Some(every) = self.every else { return };
        if self.last.is_none_or(|last| last.elapsed() >= every) {
            self.last = Some(Instant::now());
            notify("WATCHDOG=1");
        }
    }
}
