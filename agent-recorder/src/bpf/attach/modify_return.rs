//! Programs that decide on the kernel functions that call security hooks, for kernels
//! whose lsm list lacks `bpf`. They are fmod_ret programs: a result other than 0
//! becomes the result of the function, and its body does not run.
//!
//! aya 0.14 cannot load fmod_ret programs. The compiler sees one as an fentry program
//! with the same arguments and context; only the attach type of bpf(2) differs. So
//! this module parses the object a second time, binds it to the maps that aya
//! created, and loads each such program by bpf(2).
//!
//! The kernel takes fmod_ret programs on every function named `security_…`
//! (check_attach_modify_return() in kernel/bpf/verifier.c, 5.7).

use std::collections::HashSet;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd, RawFd};

use agent_recorder_abi::hooks::SecurityHook;
use aya::maps::Map;
use aya::{Btf, Ebpf};
use aya_obj::Object;
use aya_obj::btf::BtfKind;

use crate::bpf::Error;
use crate::bpf::commands::{self, ModifyReturn, Verified};
use crate::bpf::error::{chain, ending, missing_program};

/// The loaded fmod_ret programs of a profile, by the function that each decides on.
#[derive(Default)]
pub(in crate::bpf) struct Deciders(Vec<(&'static str, OwnedFd)>);

impl Deciders {
    /// Loads the object's programs that are named after the functions of these hooks,
    /// and attaches one of them on trial.
    ///
    /// # Errors
    ///
    /// [`Error::CannotRefuse`]: the kernel takes no fmod_ret programs.
    pub(in crate::bpf) fn load(
        object: &[u8],
        bpf: &Ebpf,
        kernel_types: &Btf,
        hooks: &[&'static SecurityHook],
    ) -> Result<Self, Error> {
        if hooks.is_empty() {
            return Ok(Self::default());
        }
        let (object, types) = bound(object, bpf, kernel_types)?;
        let load = |function| load_one(&object, &types, kernel_types, function);
        // The trial shows an error before anybody relies on the guard. It uses a
        // program of its own, which is detached at once, because 5.10 attaches each
        // program only once.
        if let Some(first) = hooks.first() {
            drop(attach_one(first.function, &load(first.function)?)?);
        }
        let mut deciders = Vec::new();
        for hook in hooks {
            let program = match load(hook.function) {
                Err(Error::CannotRefuse { .. }) if hook.by_value => continue,
                program => program?,
            };
            deciders.push((hook.function, program));
        }
        Ok(Self(deciders))
    }

    /// Whether a program decides on this function.
    pub(in crate::bpf) fn are_on(&self, function: &str) -> bool {
        self.0.iter().any(|(decider, _)| *decider == function)
    }

    /// Takes the program for this function out, to attach it.
    pub(in crate::bpf) fn take(&mut self, function: &str) -> Option<OwnedFd> {
        let mut deciders = self.0.iter();
        let position = deciders.position(|(decider, _)| *decider == function)?;
        Some(self.0.swap_remove(position).1)
    }
}

/// The object with its calls resolved and its maps bound, as aya does it; and the
/// descriptor of its type information in the kernel.
fn bound(object: &[u8], bpf: &Ebpf, kernel_types: &Btf) -> Result<(Object, OwnedFd), Error> {
    let unusable = |error: &dyn std::error::Error| Error::Object(chain(error));
    let mut object = Object::parse(object).map_err(|error| unusable(&error))?;
    let no_types = || Error::Object("it or the kernel has no type information".to_owned());
    let features = aya::features().btf().ok_or_else(no_types)?;
    let types = object
        .fixup_and_sanitize_btf(features)
        .map_err(|error| unusable(&error))?
        .ok_or_else(no_types)?
        .to_bytes();
    let types = commands::load_types(&types).map_err(|source| Error::System {
        what: "loading the programs' type information",
        source,
    })?;
    object
        .relocate_btf(kernel_types)
        .map_err(|error| unusable(&error))?;
    let text: HashSet<usize> = object.functions.keys().map(|key| key.0).collect();
    let definitions = std::mem::take(&mut object.maps);
    let maps = definitions
        .iter()
        .filter_map(|(name, map)| Some((name.as_str(), descriptor(bpf.map(name)?)?, map)));
    object
        .relocate_maps(maps, &text)
        .map_err(|error| unusable(&error))?;
    object
        .relocate_calls(&text)
        .map_err(|error| unusable(&error))?;
    object.sanitize_functions(aya::features());
    Ok((object, types))
}

/// The descriptor of a map of one of the types that the object uses.
fn descriptor(map: &Map) -> Option<RawFd> {
    match map {
        Map::Array(map)
        | Map::HashMap(map)
        | Map::LruHashMap(map)
        | Map::PerCpuArray(map)
        | Map::RingBuf(map)
        | Map::Unsupported(map) => Some(map.fd().as_fd().as_raw_fd()),
        _ => None,
    }
}

fn load_one(
    object: &Object,
    types: &OwnedFd,
    kernel_types: &Btf,
    function: &'static str,
) -> Result<OwnedFd, Error> {
    let lacking = || missing_program(function);
    let program = object.programs.get(function).ok_or_else(lacking)?;
    let body = object
        .functions
        .get(&program.function_key())
        .ok_or_else(lacking)?;
    let attach_to = kernel_types
        .id_by_type_name_kind(function, BtfKind::Func)
        .map_err(|error| cannot(function, chain(&error)))?;
    let program = ModifyReturn {
        name: function,
        license: &program.license,
        body,
        types: types.as_fd(),
        attach_to,
    };
    match program.load() {
        Verified::Program(program) => Ok(program),
        Verified::Refused { source, log } => {
            Err(cannot(function, ending(&format!("{source}: {log}"))))
        }
    }
}

fn attach_one(function: &'static str, program: &OwnedFd) -> Result<OwnedFd, Error> {
    commands::attach_tracing(program.as_fd()).map_err(|error| cannot(function, error.to_string()))
}

fn cannot(function: &'static str, message: String) -> Error {
    Error::CannotRefuse { function, message }
}
