//! `cutover watch GROUP`

use clap::Args;
use cutover_core::deployment::Outcome;
use cutover_core::name::in_path;
use cutover_core::shell::quoted;

use super::codes::Codes;
use super::follow::follow_past;
use super::{CliError, ClientError, Place};
use crate::control::GroupStatus;

#[derive(Debug, Args)]
pub(super) struct Watch {
    /// The group
    group: String,
    /// Print one JSON event per line
    #[arg(long)]
    json: bool,
}

impl Watch {
    pub(super) fn json(&self) -> bool {
        self.json
    }

    /// Follows the group's last deployment from its first event to its outcome. The exit code is that of `cutover deploy`.
    pub(super) async fn run(self, place: &Place) -> Result<u8, CliError> {
        let client = place.client()?;
        let status: GroupStatus = client.get(&format!("/v1/groups/{}", in_path(&self.group))).await?;
        let Some(deployment) = status.deployment else {
            return Err(ClientError::Refused(format!(
                "group \"{}\" has no deployment yet; to begin one: {} deploy {} --version VERSION",
                self.group,
                client.program(),
                quoted(&self.group)
            ))
            .into());
        };
        // A deployment that has completed may be on its way back now, or have gone back. Then that is what it comes to.
        let is_completed = ["warm", "decommissioning", "completed"].contains(&deployment.phase.as_str());
        let past = deployment.outcome.filter(|_| !is_completed).map(|_| Outcome::Completed);
        let which = (self.group.as_str(), deployment.deployment.as_str());
        let codes = self.json.then(|| Codes::new(Outcome::exit_code));
        let outcome = follow_past(&client, which, 0, &place.board(&client, codes), past).await?;
        Ok(outcome.exit_code())
    }
}
