//! `cargo xtask vm`: runs the recorder on other kernels, each in a guest of its own,
//! interactively or with the test suite on all of them. It needs no root and no
//! hardware virtualisation.

mod archive;
pub(crate) mod guard;
mod heard;
mod image;
pub(crate) mod kernels;
mod matrix;
mod modules;
mod qemu;
pub(crate) mod rows;
mod script;
mod suite;
mod table;

use std::ffi::OsString;
use std::io::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use self::image::Image;
use self::kernels::Kernel;
use self::qemu::Machine;
use self::rows::Row;
use self::suite::{QUICK, TRUTH};
use crate::artifacts::Artifact;
use crate::step::{Steps, say};
use crate::test::outcome::Outcome;
use crate::test::program::{self, Group};
use crate::toolchain::Toolchain;
use crate::{build, setup};

/// Time limit of a suite, which takes minutes when it is emulated.
const ROW_LIMIT: Duration = Duration::from_secs(1800);
/// Time limit of the quick part.
const QUICK_LIMIT: Duration = Duration::from_secs(900);
/// Time limit with the tests of a daemon's life.
const WHOLE_LIMIT: Duration = Duration::from_secs(5400);
const COMMAND_LIMIT: Duration = Duration::from_secs(600);

/// Which kernel, and what to do on it.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The newest of Debian's kernels of this number; with --matrix or --report, only its rows
    #[arg(required_unless_present_any = ["matrix", "report"])]
    kernel: Option<Kernel>,
    /// Run the test suite on every kernel, in every profile that it allows
    #[arg(long, conflicts_with_all = ["command", "cmdline"])]
    matrix: bool,
    /// Of the suite, only what `cargo xtask test` runs in guests, built as there
    #[arg(long, requires = "matrix")]
    quick: bool,
    /// With the suite, the tests of gate, hand-offs, tamper, canaries and restarts
    #[arg(long, requires = "matrix", conflicts_with = "quick")]
    whole: bool,
    /// Of the rows only these: 7-lsm,6.1-fentry
    #[arg(long, requires = "matrix", value_delimiter = ',', value_name = "ROW,…")]
    only: Vec<String>,
    /// Print what each program costs the verifier of every kernel
    #[arg(long, conflicts_with_all = ["command", "cmdline", "matrix"])]
    report: bool,
    /// What to add to the kernel's command line
    #[arg(
        long,
        value_name = "EXTRA",
        default_value = "",
        allow_hyphen_values = true
    )]
    cmdline: String,
    /// How long a guest may take; 600 for a command, 1800 for a suite
    #[arg(long, value_name = "SECONDS")]
    limit: Option<u64>,
    /// What to run; a shell without it
    #[arg(last = true, value_name = "CMD")]
    command: Vec<OsString>,
}

impl Args {
    fn tests(&self) -> Vec<&'static str> {
        if self.quick {
            QUICK.to_vec()
        } else if self.whole {
            suite::whole()
        } else {
            TRUTH.to_vec()
        }
    }

    fn limit(&self) -> Duration {
        let usual = if self.whole { WHOLE_LIMIT } else { ROW_LIMIT };
        self.limit.map_or(usual, Duration::from_secs)
    }

    /// The requested rows.
    fn rows(&self) -> Result<Vec<Row>> {
        let mut rows = rows::of(self.kernel);
        for only in &self.only {
            ensure!(
                rows.iter().any(|row| row.label() == *only),
                "there is no row {only}"
            );
        }
        rows.retain(|row| self.only.is_empty() || self.only.contains(&row.label()));
        Ok(rows)
    }
}

/// The image of the guests, and the tests that they run.
pub(crate) struct Guests {
    image: Image,
    groups: Vec<Group>,
}

impl Guests {
    /// Guests with the programs that cargo built, and the tests of these groups.
    ///
    /// # Errors
    ///
    /// One is missing, or the image cannot be written.
    fn of(programs: &[Artifact], tests: &[&str]) -> Result<Self> {
        let is_suite = |program: &&Artifact| program.kind == "test";
        let mut groups = Vec::new();
        for program in programs.iter().filter(is_suite) {
            groups.extend(program::groups(program)?);
        }
        Ok(Self {
            image: Image::of(programs)?,
            groups: suite::named(&groups, tests)?,
        })
    }

    /// Guests with optimised programs: emulated, a daemon of the debug build takes
    /// more than a minute to load its programs.
    fn optimised(tests: &[&str]) -> Result<Self> {
        // With a test, cargo also builds the package's own programs, which include
        // the stimuli.
        Self::of(&image::optimised(&[("--test", "e2e")])?, tests)
    }
}

/// Builds the contents of the guests, and boots them.
///
/// # Errors
///
/// Something is missing, does not compile, cannot be fetched, or a guest fails.
pub(crate) fn command(args: &Args) -> Result<ExitCode> {
    let mut steps = Steps::new(5);
    steps.run("what guests need", ready)?;
    let toolchain = steps.run("BPF toolchain", Toolchain::ready)?;
    steps.run("BPF object", || build::object(&toolchain))?;
    let guests = steps.run("the guest's binaries", || {
        if args.quick {
            Guests::optimised(QUICK)
        } else {
            Guests::optimised(&args.tests())
        }
    })?;
    steps.run("guest", || {
        let rows = args.rows()?;
        match args.kernel {
            _ if args.matrix => {
                let lines = matrix::run(&rows, &guests, args.limit());
                println!("{}", table::plain(&lines));
                matrix::verdict(&lines)?;
            }
            None => matrix::report(&rows, &guests, args.limit())?,
            Some(_) if args.report => matrix::report(&rows, &guests, args.limit())?,
            Some(kernel) => return boot(kernel, args, &guests.image),
        }
        Ok(ExitCode::SUCCESS)
    })
}

/// The part of the tests that `cargo xtask test` runs in guests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Extent {
    /// The quick part, on two rows.
    Two,
    /// All tests that guests can run, on all rows.
    Full,
}

impl Extent {
    fn rows(self) -> Vec<Row> {
        match self {
            Self::Two => rows::two(),
            Self::Full => rows::of(None),
        }
    }
}

/// Fetches everything that [`test`] boots, except for the programs. A kernel that
/// cannot be fetched fails its rows later.
///
/// # Errors
///
/// A program that guests take cannot be installed.
pub(crate) fn prepare(extent: Extent) -> Result<()> {
    ready()?;
    matrix::fetch(&extent.rows());
    Ok(())
}

/// Builds the contents of the guests of an extent.
///
/// # Errors
///
/// The workspace does not compile, or the image cannot be written.
pub(crate) fn guests(extent: Extent) -> Result<Guests> {
    match extent {
        Extent::Two => Guests::optimised(QUICK),
        Extent::Full => Guests::optimised(&suite::whole()),
    }
}

/// Runs the tests of an extent in its guests. The table of all rows goes to
/// docs/evidence.
///
/// # Errors
///
/// The table cannot be written. A failed row has its reason instead.
pub(crate) fn test(extent: Extent, guests: &Guests) -> Result<(Vec<Outcome>, Result<()>)> {
    let limit = match extent {
        Extent::Two => QUICK_LIMIT,
        Extent::Full => WHOLE_LIMIT,
    };
    let lines = matrix::run(&extent.rows(), guests, limit);
    println!("{}", table::plain(&lines));
    if extent == Extent::Full {
        table::keep(&lines, "cargo xtask test --full")?;
    }
    let verdict = matrix::verdict(&lines);
    Ok((
        lines.into_iter().map(|line| line.outcome).collect(),
        verdict,
    ))
}

fn ready() -> Result<()> {
    ensure!(
        cfg!(target_arch = "x86_64"),
        "the guests are x86_64's, and their binaries are built here: run this on an x86_64 machine"
    );
    setup::for_guests()
}

fn boot(kernel: Kernel, args: &Args, image: &Image) -> Result<ExitCode> {
    let kernel = kernel.fetched()?;
    let script = (!args.command.is_empty()).then(|| image::script(&args.command));
    let initramfs = image.with_command(&kernel, script.as_deref())?;
    let machine = Machine {
        kernel: &kernel.image,
        initramfs: initramfs.path(),
        cmdline: &args.cmdline,
    };
    if script.is_none() {
        say("a shell in the guest; `exit` ends it, as does Ctrl-A X");
        machine.shell()?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut printed = Ok(());
    let limit = args.limit.map_or(COMMAND_LIMIT, Duration::from_secs);
    let status = machine.run(limit, |said| {
        let mut out = std::io::stdout().lock();
        let wrote = out.write_all(said).and_then(|()| out.flush());
        if printed.is_ok() {
            printed = wrote;
        }
    })?;
    printed.context("print what the guest printed")?;
    Ok(ExitCode::from(status))
}
