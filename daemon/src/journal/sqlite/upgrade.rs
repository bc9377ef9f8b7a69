//! The steps from one format of the journal to the next. A new journal goes through all of them, and so does one that an earlier
//! version of the daemon has written.

use rusqlite::{Connection, Transaction};

use super::schema::FIRST;

/// Who has frozen a group, or all of them, and the reasons of deployments.
const FREEZES: &str = "
    ALTER TABLE deployments ADD COLUMN reason TEXT NOT NULL DEFAULT '';
    CREATE TABLE freezes (
        grp    TEXT PRIMARY KEY NOT NULL,   -- empty: all groups
        at     INTEGER NOT NULL,
        until  INTEGER,
        who    TEXT NOT NULL,
        reason TEXT NOT NULL
    );
";

/// What the hook of each group was told last, as JSON. The command of a hook belongs to no deployment.
const HOOKS: &str = "
    ALTER TABLE commands RENAME TO commands_before;
    CREATE TABLE commands (
        deployment TEXT NOT NULL,           -- or the id of the hook
        name       TEXT NOT NULL,
        pid        INTEGER NOT NULL,
        birth      TEXT NOT NULL
    );
    INSERT INTO commands (deployment, name, pid, birth) SELECT deployment, name, pid, birth FROM commands_before;
    DROP TABLE commands_before;
    CREATE TABLE told (
        grp  TEXT PRIMARY KEY NOT NULL,
        told TEXT NOT NULL
    );
";

/// What was done by hand, beside switches.
const ACTS: &str = "
    CREATE TABLE acts (
        seq      INTEGER PRIMARY KEY AUTOINCREMENT,
        grp      TEXT NOT NULL,             -- empty: all groups
        at       INTEGER NOT NULL,
        what     TEXT NOT NULL,
        reason   TEXT NOT NULL,
        asked_by TEXT NOT NULL
    );
";

/// The first step leads from the format [`FIRST`] to the one after it. Steps are only ever added at the end.
const STEPS: [&str; 3] = [FREEZES, HOOKS, ACTS];

/// The format that this daemon writes.
pub(super) const VERSION: i32 = FIRST + STEPS.len() as i32;

/// Takes a journal from its format to [`VERSION`], all steps or none. A restart in the middle finds the format that it had.
pub(super) fn upgrade(connection: &mut Connection, from: i32) -> rusqlite::Result<()> {
    if from == VERSION {
        return Ok(());
    }
    let transaction = connection.transaction()?;
    steps(&transaction, from)?;
    transaction.commit()
}

/// Makes the steps that follow a format.
pub(super) fn steps(transaction: &Transaction<'_>, from: i32) -> rusqlite::Result<()> {
    let done = usize::try_from(from - FIRST).unwrap_or_default();
    for step in STEPS.iter().skip(done) {
        transaction.execute_batch(step)?;
    }
    transaction.pragma_update(None, "user_version", VERSION)
}
