//! The journal as the engine sees it.

use cutover_core::deployment::{State, Time};
use cutover_engine::journal::{Journal, JournalError as EngineError, Unfinished};

use super::{Entry, JournalError, Store};

impl Journal for Store {
    async fn append(&self, id: &str, at: Time, state: &State, message: &str) -> Result<(), EngineError> {
        Ok(Self::append(self, id, at, state, message).await?)
    }

    async fn note(&self, id: &str, at: Time, phase: &str, message: &str) -> Result<(), EngineError> {
        Ok(Self::note(self, id, at, phase, message).await?)
    }

    async fn state(&self, id: &str) -> Result<Option<State>, EngineError> {
        Ok(self.entry(id).await?.map(|entry| entry.state))
    }

    fn may_go_back_unrecorded(&self) -> bool {
        self.leads()
    }

    async fn open(&self) -> Result<Vec<Unfinished>, EngineError> {
        let open = self.open_deployments().await?.into_iter();
        Ok(open.map(|Entry { deployment, state, .. }| Unfinished { deployment, state }).collect())
    }
}

impl From<JournalError> for EngineError {
    fn from(error: JournalError) -> Self {
        match error {
            JournalError::NotLeading => Self::Closed(error.to_string()),
            error => Self::Failed(error.to_string()),
        }
    }
}
