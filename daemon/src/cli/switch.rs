//! `cutover switch GROUP --to SLOT`

use std::io::{self, Write};

use clap::Args;
use cutover_core::api::Group;

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
    /// The reason, for nginx's log and the history
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// Probe the slot, but switch even if it is not healthy
    #[arg(long)]
    force: bool,
}

impl Switch {
    pub(super) async fn run(self, place: &Place) -> Result<u8, CliError> {
        if self.force {
            let _ =
                writeln!(io::stderr(), "cutover: warning: --force: slot \"{}\" may not be healthy", self.to);
        }
        let client = place.client()?;
        let request = SwitchRequest { to: self.to, reason: self.reason, force: self.force };
        let path = format!("/v1/groups/{}/switch", in_path(&self.group));
        let now: Group = match client.post(&path, &request).await {
            Err(error) if direct::is_away(&error, place) => {
                let _ = writeln!(io::stderr(), "cutover: the daemon is away ({error}); switching without it");
                direct::switch(place, &self.group, &request).await?
            }
            switched => switched?,
        };
        writeln!(
            io::stdout(),
            "slot \"{}\" of group \"{}\" has the traffic, generation {}",
            now.route.active,
            now.name,
            now.route.generation
        )?;
        Ok(0)
    }
}
