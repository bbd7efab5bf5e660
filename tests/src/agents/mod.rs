//! Real agents, installed and run against the scripted model.
pub mod netns;
