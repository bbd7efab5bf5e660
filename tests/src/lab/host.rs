//! The host that all tests of one process share. A daemon records every agent of the
//! host, so a test that starts agents has the host alone, and so has a test that
//! changes global settings of the kernel.
//!
//! Not here: tests of other processes, which `cargo xtask test` runs one after the
//! other.

use std::cell::Cell;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

static HOST: Mutex<Users> = Mutex::new(Users {
    together: 0,
    alone: false,
});
static LEFT: Condvar = Condvar::new();

thread_local! {
    /// Whether this thread has the host alone: its own recorders do not wait.
    static ALONE: Cell<bool> = const { Cell::new(false) };
}

#[derive(Debug)]
struct Users {
    together: usize,
    alone: bool,
}

/// A recorder's stay on the host, from [`together`].
#[derive(Debug)]
pub(crate) struct Stay {
    counted: bool,
}

/// The host for one test, from [`alone`].
#[derive(Debug)]
pub struct Alone(());

fn users() -> MutexGuard<'static, Users> {
    HOST.lock().unwrap_or_else(PoisonError::into_inner)
}

fn wait_while(is_in_the_way: impl Fn(&Users) -> bool) -> MutexGuard<'static, Users> {
    LEFT.wait_while(users(), |users| is_in_the_way(users))
        .unwrap_or_else(PoisonError::into_inner)
}

/// Waits until no other thread's test has the host alone.
pub(crate) fn together() -> Stay {
    let counted = !ALONE.get();
    if counted {
        wait_while(|users| users.alone).together += 1;
    }
    Stay { counted }
}

/// Waits until no other test has a recorder, and holds back new ones. The calling thread
/// starts its own recorder afterwards.
pub fn alone() -> Alone {
    wait_while(|users| users.alone || users.together > 0).alone = true;
    ALONE.set(true);
    Alone(())
}

impl Drop for Stay {
    fn drop(&mut self) {
        if self.counted {
            users().together -= 1;
            LEFT.notify_all();
        }
    }
}

impl Drop for Alone {
    fn drop(&mut self) {
        ALONE.set(false);
        users().alone = false;
        LEFT.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;
    use std::thread;
    use std::time::Duration;

    use super::*;

    #[test]
    fn whoever_is_alone_waits_for_all_others_and_they_for_it() {
        let (told, tells) = channel();
        let first = together();
        let second = together();
        let waiting = thread::spawn(move || {
            let host = alone();
            let own = together();
            told.send("alone").ok();
            drop((own, host));
            told.send("gone").ok();
        });
        drop(first);
        // A thread that does not wait sends within this time; one that waits sends
        // nothing.
        let soon = Duration::from_millis(20);
        assert!(tells.recv_timeout(soon).is_err(), "it did not wait");
        drop(second);
        assert_eq!(tells.recv(), Ok("alone"));
        assert_eq!(tells.recv(), Ok("gone"));
        assert!(waiting.join().is_ok());
        drop(together());
    }
}
