//! Loads a profile's programs and maps for this kernel, without attaching them.
//!
//! Not here: their use, and taking over the programs of an earlier recorder
//! (`kernel`).

mod object;
mod preempt;
mod programs;
mod source;

use std::path::Path;

use aya::Btf;

use self::object::{layout, load_object, load_probes, object_for, read_btf};
use self::source::{Preemption, Source, link};
use crate::bpf::Error;
use crate::bpf::Options;
use crate::bpf::attach::attached::Attached;
use crate::bpf::attach::hooks::Profile;
use crate::bpf::attach::modify_return::Deciders;
use crate::bpf::btf::{self, Resolved};
use crate::bpf::maps::Maps;
use crate::bpf::pins::Name;

/// The running kernel: its BTF, resolved offsets, and the object for it.
pub(in crate::bpf) struct Host {
    pub(in crate::bpf) btf: Btf,
    pub(in crate::bpf) resolved: Resolved,
    pub(in crate::bpf) object: &'static [u8],
}

impl Host {
    pub(in crate::bpf) fn look() -> Result<Self, Error> {
        let path = Path::new(btf::VMLINUX);
        let btf = read_btf(path)?;
        let resolved = btf::resolve(path, &btf)?;
        let object = object_for(&resolved)?;
        Ok(Self {
            btf,
            resolved,
            object,
        })
    }

    /// The object with the kernel's numbers. It is linked a second time where a probe
    /// shows that its programs can be preempted.
    pub(in crate::bpf) fn source(&self) -> Result<Source<'_>, Error> {
        let mut source = Source {
            linked: link(self.object, &self.btf, Preemption::Unchanged),
            btf: &self.btf,
            resolved: &self.resolved,
            copied: false,
        };
        source.copied = preempt::tracepoints_are_preemptible(&source, || load_probes(&source))?;
        if source.copied {
            source.linked = link(self.object, &self.btf, Preemption::Off);
        }
        Ok(source)
    }

    /// The layout: programs of equal layout are interchangeable.
    pub(in crate::bpf) fn layout(&self, options: &Options) -> String {
        layout(self.object, &self.resolved, options)
    }

    pub(in crate::bpf) fn name(&self, options: &Options, profile: Profile, observes: bool) -> Name {
        Name {
            layout: self.layout(options),
            profile,
            observes,
        }
    }
}

/// A profile's programs and maps.
pub(in crate::bpf) struct Loaded {
    pub(in crate::bpf) attached: Attached,
    pub(in crate::bpf) maps: Maps,
    pub(in crate::bpf) not_refusing: Option<Error>,
}

/// Loads a profile; its guard refuses where the kernel allows that.
pub(in crate::bpf) fn load_profile(
    options: &Options,
    profile: Profile,
    source: &Source<'_>,
) -> Result<Loaded, Error> {
    match load_programs(options, profile, profile.can_refuse(), source) {
        Err(why @ Error::CannotRefuse { .. }) => Ok(Loaded {
            not_refusing: Some(why),
            ..load_programs(options, profile, false, source)?
        }),
        result => result,
    }
}

fn load_programs(
    options: &Options,
    profile: Profile,
    refuses: bool,
    source: &Source<'_>,
) -> Result<Loaded, Error> {
    let Source { btf, resolved, .. } = *source;
    if profile.sees() && !resolved.has_helpers && resolved.preempts_trampolines {
        return Err(Error::Preempted { profile });
    }
    let mut bpf = load_object(options, profile, refuses, source)?;
    programs::probe(&mut bpf, btf, profile)?;
    let deciding = programs::deciding(btf, profile, refuses);
    let deciders = Deciders::load(source.linked.bytes(), &bpf, btf, &deciding)?;
    programs::load(&mut bpf, source, profile, &deciders)?;
    Ok(Loaded {
        attached: Attached::loaded(&bpf, profile, deciders)?,
        maps: Maps::of(bpf),
        not_refusing: None,
    })
}
