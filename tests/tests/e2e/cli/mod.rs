//! The output of commands, and their exit statuses.

mod errors;
mod investigation;
mod shown;
