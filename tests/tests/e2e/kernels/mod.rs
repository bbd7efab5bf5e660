//! What holds on every kernel and in every profile alike.

mod machine;
mod prototypes;
mod same_records;
mod verifier_cost;
