//! A collector holds what the spool holds, whatever happens to line, peer or disk.

mod collector;
mod collector_faults;
mod copies;
mod identity;
mod network_faults;
