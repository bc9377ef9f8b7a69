//! Deployments that this version cannot read. They must not block the others.

use cutover_core::deployment::Time;

use super::EtcdJournal;
use super::read::Raw;
use crate::journal::{JournalError, unreadable_state};

impl EtcdJournal {
    /// Closes the open deployments that cannot be read, as stuck. Returns their ids and the reasons.
    pub async fn close_unreadable(&self, now: Time) -> Result<Vec<(String, String)>, JournalError> {
        let mut closed = Vec::new();
        for raw in self.open_raw().await? {
            let Err(JournalError::Unreadable { deployment, why }) = Raw::parse(raw) else { continue };
            let (state, message) = unreadable_state(&why);
            self.append(&deployment, now, &state, &message).await?;
            closed.push((deployment, why));
        }
        Ok(closed)
    }
}
