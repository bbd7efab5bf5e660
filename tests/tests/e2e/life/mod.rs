//! The recorder continues through restarts, full disks, lost power and attacks.

mod full_disk;
mod power_loss;
mod restart;
mod stalled;
mod tamper;
mod watch;
