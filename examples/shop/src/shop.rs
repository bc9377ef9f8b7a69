//! One release of the shop, as it runs.

use serde_json::Value;

use crate::database::{Connection, Pool};
use crate::fault::Fault;
use crate::trouble::Trouble;

/// One running release of the shop.
#[derive(Debug)]
pub(crate) struct Shop {
    pub(crate) slot: String,
    pub(crate) version: String,
    /// The schema version this release was written for.
    pub(crate) schema: u32,
    pub(crate) database: String,
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
            let mut connection = Connection::open(&self.database)?;
            // Cutover's own table, or that of `shop migrate`.
            let cutovers = connection.rows("SELECT max(number) FROM cutover_migrations", &[]);
            let version = match cutovers {
                Ok(version) => version,
                Err(_) => connection.rows("SELECT coalesce(max(version), 0) FROM schema_migrations", &[])?,
            };
            let version =
                version.first().and_then(|row| row.first()).and_then(Value::as_u64).unwrap_or_default();
            let version = u32::try_from(version)?;
            anyhow::ensure!(
                version >= self.schema,
                "the schema is at version {version}, not {}",
                self.schema
            );
            connection.rows("SELECT count(*) FROM products", &[])?;
            Ok(version)
        };
        tokio::task::block_in_place(check).map_err(|error| format!("{error:#}"))
    }

    /// The columns that this release knows.
    pub(crate) fn product_columns(&self) -> &'static str {
        if self.schema >= 2 { "id, name, price_cents, stock" } else { "id, name, price_cents, NULL" }
    }
}
