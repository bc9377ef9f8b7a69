//! The journal: the state of each deployment, on disk before anything is done about it.

use cutover_core::deployment::{Plan, State, Time};

use crate::policy::Policy;

/// A deployment as it was asked for.
#[derive(Clone, Debug, PartialEq)]
pub struct Deployment {
    /// `GROUP-YYYYMMDD-HHMMSS`; unique.
    pub id: String,
    /// The version, if the caller named one.
    pub version: String,
    /// The version that is live at the start, as far as the journal knows.
    pub previous: String,
    /// Who asked, for the audit.
    pub asked_by: String,
    /// When.
    pub started: Time,
    /// What core decides by.
    pub plan: Plan,
    /// The group's policy at the start. The deployment keeps it to its end.
    pub policy: Policy,
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
    /// The journal failed. It may be written again later.
    #[error("{0}")]
    Failed(String),
    /// The journal takes no more records of this process.
    #[error("the journal takes no more records: {0}")]
    Closed(String),
}

/// Keeps states. Clones share it.
pub trait Journal: Clone + Send + Sync + 'static {
    /// Writes a transition. When this returns it is on disk.
    fn append(
        &self,
        deployment: &str,
        at: Time,
        state: &State,
        message: &str,
    ) -> impl Future<Output = Result<(), JournalError>> + Send;

    /// Writes a message that changes nothing.
    fn note(
        &self,
        deployment: &str,
        at: Time,
        phase: &str,
        message: &str,
    ) -> impl Future<Output = Result<(), JournalError>> + Send;

    /// The last state of a deployment.
    fn state(&self, deployment: &str) -> impl Future<Output = Result<Option<State>, JournalError>> + Send;

    /// Deployments that have not ended.
    fn open(&self) -> impl Future<Output = Result<Vec<Unfinished>, JournalError>> + Send;
}
