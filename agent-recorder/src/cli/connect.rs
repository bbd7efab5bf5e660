//! The connection of a command to the daemon.

use super::setup::Setting;
use super::{Common, Error};
use crate::control::{Client, socket_path};

/// Connects to the daemon's control socket, by the configured state directory.
///
/// # Errors
///
/// The configuration is invalid, or no daemon answers.
pub(super) fn connect(common: &Common) -> Result<Client, Error> {
    let config = Setting::load(common)?.config;
    Ok(Client::connect(&socket_path(&config.recorder.state_dir))?)
}
