//! Every act of a session is recorded once, as it was, and no other.

mod agents;
mod any_event;
mod container_engine;
mod file_operations;
mod file_systems;
mod handoff;
mod long_paths;
mod loss;
mod members;
mod network_operations;
mod path_truth;
mod process_operations;
mod real_agents;
mod real_programs;
mod renames;
mod uring_operations;
