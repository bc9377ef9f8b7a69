//! `cutover check`

use std::io::{self, Write};

use clap::Args;

use super::{CliError, Place};
use crate::check::{Finding, check};
use crate::edge::Module;

#[derive(Debug, Args)]
pub(super) struct Check {}

impl Check {
    pub(super) async fn run(self, place: &Place) -> Result<u8, CliError> {
        let config = place.config()?;
        let findings = check(&config, &Module::new(&config.nginx.admin)).await;
        let mut out = io::stdout().lock();
        for finding in &findings {
            writeln!(out, "{finding}")?;
        }
        let problems = findings.iter().filter(|finding| matches!(finding, Finding::Problem(_))).count();
        let groups = config.group.len();
        match problems {
            0 => writeln!(out, "{groups} groups checked, no problem")?,
            1 => writeln!(out, "{groups} groups checked, 1 problem")?,
            more => writeln!(out, "{groups} groups checked, {more} problems")?,
        }
        Ok(u8::from(problems > 0))
    }
}
