//! The schema's versions: each has a script up and a script down in `migrations/sqlite/`, applied in one transaction with its
//! entry in `schema_migrations`.
//!
//! Each version only adds what the release before it can live with: both releases use the database while traffic moves.

use anyhow::{Context, Result, ensure};
use rusqlite::{Connection, TransactionBehavior::Immediate};

struct Migration {
    version: u32,
    name: &'static str,
    up: &'static str,
    down: &'static str,
}

macro_rules! migration {
    ($version:literal, $name:literal) => {
        Migration {
            version: $version,
            name: $name,
            up: include_str!(concat!("../migrations/sqlite/", $version, "_", $name, ".up.sql")),
            down: include_str!(concat!("../migrations/sqlite/", $version, "_", $name, ".down.sql")),
        }
    };
}

const MIGRATIONS: [Migration; 3] =
    [migration!(1, "catalogue"), migration!(2, "stock"), migration!(3, "gifts")];

/// The newest schema version.
pub(crate) const LATEST: u32 = 3;

/// The version of the database's schema; 0 when nothing was ever applied.
pub(crate) fn version(connection: &Connection) -> rusqlite::Result<u32> {
    let known = "SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = 'schema_migrations'";
    if connection.query_row(known, [], |row| row.get::<_, u32>(0))? == 0 {
        return Ok(0);
    }
    connection.query_row("SELECT coalesce(max(version), 0) FROM schema_migrations", [], |row| row.get(0))
}

/// Applies what is missing up to version `to`, in the name of `batch`.
pub(crate) fn up(connection: &mut Connection, to: u32, batch: &str) -> Result<()> {
    ensure!(to <= LATEST, "failed to migrate to version {to}: the newest is {LATEST}");
    connection.execute_batch(
        "CREATE TABLE IF NOT EXISTS schema_migrations (
            version INTEGER PRIMARY KEY,
            name    TEXT NOT NULL,
            batch   TEXT NOT NULL
        )",
    )?;
    for migration in MIGRATIONS.iter().filter(|migration| migration.version <= to) {
        let change = connection.transaction_with_behavior(Immediate)?;
        // Read inside: somebody else may be migrating too.
        if version(&change)? >= migration.version {
            continue;
        }
        change
            .execute_batch(migration.up)
            .with_context(|| format!("failed to apply {} {}", migration.version, migration.name))?;
        change.execute(
            "INSERT INTO schema_migrations (version, name, batch) VALUES (?1, ?2, ?3)",
            (migration.version, migration.name, batch),
        )?;
        change.commit()?;
        println!("applied {} {}", migration.version, migration.name);
    }
    println!("the schema is at version {}", version(connection)?);
    Ok(())
}

/// Takes back what `batch` applied, newest first; an error when another batch has built on it.
pub(crate) fn down(connection: &mut Connection, batch: &str) -> Result<()> {
    let change = connection.transaction_with_behavior(Immediate)?;
    if version(&change)? > 0 {
        for migration in MIGRATIONS.iter().rev() {
            let owner = change
                .prepare("SELECT batch FROM schema_migrations WHERE version = ?1")?
                .query_map([migration.version], |row| row.get::<_, String>(0))?
                .next()
                .transpose()?;
            match owner {
                None => continue,
                Some(owner) if owner != batch => break,
                Some(_) => {}
            }
            change
                .execute_batch(migration.down)
                .with_context(|| format!("failed to take back {} {}", migration.version, migration.name))?;
            change.execute("DELETE FROM schema_migrations WHERE version = ?1", [migration.version])?;
            println!("took back {} {}", migration.version, migration.name);
        }
        let left: u32 =
            change.query_row("SELECT count(*) FROM schema_migrations WHERE batch = ?1", [batch], |row| {
                row.get(0)
            })?;
        ensure!(
            left == 0,
            "failed to take back {left} migrations of {batch:?}: a later one was applied by another batch"
        );
    }
    change.commit()?;
    println!("the schema is at version {}", version(connection)?);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tables(connection: &Connection) -> Vec<String> {
        let columns = "SELECT m.name || '.' || c.name || ' ' || c.type FROM sqlite_master m, pragma_table_info(m.name) c
                       WHERE m.type = 'table' AND m.name NOT LIKE 'sqlite_%' ORDER BY 1";
        let mut statement = connection.prepare(columns).unwrap();
        statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
    }

    #[test]
    fn down_restores_the_schema_that_up_found() {
        let mut connection = Connection::open_in_memory().unwrap();
        let mut before = Vec::new();
        for to in 1..=LATEST {
            before.push(tables(&connection));
            up(&mut connection, to, &format!("batch {to}")).unwrap();
        }
        for to in (1..=LATEST).rev() {
            down(&mut connection, &format!("batch {to}")).unwrap();
            assert_eq!(version(&connection).unwrap(), to - 1);
            let mut expected = before.pop().unwrap();
            if to == 1 {
                expected = tables(&connection);
                assert_eq!(expected.len(), 3, "only schema_migrations is left: {expected:?}");
            }
            assert_eq!(tables(&connection), expected, "{to}");
        }
    }

    #[test]
    fn orders_outlive_the_way_back() {
        let mut connection = Connection::open_in_memory().unwrap();
        up(&mut connection, 2, "old").unwrap();
        up(&mut connection, 3, "new").unwrap();
        connection
            .execute(
                "INSERT INTO orders (product_id, quantity, placed_by, gift_note) VALUES (1, 2, 'v3', 'hi')",
                [],
            )
            .unwrap();
        down(&mut connection, "new").unwrap();
        let orders: u32 = connection.query_row("SELECT count(*) FROM orders", [], |row| row.get(0)).unwrap();
        assert_eq!((orders, version(&connection).unwrap()), (1, 2));
    }

    #[test]
    fn both_ways_may_be_run_twice() {
        let mut connection = Connection::open_in_memory().unwrap();
        up(&mut connection, 2, "old").unwrap();
        for _ in 0..2 {
            up(&mut connection, 3, "new").unwrap();
            assert_eq!(version(&connection).unwrap(), 3);
        }
        for _ in 0..2 {
            down(&mut connection, "new").unwrap();
            assert_eq!(version(&connection).unwrap(), 2);
        }
    }

    #[test]
    fn what_others_have_built_on_stays() {
        let mut connection = Connection::open_in_memory().unwrap();
        up(&mut connection, 2, "mine").unwrap();
        up(&mut connection, 3, "theirs").unwrap();
        assert!(down(&mut connection, "mine").is_err());
        assert_eq!(version(&connection).unwrap(), 3);
    }
}
