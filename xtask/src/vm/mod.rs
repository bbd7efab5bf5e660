//! `cargo xtask vm`: the recorder on other kernels than this machine's, each
//! in a guest of its own; for a person to look around in, or the test suite on
//! all of them. Needs no root and no hardware help.

mod archive;
pub(crate) mod guard;
mod image;
pub(crate) mod kernels;
mod matrix;
mod modules;
mod qemu;
mod suite;

use std::ffi::OsString;
use std::io::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use self::image::Image;
use self::kernels::Kernel;
use self::qemu::Machine;
use self::suite::{QUICK, TRUTH};
use crate::step::{Steps, say};
use crate::toolchain::Toolchain;
use crate::{build, setup};

/// Emulated, one suite takes minutes; one that hangs must not take the night.
const ROW_LIMIT: Duration = Duration::from_secs(1800);
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
    /// Of the suite, only what `cargo xtask test` runs in guests
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
            suite::all()
        } else {
            TRUTH.to_vec()
        }
    }
}

/// Builds what the guests hold, and boots.
///
/// # Errors
///
/// Something is missing, does not compile, cannot be fetched, or a guest fails.
pub(crate) fn command(args: &Args) -> Result<ExitCode> {
    let mut steps = Steps::new(5);
    steps.run("what guests need", ready)?;
    let toolchain = steps.run("BPF toolchain", Toolchain::ready)?;
    steps.run("BPF object", || build::object(&toolchain))?;
    let image = steps.run("the guest's binaries", || Image::build(&suite::all()))?;
    let limit = args.limit.map_or(ROW_LIMIT, Duration::from_secs);
    steps.run("guest", || {
        let mut rows = matrix::rows(args.kernel);
        for only in &args.only {
            ensure!(
                rows.iter().any(|row| row.label() == *only),
                "there is no row {only}"
            );
        }
        rows.retain(|row| args.only.is_empty() || args.only.contains(&row.label()));
        match args.kernel {
            _ if args.matrix => matrix::run(&rows, &args.tests(), &image, limit)?,
            None => matrix::report(&rows, &image, limit)?,
            Some(_) if args.report => matrix::report(&rows, &image, limit)?,
            Some(kernel) => return boot(kernel, args, &image),
        }
        Ok(ExitCode::SUCCESS)
    })
}

/// What the guests of [`test`] take; the kernel programs are built already.
/// A kernel that cannot be had now fails its rows then.
///
/// # Errors
///
/// As [`command`].
pub(crate) fn prepare() -> Result<Image> {
    ready()?;
    matrix::fetch(&matrix::rows(None));
    Image::build(QUICK)
}

/// Boots every kernel with the part of the suite that there is always time for.
///
/// # Errors
///
/// A row of the matrix fails.
pub(crate) fn test(image: Image) -> Result<()> {
    matrix::run(&matrix::rows(None), QUICK, &image, ROW_LIMIT)
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
