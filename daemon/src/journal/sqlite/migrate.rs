//! Brings a journal of an earlier format to the present one, in one transaction.

use rusqlite::Connection;

use super::schema::{COMMANDS, TOLD, VERSION};

/// The earliest format that is brought up to date.
pub(super) const EARLIEST: i32 = 2;

/// Brings the journal to the present format. Writes nothing if it has that.
pub(super) fn migrate(connection: &mut Connection) -> rusqlite::Result<()> {
    let version: i32 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    if version == VERSION {
        return Ok(());
    }
    let transaction = connection.transaction()?;
    if version == 2 {
        // Commands of hooks belong to no deployment.
        transaction.execute_batch("ALTER TABLE commands RENAME TO commands_2")?;
        transaction.execute_batch(COMMANDS)?;
        transaction.execute_batch(
            "INSERT INTO commands (deployment, name, pid, birth) SELECT deployment, name, pid, birth FROM commands_2;
             DROP TABLE commands_2;",
        )?;
        transaction.execute_batch(TOLD)?;
    }
    transaction.pragma_update(None, "user_version", VERSION)?;
    transaction.commit()
}
