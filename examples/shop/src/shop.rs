//! One release of the shop, as it runs.

use std::path::PathBuf;

use crate::database::{self, Pool};
use crate::fault::Fault;
use crate::migrations;
use crate::trouble::Trouble;

/// One running release of the shop.
#[derive(Debug)]
pub(crate) struct Shop {
    pub(crate) slot: String,
    pub(crate) version: String,
    /// The schema version this release was written for.
    pub(crate) schema: u32,
    pub(crate) database: PathBuf,
    pub(crate) pool: Pool,
    /// The least time of an answer, in milliseconds.
    pub(crate) takes_ms: u64,
    pub(crate) trouble: Trouble,
}

impl Shop {
    /// The schema version if this release can work, or why it cannot. Opens the database anew: it is the file that
    /// must be readable, not a connection from better times.
    pub(crate) fn readiness(&self) -> Result<u32, String> {
        if self.trouble.is(Fault::NeverReady) {
            return Err("waiting for the recommendation service".to_owned());
        }
        let check = || -> anyhow::Result<u32> {
            let connection = database::open(&self.database)?;
            let version = migrations::version(&connection)?;
            anyhow::ensure!(
                version >= self.schema,
                "the schema is at version {version}, not {}",
                self.schema
            );
            connection.query_row("SELECT count(*) FROM products", [], |row| row.get::<_, i64>(0))?;
            Ok(version)
        };
        tokio::task::block_in_place(check).map_err(|error| format!("{error:#}"))
    }

    /// The columns that this release knows.
    pub(crate) fn product_columns(&self) -> &'static str {
        if self.schema >= 2 { "id, name, price_cents, stock" } else { "id, name, price_cents, NULL" }
    }
}
