//! A real file system that stops at once, as after a power loss or a pulled disk:
//! ext4, by its shutdown ioctl.

use std::fs::{self, File};
use std::os::fd::AsRawFd as _;
use std::path::Path;
use std::process::Command;

use agent_recorder::record::proto::record::Body;
use agent_recorder::record::proto::{Record, StreamEvent};
use agent_recorder::record::{Seq, chain};
use agent_recorder::spool::{Item, Options, Spool, Store};
use agent_recorder_tests::lab::file_systems::in_own_namespace;
use agent_recorder_tests::skip;
use anyhow::{Context as _, bail, ensure};

const IMAGE_BYTES: u64 = 16 << 20;
const LOSSES: u64 = 12;
/// EXT4_IOC_SHUTDOWN, `_IOR('X', 125, __u32)` (fs/ext4/ext4.h): everything fails from then on.
const SHUTDOWN: libc::Ioctl = 0x8004_587d_u32 as libc::Ioctl;
/// Not even the journal is written first (EXT4_GOING_FLAGS_NOLOGFLUSH).
const AT_ONCE: u32 = 2;

fn record(text: String) -> Record {
    Record {
        body: Some(Body::StreamEvent(StreamEvent {
            event: text,
            ..Default::default()
        })),
        ..Default::default()
    }
}

fn run(program: &str, arguments: &[&str]) -> anyhow::Result<()> {
    let path = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin:/sbin";
    let output = Command::new(program)
        .args(arguments)
        .env("PATH", path)
        .output()
        .with_context(|| format!("run {program}"))?;
    ensure!(output.status.success(), "{program}: {output:?}");
    Ok(())
}

fn shut_down(directory: &Path) -> anyhow::Result<()> {
    let handle = File::open(directory)?;
    // SAFETY: the call reads one u32, which outlives it.
    let done = unsafe { libc::ioctl(handle.as_raw_fd(), SHUTDOWN, &AT_ONCE) };
    ensure!(done == 0, "shut down: {}", std::io::Error::last_os_error());
    Ok(())
}

/// Checks every record up to `last`, each chained to its predecessor.
fn check(spool: &Path, last: Seq) -> anyhow::Result<()> {
    let store = Store::open(spool)?;
    let streams = store.streams()?;
    ensure!(streams.len() == 1, "{streams:?}");
    let mut chain = chain::Chain::start(streams[0]);
    let mut cursor = store.durable_cursor(streams[0])?;
    while let Some(item) = cursor.next()? {
        let Item::Record { seq, bytes, .. } = item else {
            bail!("damaged: {item:?}");
        };
        ensure!(chain.verify(seq, &bytes), "{seq} does not go on");
    }
    ensure!(chain.seq() >= last, "{} of {last}", chain.seq());
    Ok(())
}

/// D1, S3, S6: EIO from every call, and then what a power loss leaves.
#[test]
fn when_the_file_system_stops_the_spool_goes_on_in_memory_and_what_was_durable_is_there_afterwards()
-> anyhow::Result<()> {
    in_own_namespace(|| {
        let scratch = tempfile::tempdir()?;
        let image = scratch.path().join("image");
        let disk = scratch.path().join("disk");
        fs::create_dir(&disk)?;
        File::create(&image)?.set_len(IMAGE_BYTES)?;
        let (image, disk_name) = (image.display().to_string(), disk.display().to_string());
        let covered = run("mke2fs", &["-q", "-F", "-t", "ext4", &image])
            .and_then(|()| run("mount", &["-t", "ext4", "-o", "loop", &image, &disk_name]))
            .and_then(|()| run("umount", &[&disk_name]));
        if let Err(why) = covered {
            skip!("no ext4 on a loop device: {why:#}");
        }
        let mut durable = Seq::default();
        for loss in 0..LOSSES {
            run("mount", &["-t", "ext4", "-o", "loop", &image, &disk_name])?;
            let directory = disk.join("spool");
            let options = Options {
                segment_bytes: 5000,
                ..Options::default()
            };
            let mut spool = Spool::open(&directory, options)?;
            ensure!(spool.take_news().is_empty(), "a power loss is no damage");
            ensure!(
                spool.last_seq() >= durable,
                "{} after {durable}",
                spool.last_seq()
            );
            for number in 0..40 + 7 * loss {
                spool
                    .append(record(format!("event {number} of {loss}")))
                    .context("there is room")?;
                match number % 6 {
                    1 | 3 => drop(spool.flush()),
                    5 => drop(spool.sync()?),
                    _ => {}
                }
            }
            durable = spool.durable();
            shut_down(&disk)?;
            for number in 0..100 {
                let held = spool.append(record(format!("held {number}")));
                ensure!(held.is_some(), "it is not held");
                ensure!(spool.sync().is_err(), "what is gone cannot be synced");
            }
            ensure!(spool.durable() == durable, "durable without a disk");
            drop(spool);
            run("umount", &[&disk_name])?;
        }
        run("mount", &["-t", "ext4", "-o", "loop", &image, &disk_name])?;
        let directory = disk.join("spool");
        let mut spool = Spool::open(&directory, Options::default())?;
        spool.append(record("last".to_owned())).context("room")?;
        let last = spool.sync()?;
        check(&directory, last)?;
        println!("{last} records, {LOSSES} losses");
        drop(spool);
        run("umount", &[&disk_name])
    })
}
