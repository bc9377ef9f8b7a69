//! The journal in an SQLite file of this host. A unique index allows at most one open deployment of a group.

use std::path::Path;
use std::sync::Arc;

use cutover_core::deployment::{Outcome, State, Time};
use cutover_engine::journal::Deployment;
use parking_lot::Mutex;
use rusqlite::{Connection, OptionalExtension, Transaction, params};
use tokio::sync::watch;

use super::{Beginning, Entry, JournalError, Record};

mod acts;
mod commands;
mod draft;
mod file;
mod freezes;
mod peek;
mod prune;
mod reserve;
mod row;
mod schema;
mod superseded;
mod switches;
#[cfg(test)]
mod tests;
mod told;
mod unreadable;
mod upgrade;

pub use peek::{Peeked, peek};
use reserve::Reserve;

/// An open journal. Clones share it.
#[derive(Clone, Debug)]
pub struct SqliteJournal {
    connection: Arc<Mutex<Connection>>,
    path: Arc<Path>,
    reserve: Arc<Reserve>,
    last: Arc<watch::Sender<i64>>,
}

impl SqliteJournal {
    /// Opens the journal in `folder`, or creates it.
    pub fn open(folder: &Path) -> Result<Self, JournalError> {
        let path: Arc<Path> = folder.join("journal.sqlite").into();
        let reserve = Reserve::keep(folder);
        let connection = file::open(&path)?;
        Ok(Self {
            connection: Arc::new(Mutex::new(connection)),
            path,
            reserve: Arc::new(reserve),
            last: Arc::new(watch::Sender::new(0)),
        })
    }

    /// A receiver of the sequence number of each new record.
    pub fn changes(&self) -> watch::Receiver<i64> {
        self.last.subscribe()
    }

    /// Writes a new deployment and its first record. Fails with [`JournalError::Open`] if the group has an open deployment.
    pub async fn begin(
        &self,
        deployment: Deployment,
        state: &State,
        message: &str,
    ) -> Result<Deployment, JournalError> {
        let beginning = Beginning::new(None, deployment.clone(), state, message);
        self.begin_all(vec![beginning]).await?;
        Ok(deployment)
    }

    /// Writes new deployments and their first records, and ends the deployments before them. All is written, or nothing.
    pub async fn begin_all(&self, beginnings: Vec<Beginning>) -> Result<(), JournalError> {
        let journal = self.clone();
        self.blocking(move |connection| {
            let transaction = connection.transaction()?;
            let mut last = 0;
            for beginning in &beginnings {
                match begin(beginning, &transaction)? {
                    Ok(seq) => last = seq,
                    Err(open) => return Ok(Err(JournalError::Open(open))),
                }
            }
            transaction.commit()?;
            journal.last.send_replace(last);
            Ok(Ok(()))
        })
        .await?
    }

    /// An unused id: `wanted`, or `wanted` with a number.
    pub async fn free_id(&self, wanted: String) -> Result<String, JournalError> {
        self.blocking(move |connection| {
            let mut exists = connection.prepare("SELECT 1 FROM deployments WHERE id = ?1")?;
            let mut id = wanted.clone();
            let mut number = 1u32;
            while exists.exists([&id])? {
                number += 1;
                id = format!("{wanted}-{number}");
            }
            Ok(id)
        })
        .await
    }

    /// Writes a transition. On a full disk it deletes the reserve and tries again.
    pub async fn append(&self, id: &str, at: Time, state: &State, message: &str) -> Result<(), JournalError> {
        match self.append_once(id, at, state, message).await {
            Err(error) if self.reserve.give_up_for(&error) => {
                self.append_once(id, at, state, message).await?;
            }
            done => {
                done?;
                self.refill_reserve();
            }
        }
        Ok(())
    }

    async fn append_once(
        &self,
        id: &str,
        at: Time,
        state: &State,
        message: &str,
    ) -> Result<(), JournalError> {
        let (journal, id, state, message) = (self.clone(), id.to_owned(), state.clone(), message.to_owned());
        self.blocking(move |connection| {
            let transaction = connection.transaction()?;
            let seq = insert(&transaction, &id, at, &state, &message)?;
            transaction.commit()?;
            journal.last.send_replace(seq);
            Ok(())
        })
        .await
    }

    /// Writes the reserve again in the background.
    fn refill_reserve(&self) {
        if !self.reserve.is_there() {
            let reserve = Arc::clone(&self.reserve);
            tokio::task::spawn_blocking(move || reserve.refill());
        }
    }

    /// Writes a message without a change of state.
    pub async fn note(&self, id: &str, at: Time, phase: &str, message: &str) -> Result<(), JournalError> {
        let (journal, id) = (self.clone(), id.to_owned());
        let (phase, message) = (phase.to_owned(), message.to_owned());
        self.blocking(move |connection| {
            connection.execute(
                "INSERT INTO records (deployment, at, phase, message) VALUES (?1, ?2, ?3, ?4)",
                params![id, milliseconds(at), phase, message],
            )?;
            journal.last.send_replace(connection.last_insert_rowid());
            Ok(())
        })
        .await
    }

    /// Open deployments, except those that cannot be read, see [`SqliteJournal::close_unreadable`].
    pub async fn open_deployments(&self) -> Result<Vec<Entry>, JournalError> {
        Ok(unreadable::readable(self.open_rows().await?))
    }

    async fn open_rows(&self) -> Result<Vec<row::Raw>, JournalError> {
        self.rows("WHERE closed = 0 ORDER BY d.rowid", Vec::new()).await
    }

    /// A deployment by its id.
    pub async fn entry(&self, id: &str) -> Result<Option<Entry>, JournalError> {
        self.rows("WHERE id = ?1", vec![id.to_owned()]).await?.pop().map(row::parse_entry).transpose()
    }

    /// Readable deployments of one group or of all, the newest first.
    pub async fn history(&self, group: Option<&str>, limit: u32) -> Result<Vec<Entry>, JournalError> {
        let order = format!("ORDER BY d.rowid DESC LIMIT {limit}");
        let rows = match group {
            Some(group) => self.rows(&format!("WHERE grp = ?1 {order}"), vec![group.to_owned()]).await,
            None => self.rows(&order, Vec::new()).await,
        };
        Ok(unreadable::readable(rows?))
    }

    /// The records of a deployment after the sequence number `after`.
    pub async fn records(&self, id: &str, after: i64) -> Result<Vec<Record>, JournalError> {
        let id = id.to_owned();
        self.blocking(move |connection| {
            let mut select = connection.prepare_cached(
                "SELECT seq, at, phase, message, outcome, state FROM records WHERE deployment = ?1 AND seq > ?2 ORDER BY seq",
            )?;
            let rows = select.query_map(params![id, after], |row| {
                // The figures of a state that another version has written are left out.
                let state = row.get::<_, Option<String>>(5)?;
                let state = state.and_then(|state| serde_json::from_str::<State>(&state).ok());
                Ok(Record {
                    seq: row.get(0)?,
                    at: row::time(row, 1)?,
                    phase: row.get(2)?,
                    message: row.get(3)?,
                    outcome: row.get::<_, Option<String>>(4)?.and_then(|word| row::outcome(&word)),
                    tries: state.as_ref().map_or(0, |state| state.phase.failed_tries()),
                    glance: state.and_then(|state| state.glance),
                })
            })?;
            rows.collect()
        })
        .await
    }

    /// The version in a slot, as far as the journal knows: the last one that was started there and has not been rolled back or
    /// stopped.
    pub async fn version_in(&self, group: &str, slot: &str) -> Result<Option<String>, JournalError> {
        let (group, slot) = (group.to_owned(), slot.to_owned());
        self.blocking(move |connection| {
            let last = connection.query_row(schema::SELECT_VERSION, [group, slot], |row| {
                Ok((row.get::<_, String>(0)?, row.get::<_, bool>(1)?))
            });
            Ok(last.optional()?.filter(|(_, gone)| !gone).map(|(version, _)| version))
        })
        .await
    }

    async fn rows(&self, clause: &str, arguments: Vec<String>) -> Result<Vec<row::Raw>, JournalError> {
        let sql = format!("{} {clause}", schema::SELECT_ENTRY);
        self.blocking(move |connection| {
            let mut select = connection.prepare(&sql)?;
            let rows = select.query_map(rusqlite::params_from_iter(arguments), row::raw_entry)?;
            rows.collect::<Result<Vec<_>, _>>()
        })
        .await
    }

    /// Runs `work` on a blocking thread, because a flush may take long.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, JournalError> {
        let (connection, path) = (Arc::clone(&self.connection), Arc::clone(&self.path));
        let done = tokio::task::spawn_blocking(move || work(&mut connection.lock())).await;
        let done = done.unwrap_or_else(|_| Err(rusqlite::Error::InvalidQuery));
        done.map_err(|source| JournalError::Database { path: path.to_path_buf(), source })
    }
}

/// Writes a beginning and returns the sequence number of its record. The error is the id of the group's open deployment.
fn begin(beginning: &Beginning, transaction: &Transaction<'_>) -> rusqlite::Result<Result<i64, String>> {
    let Beginning { superseded, deployment, state, message } = beginning;
    let group = &deployment.plan.group;
    if let Some(superseded) = superseded {
        superseded::write(superseded, transaction)?;
    }
    let open: Option<String> = transaction
        .query_row("SELECT id FROM deployments WHERE grp = ?1 AND closed = 0", [group], |row| row.get(0))
        .optional()?;
    if let Some(id) = open {
        return Ok(Err(id));
    }
    transaction.execute(
        "INSERT INTO deployments (id, grp, version, previous, asked_by, started, plan, config, reason)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
        params![
            deployment.id,
            group,
            deployment.version,
            deployment.previous,
            deployment.asked_by,
            milliseconds(deployment.started),
            json(&deployment.plan),
            json(&deployment.policy),
            deployment.reason,
        ],
    )?;
    Ok(Ok(insert(transaction, &deployment.id, deployment.started, state, message)?))
}

fn insert(
    transaction: &Transaction<'_>,
    id: &str,
    at: Time,
    state: &State,
    message: &str,
) -> rusqlite::Result<i64> {
    let word = state.phase.outcome().map(Outcome::as_str);
    let before: Option<String> = transaction
        .query_row("SELECT outcome FROM deployments WHERE id = ?1", [id], |row| row.get(0))
        .optional()?
        .flatten();
    let news = word.filter(|word| before.as_deref() != Some(word));
    transaction.execute(
        "INSERT INTO records (deployment, at, phase, message, state, outcome) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        params![
            id,
            milliseconds(at),
            state.phase.name(),
            message,
            json(state),
            news
        ],
    )?;
    let seq = transaction.last_insert_rowid();
    transaction.execute(
        "UPDATE deployments SET outcome = coalesce(?2, outcome), closed = ?3 WHERE id = ?1",
        params![id, word, state.phase.is_final()],
    )?;
    Ok(seq)
}

fn milliseconds(time: Time) -> i64 {
    i64::try_from(time.0).unwrap_or(i64::MAX)
}

/// Serialises plain data, which cannot fail.
fn json(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}
