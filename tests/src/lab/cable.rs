//! Two network namespaces with a cable between them, which tests cut or worsen.
//!
//! Not here: how packets are delayed (`packets`).

use std::process::{Child, Command, Stdio};

use anyhow::ensure;

use crate::lab::netns;
use crate::lab::packets::{Carried, Carrier, Quality};
use crate::lab::wait::wait_for;

/// Addresses of the calling thread's end and of the other end.
pub const NEAR: &str = "10.77.0.1";
/// Address of the end in the namespace of a process.
pub const FAR: &str = "10.77.0.2";
/// A MAC address without an owner: frames to it are dropped without an error.
const NOBODY: &str = "02:00:00:00:00:99";

/// The calling thread's namespace, the namespace of a process, and the cable.
#[derive(Debug)]
pub struct Cable {
    far: Child,
    carrier: Option<Carrier>,
}

impl Cable {
    /// Moves the calling thread, and the threads it will start, to the near
    /// end of a veth(4) pair.
    ///
    /// # Errors
    ///
    /// Needs root.
    pub fn lay() -> anyhow::Result<Self> {
        let cable = Self::namespaces()?;
        let pid = cable.far.id();
        near(&format!(
            "link add near type veth peer name far netns {pid}"
        ))?;
        cable.address()?;
        Ok(cable)
    }

    /// As [`Cable::lay`], with a line whose quality a test sets; its first quality is good.
    ///
    /// # Errors
    ///
    /// Needs root, and TUN devices.
    pub fn lay_packets() -> anyhow::Result<Self> {
        let mut cable = Self::namespaces()?;
        let ends = [netns::tun("near")?, netns::tun("far")?];
        near(&format!("link set far netns {}", cable.far.id()))?;
        cable.address()?;
        cable.carrier = Some(Carrier::start(ends));
        Ok(cable)
    }

    fn namespaces() -> anyhow::Result<Self> {
        netns::isolate()?;
        let far = Command::new("unshare")
            .args(["--net", "sleep", "600"])
            .stdin(Stdio::null())
            .spawn()?;
        let cable = Self { far, carrier: None };
        let pid = cable.far.id().to_string();
        let own = std::fs::read_link("/proc/thread-self/ns/net")?;
        wait_for("the other namespace", || {
            let other = std::fs::read_link(format!("/proc/{pid}/ns/net"))?;
            Ok((other != own).then_some(()))
        })?;
        Ok(cable)
    }

    fn address(&self) -> anyhow::Result<()> {
        near(&format!("addr add {NEAR}/24 dev near"))?;
        near("link set near up")?;
        self.far("link set lo up")?;
        self.far(&format!("addr add {FAR}/24 dev far"))?;
        self.far("link set far up")
    }

    /// A command that starts the next one at the far end.
    pub fn enter(&self) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/proc/{}/ns/net", self.far.id()));
        command
    }

    /// Sets the line's quality; without effect on a veth pair.
    pub fn set(&self, quality: Quality) {
        if let Some(carrier) = &self.carrier {
            carrier.set(quality);
        }
    }

    /// The packets that the line carried so far.
    pub fn carried(&self) -> Carried {
        let carrier = self.carrier.as_ref();
        carrier.map(Carrier::carried).unwrap_or_default()
    }

    /// Cuts a veth pair: nothing arrives on either side, and neither side sees an
    /// error.
    ///
    /// # Errors
    ///
    /// ip(8) fails.
    pub fn swallow(&self) -> anyhow::Result<()> {
        near(&format!(
            "neigh replace {FAR} lladdr {NOBODY} dev near nud permanent"
        ))?;
        self.far(&format!(
            "neigh replace {NEAR} lladdr {NOBODY} dev far nud permanent"
        ))
    }

    /// Connects the pair again.
    ///
    /// # Errors
    ///
    /// ip(8) fails.
    pub fn mend(&self) -> anyhow::Result<()> {
        near(&format!("neigh del {FAR} dev near"))?;
        self.far(&format!("neigh del {NEAR} dev far"))
    }

    fn far(&self, arguments: &str) -> anyhow::Result<()> {
        let mut command = self.enter();
        command.arg("ip");
        ip(command, arguments)
    }
}

impl Drop for Cable {
    fn drop(&mut self) {
        // The carrier ends before its far end.
        self.carrier = None;
        // It fails only when it has ended already; the namespaces and the cable go with it.
        let _ = self.far.kill();
        let _ = self.far.wait();
    }
}

fn near(arguments: &str) -> anyhow::Result<()> {
    ip(Command::new("ip"), arguments)
}

fn ip(mut command: Command, arguments: &str) -> anyhow::Result<()> {
    let output = command.args(arguments.split(' ')).output()?;
    ensure!(output.status.success(), "ip {arguments}: {output:?}");
    Ok(())
}
