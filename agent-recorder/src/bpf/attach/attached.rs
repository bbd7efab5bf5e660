//! The programs that the kernel has loaded, and the links that attach them.
//!
//! Not here: which programs there are (`agent_recorder_abi::hooks`), loading them (`load`,
//! `modify_return`), and where they are pinned (`pins`).

use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use agent_recorder_abi::hooks::{SECURITY_HOOKS, StandIn, TRACEPOINTS, Tracepoint, When};
use aya::Ebpf;

use super::hooks::{Absent, Profile, function_exits, in_place_of_hooks, named, only_decides};
use super::modify_return::Deciders;
use crate::bpf::error::program_error;
use crate::bpf::pins::Generation;
use crate::bpf::{Error, commands};

/// A program that the kernel has loaded.
struct Placed {
    name: &'static str,
    program: OwnedFd,
    /// The link holds the program at its hook: a closed link without a pin detaches
    /// it.
    link: Option<OwnedFd>,
}

impl Placed {
    /// Whether the program sits on a tracepoint. Every other one is called by a
    /// trampoline.
    fn is_on_tracepoint(&self) -> bool {
        TRACEPOINTS
            .iter()
            .any(|row| row.programs().any(|program| program == self.name))
    }
}

/// All programs of a profile, in the order in which they are attached.
pub(in crate::bpf) struct Attached {
    programs: Vec<Placed>,
}

impl Attached {
    /// Takes the loaded programs of an object, and its deciding programs. None is
    /// attached yet.
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

    /// The programs that an earlier recorder left attached.
    ///
    /// # Errors
    ///
    /// A program or link cannot be opened, or a link holds another program than
    /// expected.
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

    /// Attaches every program. A program that is attached already is detached first,
    /// for some microseconds.
    ///
    /// `by_trampoline`: whether to include programs that a trampoline calls, which
    /// 5.10 attaches only once. `pinned`: the directory that keeps them attached when
    /// this process ends.
    ///
    /// # Errors
    ///
    /// The first refusal of the kernel. All other programs are attached.
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

    /// Names and descriptors of the programs.
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
    /// over all of them. Of a program with replicas only the last counts.
    ///
    /// # Errors
    ///
    /// bpf(2) refuses the information.
    pub(in crate::bpf) fn skipped(&self) -> Result<u64, Error> {
        let has_later_replica = |name: &str| {
            TRACEPOINTS.iter().any(|row| {
                let mut replicas = row.programs();
                replicas.any(|replica| replica == name) && replicas.any(|later| self.has(later))
            })
        };
        self.programs()
            .filter(|(name, _)| !has_later_replica(name) && !only_decides(name))
            .map(|(_, program)| commands::recursion_misses(program))
            .sum::<io::Result<u64>>()
            .map_err(|source| Error::System {
                what: "asking how often programs were skipped",
                source,
            })
    }

    /// Whether the programs that see changes of inode times are in use.
    pub(in crate::bpf) fn are_touched(&self) -> bool {
        in_place_of_hooks().all(|row| self.has(row.program))
    }

    /// Hooks that this kernel lacks and no other hook replaces. `refuses`: whether
    /// there are programs that decide.
    pub(in crate::bpf) fn absent(&self, profile: Profile, refuses: bool) -> Vec<Absent> {
        let tracepoints = TRACEPOINTS
            .iter()
            .filter(|row| row.when != When::WithoutHooks || !profile.sees())
            .filter(|row| !self.has_stand_in(row))
            .map(|row| (row.program, row.lost));
        let hooks = SECURITY_HOOKS
            .iter()
            .filter(|_| profile.sees())
            // Where nothing is refused, one message says so; the deciding hooks are
            // not listed.
            .filter(|row| profile == Profile::Lsm || refuses || !row.only_decides)
            .map(|row| (named(row, profile), row.lost));
        tracepoints
            .chain(hooks)
            .filter(|(program, _)| !self.has(program))
            .filter_map(|(program, lost)| {
                Some(Absent {
                    program,
                    lost: lost?,
                })
            })
            .collect()
    }

    /// Whether another program does the work of a tracepoint's.
    fn has_stand_in(&self, row: &Tracepoint) -> bool {
        match row.stand_in {
            StandIn::None => false,
            StandIn::Tracepoint(program) | StandIn::FunctionExit(program) => self.has(program),
        }
    }
}

/// The kernel calls the replicas of a program in the order of their attachment. A
/// replica that is attached anew moves to the end, so that attaching all of them
/// preserves the order.
fn in_order(profile: Profile) -> impl Iterator<Item = &'static str> {
    let hooks = SECURITY_HOOKS.iter().map(move |hook| named(hook, profile));
    let firsts = TRACEPOINTS.iter().map(|row| row.program);
    let again = TRACEPOINTS.iter().flat_map(|row| row.again.iter().copied());
    hooks.chain(function_exits()).chain(firsts).chain(again)
}
