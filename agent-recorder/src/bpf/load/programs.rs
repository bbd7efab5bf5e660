//! Loads a profile's programs, and probes whether the kernel calls them.
//!
//! Not here: the table of the programs (`agent_recorder_abi::hooks`), and attaching
//! them (`attach::attached`).

use std::net::UdpSocket;

use agent_recorder_abi::hooks::{
    PROBE_FENTRY, PROBE_LSM, Probe, SECURITY_HOOKS, SENT, SecurityHook, TRACEPOINTS, Tracepoint,
    When,
};
use aya::maps::Array;
use aya::programs::{BtfTracePoint, FEntry, FExit, Lsm, Program};
use aya::{Btf, Ebpf};
use aya_obj::btf::BtfKind;

use super::source::Source;
use crate::bpf::Error;
use crate::bpf::attach::hooks::{Profile, function_exit, in_place_of_hooks};
use crate::bpf::attach::modify_return::Deciders;
use crate::bpf::btf::Resolved;
use crate::bpf::error::{map_error, missing, missing_program, program_error, refused};

/// Probes whether the kernel calls programs of this kind. A kernel without `bpf` in
/// its lsm list loads and attaches LSM programs, and never calls them.
///
/// # Errors
///
/// The kernel refuses the programs, or does not call them.
pub(in crate::bpf) fn probe(bpf: &mut Ebpf, btf: &Btf, profile: Profile) -> Result<(), Error> {
    match call_probe(bpf, btf, profile) {
        Err(Error::NoPermission) => Err(Error::ProfileRefused { profile }),
        result => result,
    }
}

fn call_probe(bpf: &mut Ebpf, btf: &Btf, profile: Profile) -> Result<(), Error> {
    let name = match profile {
        Profile::Lsm => {
            let Probe { program: name, on } = PROBE_LSM;
            let probe: &mut Lsm = program(bpf, name)?;
            load_one(name, probe.load(on, btf))?;
            attach_one(name, probe.attach())?;
            name
        }
        Profile::Fentry => {
            let Probe { program: name, on } = PROBE_FENTRY;
            let probe: &mut FEntry = program(bpf, name)?;
            load_one(name, probe.load(on, btf))?;
            attach_one(name, probe.attach())?;
            name
        }
        Profile::Tracepoint => return Ok(()),
    };
    let called = is_probe_called(bpf);
    unload(bpf, name)?;
    if called? {
        Ok(())
    } else {
        Err(Error::NeverCalled { profile })
    }
}

fn is_probe_called(bpf: &mut Ebpf) -> Result<bool, Error> {
    let map = bpf.map_mut("PROBE").ok_or_else(|| missing("PROBE"))?;
    let mut asking: Array<_, u32> =
        Array::try_from(map).map_err(|error| map_error("PROBE", &error))?;
    asking
        .set(0, std::process::id(), 0)
        .map_err(|error| map_error("PROBE", &error))?;
    // The socket is closed at once: the probe needs its creation only.
    drop(UdpSocket::bind("127.0.0.1:0"));
    let left = asking
        .get(&0, 0)
        .map_err(|error| map_error("PROBE", &error))?;
    Ok(left == 0)
}

pub(in crate::bpf) fn unload(bpf: &mut Ebpf, name: &'static str) -> Result<(), Error> {
    let unloaded = match bpf.program_mut(name) {
        Some(Program::Lsm(program)) => program.unload(),
        Some(Program::FEntry(program)) => program.unload(),
        Some(Program::BtfTracePoint(program)) => program.unload(),
        _ => Ok(()),
    };
    unloaded.map_err(|error| program_error("unload", name, &error))
}

/// The hooks on whose functions a profile decides by fmod_ret programs.
pub(in crate::bpf) fn deciding(
    btf: &Btf,
    profile: Profile,
    refuses: bool,
) -> Vec<&'static SecurityHook> {
    SECURITY_HOOKS
        .iter()
        .filter(|_| refuses && profile == Profile::Fentry)
        .filter(|row| has_function(btf, row.function))
        .collect()
}

/// Loads every program of a profile, except for the deciding ones, which are loaded
/// already.
///
/// # Errors
///
/// The kernel refuses one.
pub(in crate::bpf) fn load(
    bpf: &mut Ebpf,
    source: &Source<'_>,
    profile: Profile,
    deciders: &Deciders,
) -> Result<(), Error> {
    let Source {
        btf,
        resolved,
        copied,
        ..
    } = *source;
    for row in TRACEPOINTS {
        if !is_wanted(row, profile, resolved) {
            continue;
        }
        let mut names = row.names.iter();
        let Some(hook) = names.find(|name| has_tracepoint(btf, name)) else {
            stand_in(bpf, btf, row)?;
            continue;
        };
        let replicas = if copied { 1 + row.again.len() } else { 1 };
        for name in row.programs().take(replicas) {
            let program: &mut BtfTracePoint = program(bpf, name)?;
            load_one(name, program.load(hook, btf))?;
        }
    }
    for row in SECURITY_HOOKS {
        let (hook, function) = (row.hook, row.function);
        let result = match profile {
            Profile::Lsm if !has_function(btf, &format!("bpf_lsm_{hook}")) => Ok(()),
            Profile::Lsm => load_one(hook, program::<Lsm>(bpf, hook)?.load(hook, btf)),
            Profile::Fentry if deciders.are_on(function) || !has_function(btf, function) => Ok(()),
            Profile::Fentry if row.only_decides => Ok(()),
            Profile::Fentry => load_one(
                function,
                program::<FEntry>(bpf, function)?.load(function, btf),
            ),
            Profile::Tracepoint => Ok(()),
        };
        match result {
            Err(Error::Program { .. }) if row.by_value => {}
            result => result?,
        }
    }
    Ok(())
}

/// Whether a tracepoint's programs have work to do in a profile on this kernel.
fn is_wanted(row: &Tracepoint, profile: Profile, resolved: &Resolved) -> bool {
    match row.when {
        When::Always => true,
        When::Uring => resolved.uring,
        When::UringByPointer => resolved.uring && resolved.completion_by_pointer,
        When::UringByValue => resolved.uring && !resolved.completion_by_pointer,
        When::WithoutHooks => !profile.sees(),
    }
}

/// Loads the stand-in of a tracepoint's program, where there is one and the kernel
/// takes it. `absent` reports the other tracepoints.
fn stand_in(bpf: &mut Ebpf, btf: &Btf, row: &Tracepoint) -> Result<(), Error> {
    if let Some(function) = function_exit(row) {
        let program: &mut FExit = program(bpf, function)?;
        // A kernel without trampolines refuses every such program.
        let _ = program.load(function, btf);
    }
    Ok(())
}

/// Whether the kernel traces what sockets send (6.3). Otherwise the results of calls
/// show it.
pub(in crate::bpf) fn sends_are_traced(btf: &Btf) -> bool {
    has_tracepoint(btf, SENT.program)
}

/// Whether the kernel traces every inode whose times change (6.13).
pub(in crate::bpf) fn times_are_traced(btf: &Btf) -> bool {
    in_place_of_hooks().all(|row| row.names.iter().any(|name| has_tracepoint(btf, name)))
}

fn has_function(btf: &Btf, name: &str) -> bool {
    btf.id_by_type_name_kind(name, BtfKind::Func).is_ok()
}

fn has_tracepoint(btf: &Btf, hook: &str) -> bool {
    let name = format!("btf_trace_{hook}");
    btf.id_by_type_name_kind(&name, BtfKind::Typedef).is_ok()
}

pub(in crate::bpf) fn program<'a, T>(
    bpf: &'a mut Ebpf,
    name: &'static str,
) -> Result<&'a mut T, Error>
where
    &'a mut T: TryFrom<&'a mut Program, Error = aya::programs::ProgramError>,
{
    bpf.program_mut(name)
        .ok_or_else(|| missing_program(name))?
        .try_into()
        .map_err(|error| program_error("load", name, &error))
}

pub(in crate::bpf) fn load_one(
    name: &'static str,
    result: Result<(), aya::programs::ProgramError>,
) -> Result<(), Error> {
    result.map_err(|error| refused(&error).unwrap_or_else(|| program_error("load", name, &error)))
}

pub(in crate::bpf) fn attach_one<L>(
    name: &'static str,
    result: Result<L, aya::programs::ProgramError>,
) -> Result<(), Error> {
    // The program owns the link: unloading the program detaches it.
    match result {
        Ok(_) => Ok(()),
        Err(error) => Err(program_error("attach", name, &error)),
    }
}
