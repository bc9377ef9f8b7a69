//! The events of a deployment, from the journal: all there are, then each as it happens.

use std::collections::VecDeque;
use std::convert::Infallible;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use cutover_core::deployment::Outcome;
use futures_util::stream;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use super::QueryOf;
use super::text::DeploymentId;
use crate::control::{Control, Refusal};
use crate::journal::{Record, SqliteJournal};
use cutover_engine::clock::rfc3339;
use cutover_engine::world::World;

/// One line of `deploy --json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeploymentEvent {
    /// RFC 3339, UTC.
    pub time: String,
    /// The deployment.
    pub deployment: String,
    /// Its group.
    pub group: String,
    /// Where it is now.
    pub phase: String,
    /// For people.
    pub message: String,
    /// Grows; to go on after this one.
    pub seq: i64,
    /// With the last one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Outcome>,
    /// With the last one: what `cutover deploy` exits with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<u8>,
}

impl DeploymentEvent {
    fn of(record: Record, deployment: &str, group: &str) -> Self {
        Self {
            time: rfc3339(record.at),
            deployment: deployment.to_owned(),
            group: group.to_owned(),
            phase: record.phase,
            message: record.message,
            seq: record.seq,
            outcome: record.outcome,
            exit_code: record.outcome.map(Outcome::exit_code),
        }
    }
}

#[derive(Deserialize)]
pub(super) struct After {
    #[serde(default)]
    after: i64,
}

pub(super) async fn follow<W: World>(
    State(control): State<Control<W>>,
    DeploymentId(id): DeploymentId,
    QueryOf(After { after }): QueryOf<After>,
) -> Result<Response, Refusal> {
    let status = control.deployment(&id).await?;
    let journal = control.journal().clone();
    let changes = journal.changes();
    let feed = Feed { journal, changes, id, group: status.group, after, ready: VecDeque::new(), over: false };
    let lines = stream::unfold(feed, async |mut feed| {
        let line = feed.next().await?;
        Some((Ok::<_, Infallible>(Bytes::from(line)), feed))
    });
    Ok(([(CONTENT_TYPE, "application/x-ndjson")], Body::from_stream(lines)).into_response())
}

struct Feed {
    journal: SqliteJournal,
    changes: watch::Receiver<i64>,
    id: String,
    group: String,
    after: i64,
    ready: VecDeque<DeploymentEvent>,
    over: bool,
}

impl Feed {
    async fn next(&mut self) -> Option<String> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                self.over = event.outcome.is_some();
                if self.over {
                    self.ready.clear();
                }
                return Some(format!("{}\n", serde_json::to_string(&event).ok()?));
            }
            if self.over {
                return None;
            }
            self.changes.mark_unchanged();
            // Asked before the records are read: what is over then has all of them.
            let was_over = self.is_over().await;
            let records = match self.journal.records(&self.id, self.after).await {
                Ok(records) => records,
                Err(error) => {
                    tracing::error!(deployment = self.id, %error, "failed to read its events");
                    return None;
                }
            };
            if let Some(last) = records.last() {
                self.after = last.seq;
                let events =
                    records.into_iter().map(|record| DeploymentEvent::of(record, &self.id, &self.group));
                self.ready.extend(events);
            } else if was_over {
                return None;
            } else {
                self.changes.changed().await.ok()?;
            }
        }
    }

    /// Whether nothing more can come.
    async fn is_over(&self) -> bool {
        let entry = self.journal.entry(&self.id).await.ok().flatten();
        entry.is_none_or(|entry| entry.state.phase.is_final())
    }
}
