//! `cutover switch GROUP --to SLOT`

use std::io::{self, Write};

use clap::Args;
use cutover_core::api::Group;

use super::reason::Reason;
use super::waiting::Wait;
use super::{CliError, Place, direct};
use crate::api::SwitchRequest;
use cutover_core::name::in_path;

#[derive(Debug, Args)]
pub(super) struct Switch {
    /// The group
    group: String,
    /// The slot to switch to
    #[arg(long, value_name = "SLOT")]
    to: String,
    #[command(flatten)]
    reason: Reason,
    /// Probe the slot, but switch even if it is not healthy
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    wait: Wait,
    /// Print one JSON object: the group, as nginx's admin API shows it
    #[arg(long)]
    json: bool,
}

impl Switch {
    pub(super) fn json(&self) -> bool {
        self.json
    }

    pub(super) async fn run(self, place: &Place) -> Result<u8, CliError> {
        if self.force {
            let _ =
                writeln!(io::stderr(), "cutover: warning: --force: slot \"{}\" may not be healthy", self.to);
        }
        let client = place.client()?;
        let path = format!("/v1/groups/{}/switch", in_path(&self.group));
        let request = |waiting| {
            let (to, reason) = (self.to.clone(), self.reason.reason.clone());
            SwitchRequest { to, reason, force: self.force, waiting }
        };
        let switch = async |waiting| client.post::<Group>(&path, &request(waiting)).await;
        let now = match self.wait.until_free(&client, switch).await {
            Err(error) if direct::is_away(&error, place) => {
                let _ = writeln!(io::stderr(), "cutover: the daemon is away ({error}); switching without it");
                direct::switch(place, &self.group, &request(None)).await?
            }
            switched => switched?,
        };
        let mut out = io::stdout().lock();
        if self.json {
            writeln!(out, "{}", super::with_exit_code(&now, 0))?;
            return Ok(0);
        }
        writeln!(
            out,
            "slot \"{}\" of group \"{}\" has the traffic, generation {}",
            now.route.active, now.name, now.route.generation
        )?;
        Ok(0)
    }
}
