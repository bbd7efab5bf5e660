//! Programs at their hooks, and putting them there anew while they work.
//!
//! Not here: those that refuse by fmod_ret (`modify_return`), and which
//! programs there are (`programs`).

use std::any::Any;
use std::collections::HashMap;

use aya::Ebpf;
use aya::programs::{Program, ProgramError};

use super::Error;
use super::error::{missing_program, program_error};
use super::hooks::is_loaded;
use super::programs::{Profile, REPLACEMENTS, SECURITY_HOOKS, Tracepoint, named, tracepoints};

/// A program comes off its hook when this is dropped.
type Link = Box<dyn Any>;

/// What holds each program at its hook, by its name.
#[derive(Default)]
pub(super) struct Links(HashMap<&'static str, Link>);

impl Links {
    /// Puts every program that was loaded on its hook; one that is there
    /// already comes off first, and is away from it for some microseconds.
    ///
    /// `by_trampoline`: those, too, that are called by a trampoline, which 5.10
    /// attaches only once.
    ///
    /// # Errors
    ///
    /// The kernel refuses one: the first that it did. The others are attached.
    pub(super) fn attach(
        &mut self,
        bpf: &mut Ebpf,
        profile: Profile,
        by_trampoline: bool,
    ) -> Result<(), Error> {
        let mut result = Ok(());
        for name in in_order(profile) {
            let is_wanted = by_trampoline || is_on_tracepoint(bpf, name);
            if is_wanted && is_loaded(bpf, name) {
                drop(self.0.remove(name));
                match attach(bpf, name) {
                    Ok(link) => drop(self.0.insert(name, link)),
                    Err(error) => result = result.and(Err(error)),
                }
            }
        }
        result
    }
}

/// The kernel calls the copies of a program in the order in which they come.
/// Each one that is attached anew goes to the end, so it holds then, too.
fn in_order(profile: Profile) -> impl Iterator<Item = &'static str> {
    let hooks = SECURITY_HOOKS.iter().map(move |hook| named(hook, profile));
    let replacements = REPLACEMENTS.iter().map(|known| known.function);
    let firsts = tracepoints().map(|tracepoint| tracepoint.program);
    let again = tracepoints().flat_map(|Tracepoint { again, .. }| again.iter().copied());
    hooks.chain(replacements).chain(firsts).chain(again)
}

fn is_on_tracepoint(bpf: &Ebpf, name: &str) -> bool {
    matches!(bpf.program(name), Some(Program::BtfTracePoint(_)))
}

fn attach(bpf: &mut Ebpf, name: &'static str) -> Result<Link, Error> {
    macro_rules! link {
        ($program:expr) => {{
            let program = $program;
            let link = program.attach().and_then(|id| program.take_link(id));
            link.map(|link| Box::new(link) as Link)
        }};
    }
    let link = match bpf.program_mut(name) {
        Some(Program::Lsm(program)) => link!(program),
        Some(Program::FEntry(program)) => link!(program),
        Some(Program::FExit(program)) => link!(program),
        Some(Program::BtfTracePoint(program)) => link!(program),
        _ => return Err(missing_program(name)),
    };
    link.map_err(|error: ProgramError| program_error("attach", name, &error))
}
