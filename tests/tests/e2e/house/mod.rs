//! What folders, tables and documents say of the tests is so.

mod faults;
mod modules;
mod skips;
