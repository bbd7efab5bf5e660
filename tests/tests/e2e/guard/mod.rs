//! A session that destroys is stopped at its limit, and nobody else is.

mod actions;
mod bulk_delete;
mod condemned;
mod gate;
mod policy;
mod whole_destruction;
