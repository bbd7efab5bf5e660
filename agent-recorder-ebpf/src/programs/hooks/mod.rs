//! Entry points: each unpacks its arguments and calls the one function that
//! knows the operation.
//!
//! Not here: anything that decides or records.

mod security;
mod self_test;
mod tracepoints;
