//! The trait of the journal. The journal holds the state of each deployment on disk before the work of that state begins.

use cutover_core::deployment::{Plan, State, Time};

use crate::policy::Policy;

/// A deployment as it was requested.
#[derive(Clone, Debug, PartialEq)]
pub struct Deployment {
    /// `GROUP-YYYYMMDD-HHMMSS`; unique.
    pub id: String,
    /// The version; empty if the caller named none.
    pub version: String,
    /// The version that was live at the start; empty if the journal does not know it.
    pub previous: String,
    /// Who requested the deployment, for the audit.
    pub asked_by: String,
    /// Why, in the words of that person; empty if no reason was given.
    pub reason: String,
    /// When it began.
    pub started: Time,
    /// The plan for core.
    pub plan: Plan,
    /// The group's policy at the start. The deployment uses it until its end.
    pub policy: Policy,
}

impl Deployment {
    /// Who requested it, and the reason if there is one: `alice, reason "the fix"`.
    pub fn requester(&self) -> String {
        with_reason(&self.asked_by, &self.reason)
    }
}

/// A person, and the reason if there is one.
pub fn with_reason(who: &str, reason: &str) -> String {
    match reason {
        "" => who.to_owned(),
        reason => format!("{who}, reason \"{reason}\""),
    }
}

/// A deployment that has not ended, and its last state.
#[derive(Clone, Debug, PartialEq)]
pub struct Unfinished {
    /// The deployment.
    pub deployment: Deployment,
    /// Its last state.
    pub state: State,
}

/// Why a record was not written.
#[derive(Clone, Debug, thiserror::Error)]
pub enum JournalError {
    /// The journal failed. A later try may succeed.
    #[error("{0}")]
    Failed(String),
    /// The journal takes no more records from this process.
    #[error("the journal takes no more records: {0}")]
    Closed(String),
}

/// A journal. Clones share it.
pub trait Journal: Clone + Send + Sync + 'static {
    /// Writes a transition. It is on disk when this returns.
    fn append(
        &self,
        deployment: &str,
        at: Time,
        state: &State,
        message: &str,
    ) -> impl Future<Output = Result<(), JournalError>> + Send;

    /// Writes a message without a change of state.
    fn note(
        &self,
        deployment: &str,
        at: Time,
        phase: &str,
        message: &str,
    ) -> impl Future<Output = Result<(), JournalError>> + Send;

    /// Whether traffic may go back now although the record of it cannot be written: only while it is certain that no other process
    /// drives the deployment.
    fn may_go_back_unrecorded(&self) -> bool {
        true
    }

    /// Reads the last state of a deployment. `None` if the deployment is unknown.
    fn state(&self, deployment: &str) -> impl Future<Output = Result<Option<State>, JournalError>> + Send;

    /// Reads the deployments that have not ended.
    fn open(&self) -> impl Future<Output = Result<Vec<Unfinished>, JournalError>> + Send;
}
