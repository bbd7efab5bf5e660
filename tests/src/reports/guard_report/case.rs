//! A case: its scripts and their requirements, as data.
//! Not here: the run of a case (`trial`).

/// One row of a table.
///
/// Scripts are for sh(1) and know these variables: `D` the files, in 50
/// directories; `W` where `D` lies, outside temporary directories; `S` a
/// scratch directory that is temporary; `T` tools that were installed for the
/// report; `B` the program of `destroy.c`; `U` the stimuli, among them that of io_uring.
#[derive(Clone, Copy)]
pub(crate) struct Case {
    pub(crate) name: &'static str,
    /// The session's script.
    pub(crate) script: &'static str,
    /// Preparation, run outside every session.
    pub(crate) before: &'static str,
    /// Clean-up, run outside every session.
    pub(crate) after: &'static str,
    /// Programs that it needs.
    pub(crate) needs: &'static [&'static str],
    /// A program and the npm packages that bring it, into `T`.
    pub(crate) tool: Option<(&'static str, &'static str)>,
    /// Configuration beside `[guard]`'s action.
    pub(crate) guard: &'static str,
    /// Files whose destroying can be under way at once when the limit is met:
    /// where nothing is refused, each but the last can go beyond it.
    pub(crate) at_once: usize,
    /// The limit that ends it.
    pub(crate) limit: usize,
    /// Where the files are searched for, if not below `W`.
    pub(crate) look_in: &'static str,
    /// Whether a profile must see the object, and not its name alone, to see the destruction.
    pub(crate) judged: bool,
    /// It acts through io_uring.
    pub(crate) by_requests: bool,
    /// Reason of a known weakness.
    pub(crate) weakness: Option<&'static str>,
}

/// The guard's default.
pub(crate) const LIMIT: usize = 64;

pub(crate) const fn case(name: &'static str, script: &'static str) -> Case {
    Case {
        name,
        script,
        before: "",
        after: "",
        needs: &[],
        tool: None,
        guard: "",
        at_once: 1,
        limit: LIMIT,
        look_in: "$W",
        judged: false,
        by_requests: false,
        weakness: None,
    }
}

impl Case {
    pub(crate) const fn before(self, before: &'static str) -> Self {
        Self { before, ..self }
    }

    pub(crate) const fn after(self, after: &'static str) -> Self {
        Self { after, ..self }
    }

    pub(crate) const fn needs(self, needs: &'static [&'static str]) -> Self {
        Self { needs, ..self }
    }

    pub(crate) const fn tool(self, program: &'static str, packages: &'static str) -> Self {
        Self {
            tool: Some((program, packages)),
            needs: &["npm"],
            ..self
        }
    }

    pub(crate) const fn guard(self, guard: &'static str, limit: usize) -> Self {
        Self {
            guard,
            limit,
            ..self
        }
    }

    pub(crate) const fn at_once(self, at_once: usize) -> Self {
        Self { at_once, ..self }
    }

    pub(crate) const fn look_in(self, look_in: &'static str) -> Self {
        Self { look_in, ..self }
    }

    pub(crate) const fn judged(self) -> Self {
        Self {
            judged: true,
            ..self
        }
    }

    pub(crate) const fn by_requests(self) -> Self {
        Self {
            by_requests: true,
            ..self
        }
    }

    pub(crate) const fn weak(self, why: &'static str) -> Self {
        Self {
            weakness: Some(why),
            ..self
        }
    }
}
