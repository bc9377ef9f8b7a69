//! `cutover report ID`: one page about a deployment, as text, as JSON or as HTML.

use std::fs;
use std::io::{self, Write};
use std::path::PathBuf;

use clap::Args;
use cutover_core::name::in_path;

use super::width::width;
use super::{CliError, Place};
use crate::control::Report as Facts;

mod html;
mod plot;
mod text;

#[derive(Debug, Args)]
pub(super) struct Report {
    /// The deployment
    #[arg(value_name = "ID")]
    deployment: String,
    /// Print one JSON object
    #[arg(long, conflicts_with = "html")]
    json: bool,
    /// Write one HTML page into this file, or print it for -
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
}

impl Report {
    pub(super) fn json(&self) -> bool {
        self.json
    }

    pub(super) async fn run(self, place: &Place) -> Result<u8, CliError> {
        let client = place.client()?;
        let path = format!("/v1/deployments/{}/report", in_path(&self.deployment));
        let facts: Facts = client.get(&path).await?;
        let mut out = io::stdout().lock();
        match self.html {
            Some(file) if file.as_os_str() == "-" => out.write_all(html::page(&facts).as_bytes())?,
            Some(path) => {
                let page = html::page(&facts);
                fs::write(&path, page).map_err(|source| CliError::File { path, source })?;
            }
            None if self.json => writeln!(out, "{}", super::with_exit_code(&facts, 0))?,
            None => out.write_all(text::page(&facts, width(), &client.program()).as_bytes())?,
        }
        Ok(0)
    }
}
