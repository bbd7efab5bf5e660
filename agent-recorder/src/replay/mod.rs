//! Shows recorded acts: the selection of records, and their form.
//!
//! Not here: how records are stored (`spool`). Nothing here changes a store.

mod acts;
mod escape;
mod filter;
mod formats;
mod render;
mod select;

pub use acts::{Act, Acts};
pub use escape::escaped;
pub use filter::{Filter, FilterError, Wanted};
pub use formats::{FORMATS, Format, View, act_line, write_json};
pub use select::{Reader, SelectError, SessionChoice};
