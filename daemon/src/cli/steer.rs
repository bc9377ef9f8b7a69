//! The requests of `pause`, `resume` and `promote`.

use std::io::{self, Write};

use clap::Args;
use cutover_core::name::in_path;
use cutover_core::shell::quoted;

use super::reason::Reason;
use super::{CliError, Place};
use crate::api::{Accepted, AskRequest};

/// The options of these verbs.
#[derive(Debug, Args)]
pub(super) struct Ask {
    /// The group
    pub(super) group: String,
    #[command(flatten)]
    reason: Reason,
    /// Print one JSON object
    #[arg(long)]
    pub(super) json: bool,
}

impl Ask {
    /// Sends the request and says what it did.
    pub(super) async fn send(self, place: &Place, verb: &str, done: &str) -> Result<u8, CliError> {
        let Self { group, reason, json } = self;
        let client = place.client()?;
        let request = AskRequest { reason: reason.reason };
        let accepted: Accepted =
            client.post(&format!("/v1/groups/{}/{verb}", in_path(&group)), &request).await?;
        let mut out = io::stdout().lock();
        if json {
            writeln!(out, "{}", super::with_exit_code(&accepted, 0))?;
            return Ok(0);
        }
        let (cutover, group) = (client.program(), quoted(&group));
        let with = accepted.with.iter().map(|other| format!(" and {}", other.deployment)).collect::<String>();
        writeln!(out, "{done} {}{with}; to follow it: {cutover} watch {group}", accepted.deployment)?;
        Ok(0)
    }
}
