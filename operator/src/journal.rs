//! The journal of a deployment in the status of its resource.

use std::sync::Arc;

use cutover_core::deployment::{InDatabase, Outcome, Phase, Plan, State, Time};
use cutover_engine::clock::rfc3339;
use cutover_engine::journal::{Deployment, Journal, JournalError, Unfinished};
use cutover_engine::policy::Policy;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::conditions;
use crate::ledger::Ledger;
use crate::resource::{BlueGreenStatus, JournalEntry, PastDeployment, UnrevertedStatus};
use crate::setup::Setup;
use crate::words;

/// Most past deployments that the status has while the older ones cannot be moved to their ConfigMap.
const MOST_HISTORY: usize = 20;

/// What a deployment is, and what it is about: the part of the journal that does not change.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Entry {
    /// The version that was live at the start; empty if it is not known.
    pub previous: String,
    /// Who wanted it.
    pub asked_by: String,
    /// When it began, in milliseconds since 1970.
    pub started: Time,
    /// The plan.
    pub plan: Plan,
    /// The policy.
    pub policy: Policy,
    /// What it is about.
    pub setup: Setup,
}

impl Entry {
    /// The entry of a deployment.
    pub fn of(deployment: &Deployment, setup: Setup) -> Self {
        let Deployment { previous, asked_by, started, plan, policy, .. } = deployment.clone();
        Self { previous, asked_by, started, plan, policy, setup }
    }
}

/// The record of a deployment that begins.
pub fn record(deployment: &Deployment, setup: Setup, state: &State) -> Result<JournalEntry, JournalError> {
    Ok(JournalEntry {
        id: deployment.id.clone(),
        version: deployment.version.clone(),
        slot: deployment.plan.to.clone(),
        started: rfc3339(deployment.started),
        entry: value(&Entry::of(deployment, setup))?,
        state: value(state)?,
        rollout: None,
    })
}

/// A deployment that the status says is under way, with its setup.
pub fn unfinished(entry: &JournalEntry) -> Result<(Unfinished, Setup), String> {
    let unread =
        |error: serde_json::Error| format!("the record of deployment {} cannot be read: {error}", entry.id);
    let read: Entry = serde_json::from_value(entry.entry.clone()).map_err(unread)?;
    let state: State = serde_json::from_value(entry.state.clone()).map_err(unread)?;
    let Entry { previous, asked_by, started, plan, policy, setup } = read;
    let (id, version, reason) = (entry.id.clone(), entry.version.clone(), String::new());
    let deployment = Deployment { id, version, previous, asked_by, reason, started, plan, policy };
    Ok((Unfinished { deployment, state }, setup))
}

/// The journal of one resource.
#[derive(Clone)]
pub struct ResourceJournal {
    ledger: Arc<Ledger>,
    /// The last state that was written, and the deployment that it is of.
    last: Arc<Mutex<Option<(String, State)>>>,
    entry: Arc<(Deployment, Setup)>,
}

impl ResourceJournal {
    /// The journal of a deployment.
    pub fn new(ledger: Arc<Ledger>, unfinished: &Unfinished, setup: Setup) -> Self {
        let last = (unfinished.deployment.id.clone(), unfinished.state.clone());
        let entry = Arc::new((unfinished.deployment.clone(), setup));
        Self { ledger, last: Arc::new(Mutex::new(Some(last))), entry }
    }

    fn told(&self, message: &str) -> String {
        let (deployment, setup) = &*self.entry;
        words::of_cluster(message, &deployment.plan, setup)
    }

    fn apply(&self, status: &mut BlueGreenStatus, at: Time, state: &State, stored: Value, message: &str) {
        let (deployment, setup) = &*self.entry;
        let message = self.told(message);
        status.phase = Some(words::phase(&state.phase));
        conditions::say(status, &message);
        if let Some(entry) = &mut status.deployment {
            entry.state = stored;
        }
        if matches!(state.phase, Phase::Warm { .. } | Phase::Completed { .. }) {
            status.version = Some(deployment.version.clone()).filter(|version| !version.is_empty());
            status.live = Some(setup.wanted());
        }
        if let Some(outcome) = state.phase.outcome().filter(|_| state.phase.is_final()) {
            let ended = status.deployment.take();
            let is_back = status.active_slot.as_deref() == Some(&deployment.plan.from);
            if matches!(outcome, Outcome::Failed | Outcome::RolledBack)
                || (outcome == Outcome::Stuck && is_back)
            {
                // A version that went back in its warm window was live.
                status.live = status.before.clone();
                if !deployment.previous.is_empty() {
                    status.version = Some(deployment.previous.clone());
                }
            }
            match deployment.plan.in_database(state) {
                _ if outcome == Outcome::Completed => status.unreverted.clear(),
                InDatabase::Revertible => {
                    let left = ended.map(|deployment| UnrevertedStatus {
                        deployment,
                        tries: 0,
                        job: None,
                        failed: None,
                    });
                    status.unreverted.splice(..0, left);
                    status.unreverted.truncate(MOST_HISTORY);
                }
                // What is below a migration that stays cannot be reverted any more.
                InDatabase::Stays => status.unreverted.clear(),
                InDatabase::Nothing => {}
            }
            let past = PastDeployment {
                id: deployment.id.clone(),
                version: deployment.version.clone(),
                slot: deployment.plan.to.clone(),
                outcome: outcome.as_str().to_owned(),
                message: message.clone(),
                requested_by: deployment.asked_by.clone(),
                started: rfc3339(deployment.started),
                ended: rfc3339(at),
                wanted: setup.wanted(),
            };
            status.history.insert(0, past);
            status.history.truncate(MOST_HISTORY);
            if outcome == Outcome::Failed || outcome == Outcome::RolledBack {
                status.versions.remove(&deployment.plan.to);
            }
        }
        conditions::of_state(status, state, at, &message);
    }
}

impl Journal for ResourceJournal {
    async fn append(
        &self,
        deployment: &str,
        at: Time,
        state: &State,
        message: &str,
    ) -> Result<(), JournalError> {
        let stored = value(state)?;
        self.ledger.write(|status| self.apply(status, at, state, stored, message)).await?;
        *self.last.lock() = Some((deployment.to_owned(), state.clone()));
        let message = self.told(message);
        let is_warning = state.phase.cause().is_some() || state.phase.needs_operator();
        self.ledger.publish(&words::phase(&state.phase), &message, is_warning).await;
        Ok(())
    }

    async fn note(&self, _: &str, _: Time, phase: &str, message: &str) -> Result<(), JournalError> {
        let message = self.told(message);
        self.ledger.write(|status| conditions::say(status, &message)).await?;
        self.ledger.publish(&words::camel(phase), &message, false).await;
        Ok(())
    }

    /// Another operator may have taken over while the API server was away.
    fn may_go_back_unrecorded(&self) -> bool {
        false
    }

    async fn state(&self, deployment: &str) -> Result<Option<State>, JournalError> {
        let last = self.last.lock().clone();
        Ok(last.filter(|(id, _)| id == deployment).map(|(_, state)| state))
    }

    async fn open(&self) -> Result<Vec<Unfinished>, JournalError> {
        let status = self.ledger.status().await;
        let entry = status.deployment.as_ref().map(unfinished).transpose().map_err(JournalError::Failed)?;
        Ok(entry.map(|(unfinished, _)| unfinished).into_iter().collect())
    }
}

fn value(what: &impl Serialize) -> Result<Value, JournalError> {
    serde_json::to_value(what).map_err(|error| JournalError::Failed(error.to_string()))
}
