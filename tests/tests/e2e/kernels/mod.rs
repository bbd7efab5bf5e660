//! Properties of every kernel in every profile.

mod machine;
mod prototypes;
mod same_records;
mod verifier_cost;
