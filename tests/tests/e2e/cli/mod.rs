//! What commands say, and with which exit status they end.

mod errors;
mod investigation;
mod shown;
