//! The map of objects that the kernel programs protect from members of sessions: the
//! recorder's process, programs, maps and links, and certain files.
//!
//! Not here: the list of those files (`guard::self_protection`).

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::MetadataExt as _;

use agent_recorder_abi::self_protection::{
    OWN_LINK, OWN_MAP, OWN_NAMESPACE, OWN_PROCESS, OWN_PROGRAM, OwnKey,
};

use super::{Filled, Maps};
use crate::bpf::Error;

/// The map of the recorder's own objects.
pub(in crate::bpf) struct SelfProtection {
    map: Filled<OwnKey, u32>,
    /// Objects that stay while the programs are attached.
    objects: Vec<OwnKey>,
}

impl SelfProtection {
    /// Wraps the map, which is still empty.
    pub(in crate::bpf) fn new(maps: &mut Maps) -> Result<Self, Error> {
        Ok(Self {
            map: Filled::new(maps, "OWN")?,
            objects: Vec::new(),
        })
    }

    /// Collects the objects of this process, after its programs were attached.
    pub(in crate::bpf) fn look(&mut self) -> Result<(), Error> {
        self.objects = of_process()?;
        Ok(())
    }

    /// The kernel's id of one of the recorder's maps.
    pub(in crate::bpf) fn map_number(&self) -> Option<u64> {
        let mut maps = self.objects.iter().filter(|key| key.kind == OWN_MAP);
        maps.next().map(|key| key.number)
    }

    /// Protects the objects of this process, and these files.
    pub(in crate::bpf) fn set(&mut self, files: &[OwnKey]) -> Result<(), Error> {
        let all = self.objects.iter().chain(files);
        let wanted: HashMap<OwnKey, u32> = all.map(|key| (*key, 1)).collect();
        self.map.hold(wanted)
    }

    /// The map's name, if another process changed it since the last call.
    pub(in crate::bpf) fn changed(&mut self) -> Option<&'static str> {
        self.map.was_changed()
    }
}

/// This process, its mount namespace, and every BPF object that it has a descriptor
/// of (proc_pid_fdinfo(5)).
fn of_process() -> Result<Vec<OwnKey>, Error> {
    let failed = |what| move |source| Error::System { what, source };
    let namespace =
        fs::metadata("/proc/self/ns/mnt").map_err(failed("stat of /proc/self/ns/mnt"))?;
    let mut own = vec![
        key(OWN_PROCESS, u64::from(std::process::id())),
        key(OWN_NAMESPACE, namespace.ino()),
    ];
    let descriptors =
        fs::read_dir("/proc/self/fdinfo").map_err(failed("reading /proc/self/fdinfo"))?;
    for descriptor in descriptors {
        let descriptor = descriptor.map_err(failed("reading /proc/self/fdinfo"))?;
        // A descriptor that was closed in the meantime is no BPF object; that of
        // /proc/self/fdinfo is such a one.
        let text = fs::read_to_string(descriptor.path()).unwrap_or_default();
        own.extend(object_in(&text));
    }
    Ok(own)
}

/// The BPF object of a descriptor, by its fdinfo. That of a link names its program,
/// too.
fn object_in(fdinfo: &str) -> Option<OwnKey> {
    let number = |wanted: &str| {
        let mut lines = fdinfo.lines();
        lines.find_map(|line| line.strip_prefix(wanted)?.trim().parse().ok())
    };
    let kinds = [
        ("link_id:", OWN_LINK),
        ("map_id:", OWN_MAP),
        ("prog_id:", OWN_PROGRAM),
    ];
    kinds
        .into_iter()
        .find_map(|(name, kind)| Some(key(kind, number(name)?)))
}

fn key(kind: u32, number: u64) -> OwnKey {
    OwnKey {
        number,
        dev: 0,
        kind,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_descriptor_tells_which_object_it_leads_to() {
        let link = "pos:\t0\nflags:\t02000000\nlink_type:\ttracing\nlink_id:\t7\nprog_tag:\t2b\nprog_id:\t31\n";
        assert_eq!(object_in(link), Some(key(OWN_LINK, 7)));
        let map = "map_type:\t1\nmax_entries:\t10\nmap_id:\t12\nfrozen:\t0\n";
        assert_eq!(object_in(map), Some(key(OWN_MAP, 12)));
        assert_eq!(
            object_in("prog_type:\t26\nprog_id:\t9\n"),
            Some(key(OWN_PROGRAM, 9))
        );
        assert_eq!(object_in("pos:\t0\nflags:\t0100002\n"), None);
    }
}
