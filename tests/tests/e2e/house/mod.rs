//! Folders, tables and documents agree with the tests.

mod faults;
mod modules;
mod skips;
