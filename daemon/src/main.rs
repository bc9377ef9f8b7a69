//! `cutover`: the daemon and its command line in one program.

#![forbid(unsafe_code)]

use std::process::ExitCode;

use clap::Parser;
use cutover::cli::{Arguments, CliError};

fn main() -> ExitCode {
    if let Some(code) = cutover::command::stand_in(std::env::args_os().skip(1)) {
        return code;
    }
    let arguments = Arguments::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let done = runtime.map_err(anyhow::Error::from).and_then(|runtime| {
        let done = runtime.block_on(arguments.run()).map_err(anyhow::Error::from);
        // A disk or a name server that hangs must not block the exit.
        runtime.shutdown_timeout(std::time::Duration::from_secs(1));
        done
    });
    match done {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            cutover::cli::print_error(&error.to_string());
            ExitCode::from(error.downcast_ref().map_or(1, CliError::exit_code))
        }
    }
}
