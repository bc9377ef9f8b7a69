//! Migrations of a database: what a folder of SQL files says, what is to be applied, and what may be reverted without an operator.
//!
//! ```text
//! folder: NNNN_name.up.sql, .down.sql --+
//!                                       +--> Plan: to apply, or a refusal
//! table cutover_migrations: Record -----+--> Undo, newest first --> by itself, or the reason to ask an operator
//! ```
//!
//! Nothing here reads a file or a database. The rule for everything that is not certain is to ask an operator.

mod decide;
mod drops;
mod folder;
mod marks;
mod plan;
mod record;
mod version;

pub use decide::{OnRevert, Reason, Undo, undo, why_ask};
pub use drops::{Drops, Thing};
pub use folder::{Folder, FolderError, Migration, Script, Source};
pub use marks::{BadMark, Marks};
pub use plan::{Plan, Refused, plan, too_old};
pub use record::{Measure, Record, Rows, RowsError, Stage};
pub use version::{BadVersion, Range, Version};
