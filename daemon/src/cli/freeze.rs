//! `cutover freeze GROUP|--all`

use std::io::{self, Write};

use clap::Args;
use cutover_core::name::in_path;
use cutover_core::shell::quoted;
use cutover_engine::policy;

use super::reason::Reason;
use super::terminal::plain;
use super::{CliError, Place};
use crate::api::FreezeRequest;
use crate::control::Froze;

#[derive(Debug, Args)]
pub(super) struct Freeze {
    #[command(flatten)]
    which: Which,
    /// How long it lasts, as in 2h [default: until cutover unfreeze]
    #[arg(long = "for", value_name = "TIME")]
    lasts: Option<policy::Duration>,
    #[command(flatten)]
    reason: Reason,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// One group, or all.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(super) struct Which {
    /// The group
    pub(super) group: Option<String>,
    /// All groups, those that come later included
    #[arg(long)]
    all: bool,
}

impl Which {
    /// The path of a call about it.
    pub(super) fn path(&self, verb: &str) -> String {
        match &self.group {
            Some(group) => format!("/v1/groups/{}/{verb}", in_path(group)),
            None => format!("/v1/{verb}"),
        }
    }

    /// The words that stand for it on the command line.
    pub(super) fn typed(&self) -> String {
        self.group.as_deref().map_or("--all".to_owned(), quoted)
    }
}

impl Freeze {
    pub(super) fn json(&self) -> bool {
        self.json
    }

    pub(super) async fn run(self, place: &Place) -> Result<u8, CliError> {
        let client = place.client()?;
        let request = FreezeRequest { reason: self.reason.reason, lasts: self.lasts };
        let froze: Froze = client.post(&self.which.path("freeze"), &request).await?;
        let mut out = io::stdout().lock();
        if self.json {
            writeln!(out, "{}", super::with_exit_code(&froze, 0))?;
            return Ok(0);
        }
        let program = client.program();
        writeln!(out, "{}: no new version gets traffic", plain(&froze.freeze.in_words()))?;
        if let Some(before) = &froze.replaced {
            writeln!(out, "this replaces the freeze by {} since {}", before.who, before.since)?;
        }
        for (group, id) in &froze.under_way {
            let group = quoted(group);
            writeln!(
                out,
                "deployment {id} is under way and goes on; to hold it: {program} pause {group}; to end it: {program} abort {group}"
            )?;
        }
        writeln!(out, "to end the freeze: {program} unfreeze {}", self.which.typed())?;
        Ok(0)
    }
}
