//! The program `cutover-operator`.

#![forbid(unsafe_code)]

mod cli;

use std::process::ExitCode;

use clap::Parser;

#[tokio::main]
async fn main() -> ExitCode {
    // Two of the libraries could choose different providers.
    let _ = rustls::crypto::ring::default_provider().install_default();
    match cli::Cli::parse().run().await {
        Ok(code) => code,
        Err(error) => {
            eprintln!("cutover-operator: {error:#}");
            ExitCode::FAILURE
        }
    }
}
