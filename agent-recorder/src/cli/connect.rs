//! The way from a command to the daemon.

use super::setup::Setting;
use super::{Common, Error};
use crate::control::{Client, socket_path};

/// The daemon's control socket, by the state directory that is configured.
///
/// # Errors
///
/// The configuration is wrong, or no daemon answers.
pub(super) fn connect(common: &Common) -> Result<Client, Error> {
    let config = Setting::load(common)?.config;
    Ok(Client::connect(&socket_path(&config.recorder.state_dir))?)
}
