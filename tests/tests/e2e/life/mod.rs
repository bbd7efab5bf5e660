//! The recorder goes on: through restarts, full disks, lost power and who acts against it.

mod full_disk;
mod power_loss;
mod restart;
mod stalled;
mod tamper;
mod watch;
