//! The host that all tests of one process share. A daemon records every agent of
//! the host, so whoever starts agents has it alone, and so has whoever changes
//! what is the kernel's.
//!
//! Not here: tests of other processes, which `cargo xtask test` runs one after
//! the other.

use std::cell::Cell;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

static HOST: Mutex<Users> = Mutex::new(Users {
    together: 0,
    alone: false,
});
static LEFT: Condvar = Condvar::new();

thread_local! {
    /// The thread's own recorders do not wait for it.
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

/// Waits until no test has the host alone, but for the calling thread's own.
pub(crate) fn together() -> Stay {
    let counted = !ALONE.get();
    if counted {
        wait_while(|users| users.alone).together += 1;
    }
    Stay { counted }
}

/// Waits until there is no recorder of another test, and keeps others from
/// starting one. The calling thread starts its own, after this.
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
        // Long enough for who does not wait: whoever waits says nothing, however long.
        let soon = Duration::from_millis(20);
        assert!(tells.recv_timeout(soon).is_err(), "it did not wait");
        drop(second);
        assert_eq!(tells.recv(), Ok("alone"));
        assert_eq!(tells.recv(), Ok("gone"));
        assert!(waiting.join().is_ok());
        drop(together());
    }
}
