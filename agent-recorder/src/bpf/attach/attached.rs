//! The programs that the kernel has taken, and their places at its hooks.
//!
//! Not here: which programs there are (`hooks`), loading them (`load`,
//! `modify_return`), and where they are pinned (`pins`).

use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use aya::Ebpf;

use super::hooks::{
    Absent, COMPLETE, COMPLETE_BY_VALUE, ONLY_DECIDING, Profile, REPLACEMENTS, SECURITY_HOOKS,
    SENT, TOUCHES, TRACEPOINTS, Tracepoint, YOUNG, is_one_of, named, tracepoints,
};
use super::modify_return::Deciders;
use crate::bpf::error::program_error;
use crate::bpf::pins::Generation;
use crate::bpf::{Error, commands};

/// One that the kernel has taken.
struct Placed {
    name: &'static str,
    program: OwnedFd,
    /// Holds it at its hook; closed and not pinned, the program comes off.
    link: Option<OwnedFd>,
}

impl Placed {
    /// Otherwise a trampoline calls it.
    fn is_on_tracepoint(&self) -> bool {
        tracepoints().any(|Tracepoint { program, again, .. }| {
            *program == self.name || again.contains(&self.name)
        })
    }
}

/// All of a profile, in the order in which they are attached.
pub(in crate::bpf) struct Attached {
    programs: Vec<Placed>,
}

impl Attached {
    /// What was loaded of an object, and of the programs that decide; on no hook yet.
    pub(in crate::bpf) fn loaded(
        bpf: &Ebpf,
        profile: Profile,
        mut deciders: Deciders,
    ) -> Result<Self, Error> {
        let mut programs = Vec::new();
        for name in in_order(profile) {
            let program = match deciders.take(name) {
                Some(program) => program,
                None => match bpf.program(name).and_then(|program| program.fd().ok()) {
                    Some(program) => {
                        let copied = program.as_fd().try_clone_to_owned();
                        copied.map_err(|source| Error::System {
                            what: "dup of a program's descriptor",
                            source,
                        })?
                    }
                    None => continue,
                },
            };
            programs.push(Placed {
                name,
                program,
                link: None,
            });
        }
        Ok(Self { programs })
    }

    /// Those that a recorder before this one left at their hooks.
    ///
    /// # Errors
    ///
    /// One cannot be opened, or a link holds another program than it is to.
    pub(in crate::bpf) fn left(generation: &Generation, profile: Profile) -> Result<Self, Error> {
        let mut programs = Vec::new();
        for name in in_order(profile) {
            if let Some((program, link)) = generation.program(name)? {
                programs.push(Placed {
                    name,
                    program,
                    link: Some(link),
                });
            }
        }
        Ok(Self { programs })
    }

    /// Puts every program on its hook; one that is there already comes off
    /// first, and is away from it for some microseconds.
    ///
    /// `by_trampoline`: those, too, that are called by a trampoline, which 5.10
    /// attaches only once. `pinned`: where they stay when this process ends.
    ///
    /// # Errors
    ///
    /// The kernel refuses one: the first that it did. The others are attached.
    pub(in crate::bpf) fn attach(
        &mut self,
        by_trampoline: bool,
        pinned: Option<&Generation>,
    ) -> Result<(), Error> {
        let mut result = Ok(());
        for placed in &mut self.programs {
            if !by_trampoline && !placed.is_on_tracepoint() {
                continue;
            }
            placed.link = None;
            if let Some(generation) = pinned {
                result = result.and(generation.forget_link(placed.name));
            }
            match commands::attach_tracing(placed.program.as_fd()) {
                Ok(link) => {
                    if let Some(generation) = pinned {
                        let kept = generation.keep_link(placed.name, link.as_fd());
                        result = result.and(kept);
                    }
                    placed.link = Some(link);
                }
                Err(source) => {
                    result = result.and(Err(program_error("attach", placed.name, &source)));
                }
            }
        }
        result
    }

    /// Their names and descriptors.
    pub(in crate::bpf) fn programs(&self) -> impl Iterator<Item = (&'static str, BorrowedFd<'_>)> {
        self.programs
            .iter()
            .map(|placed| (placed.name, placed.program.as_fd()))
    }

    fn has(&self, name: &str) -> bool {
        self.programs.iter().any(|placed| placed.name == name)
    }

    /// Instructions that the verifier went through for each program, by
    /// name; nothing from kernels before 5.16, which do not say.
    pub(in crate::bpf) fn verified(&self) -> Vec<(String, u32)> {
        let mut verified: Vec<_> = self
            .programs()
            .filter_map(|(name, program)| {
                let count = commands::verified_instructions(program).ok()??;
                Some((name.to_owned(), count))
            })
            .collect();
        verified.sort();
        verified
    }

    /// How often the kernel skipped one of the programs that do more than decide,
    /// in all; where there are copies, the last.
    ///
    /// # Errors
    ///
    /// bpf(2) refuses to tell.
    pub(in crate::bpf) fn skipped(&self) -> Result<u64, Error> {
        let is_stood_in_for = |name: &str| {
            tracepoints().any(|Tracepoint { program, again, .. }| {
                let mut copies = std::iter::once(program).chain(*again);
                copies.any(|copy| *copy == name) && copies.any(|later| self.has(later))
            })
        };
        self.programs()
            .filter(|(name, _)| !is_stood_in_for(name) && !is_one_of(&ONLY_DECIDING, name))
            .map(|(_, program)| commands::recursion_misses(program))
            .sum::<io::Result<u64>>()
            .map_err(|source| Error::System {
                what: "asking how often programs were skipped",
                source,
            })
    }

    /// Whether the programs on inode times are in use.
    pub(in crate::bpf) fn are_touched(&self) -> bool {
        TOUCHES.iter().all(|touch| self.has(touch.program))
    }

    /// Hooks that this kernel lacks, and that nothing replaces. `refuses`:
    /// whether there are programs that decide.
    pub(in crate::bpf) fn absent(&self, profile: Profile, refuses: bool) -> Vec<Absent> {
        // One of the two takes the completions.
        let complete = if self.has(COMPLETE_BY_VALUE.program) {
            COMPLETE_BY_VALUE
        } else {
            COMPLETE
        };
        let tracepoints = TRACEPOINTS
            .iter()
            .chain([&complete])
            .map(|tracepoint| tracepoint.program)
            .filter(|&program| program != SENT)
            .filter(|program| {
                let mut replacements = REPLACEMENTS.iter().filter(|known| known.of == *program);
                !replacements.any(|known| self.has(known.function))
            });
        let touches = if profile.sees() { &[] } else { TOUCHES };
        let touches = touches.iter().map(|touch| touch.program);
        let hooks = SECURITY_HOOKS
            .iter()
            .filter(|_| profile.sees())
            .map(|hook| named(hook, profile))
            .filter(|name| !is_one_of(&YOUNG, name))
            // Where nothing is refused, that is said at once and for all.
            .filter(|name| profile == Profile::Lsm || refuses || !is_one_of(&ONLY_DECIDING, name));
        tracepoints
            .chain(touches)
            .chain(hooks)
            .filter(|program| !self.has(program))
            .map(Absent::of)
            .collect()
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
