//! The stream of a deployment's events from the journal: first the existing ones, then each new one.

use std::collections::VecDeque;
use std::convert::Infallible;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use cutover_core::deployment::Outcome;
use cutover_core::verdict::Glance;
use futures_util::stream;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use super::QueryOf;
use super::text::DeploymentId;
use crate::control::{Control, Ending, Refusal};
use crate::journal::{Record, Store};
use cutover_engine::clock::rfc3339;
use cutover_engine::world::World;

/// One line of `deploy --json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeploymentEvent {
    /// Time as RFC 3339 in UTC.
    pub time: String,
    /// The deployment.
    pub deployment: String,
    /// Its group.
    pub group: String,
    /// Its phase.
    pub phase: String,
    /// The message for people.
    pub message: String,
    /// Increasing sequence number. A follower continues after it.
    pub seq: i64,
    /// The outcome; only in the last event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Outcome>,
    /// The exit code of `cutover deploy`; only in the last event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<u8>,
    /// What the new version had done for users by then, beside the old one; only after the switch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub glance: Option<Glance>,
    /// Failed tries of the step that is tried again; absent: none.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub tries: u32,
    /// How it ended: what, why, and what to type; only in the last event of a deployment that did not complete.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ending: Option<Ending>,
}

fn is_zero(number: &u32) -> bool {
    *number == 0
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
            glance: record.glance,
            tries: record.tries,
            ending: None,
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
    journal: Store,
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
            // Checked before the records are read, so a deployment that is over then has no later records.
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
                for record in records {
                    let event = DeploymentEvent::of(record, &self.id, &self.group);
                    let ending = self.ending(event.outcome).await;
                    self.ready.push_back(DeploymentEvent { ending, ..event });
                }
            } else if was_over {
                return None;
            } else {
                self.changes.changed().await.ok()?;
            }
        }
    }

    /// How the deployment has ended with this outcome. `None`: it completed, or has another outcome by now.
    async fn ending(&self, outcome: Option<Outcome>) -> Option<Ending> {
        outcome.filter(|outcome| *outcome != Outcome::Completed)?;
        let entry = self.journal.entry(&self.id).await.ok().flatten()?;
        Ending::of(&entry.deployment, &entry.state).filter(|_| entry.outcome == outcome)
    }

    /// Whether the deployment is over.
    async fn is_over(&self) -> bool {
        let entry = self.journal.entry(&self.id).await.ok().flatten();
        entry.is_none_or(|entry| entry.state.phase.is_final())
    }
}
