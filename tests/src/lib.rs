//! Parts of the end-to-end tests: programs that perform operations ([`stimuli`]), the
//! truth about their records ([`oracle`]), and the means to record them with the real
//! binary on the real kernel ([`lab`]).
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
