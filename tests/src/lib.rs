//! What the end-to-end tests are made of: programs that do something
//! ([`stimuli`]), what their records are compared with ([`oracle`]), and all that
//! it takes to have the real binary record them on the real kernel ([`lab`]).
//!
//! Not here: the tests (`tests/e2e`), and the programs behind `cargo xtask`
//! (`src/reports`).

#[cfg(test)]
mod architecture;
#[cfg(test)]
mod documents;
pub mod lab;
pub mod oracle;
pub mod reference;
pub mod stimuli;
