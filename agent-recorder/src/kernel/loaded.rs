//! A profile's programs and maps, loaded for this kernel and on no hook yet.
//!
//! Not here: what they are used for, and those that were left of a recorder
//! before (`load`).

use std::path::Path;

use aya::Btf;

use super::attached::Attached;
use super::load::Options;
use super::maps::Maps;
use super::modify_return::Deciders;
use super::object::{layout, load_object, object_for, read_btf};
use super::offsets::{self, Resolved};
use super::pins::Name;
use super::programs::Profile;
use super::source::Source;
use super::{Error, hooks};

/// The kernel that runs, and what goes with it.
pub(super) struct Host {
    pub(super) btf: Btf,
    pub(super) resolved: Resolved,
    pub(super) object: &'static [u8],
}

impl Host {
    pub(super) fn look() -> Result<Self, Error> {
        let path = Path::new(offsets::VMLINUX);
        let btf = read_btf(path)?;
        let resolved = offsets::resolve(path, &btf)?;
        let object = object_for(&resolved)?;
        Ok(Self {
            btf,
            resolved,
            object,
        })
    }

    /// What programs are told apart by.
    pub(super) fn layout(&self, options: &Options) -> String {
        layout(self.object, &self.resolved, options)
    }

    pub(super) fn name(&self, options: &Options, profile: Profile, observes: bool) -> Name {
        Name {
            layout: self.layout(options),
            profile,
            observes,
        }
    }
}

/// A profile's programs and maps.
pub(super) struct Loaded {
    pub(super) attached: Attached,
    pub(super) maps: Maps,
    pub(super) not_refusing: Option<Error>,
}

/// With its guard refusing, where the kernel takes that.
pub(super) fn load_profile(
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
    hooks::probe(&mut bpf, btf, profile)?;
    let deciding = hooks::deciding(btf, profile, refuses);
    let deciders = Deciders::load(source.linked.bytes(), &bpf, btf, &deciding)?;
    hooks::load(&mut bpf, source, profile, &deciders)?;
    Ok(Loaded {
        attached: Attached::loaded(&bpf, profile, deciders)?,
        maps: Maps::of(bpf),
        not_refusing: None,
    })
}
