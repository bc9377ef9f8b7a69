//! `cutover`: the daemon and its command line in one program.

#![forbid(unsafe_code)]

use std::process::ExitCode;

use cutover::cli::Arguments;

fn main() -> ExitCode {
    if let Some(code) = cutover::command::stand_in(std::env::args_os().skip(1)) {
        return code;
    }
    let arguments = match Arguments::parsed() {
        Ok(arguments) => arguments,
        Err(code) => return ExitCode::from(code),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    match runtime {
        Ok(runtime) => {
            let code = runtime.block_on(arguments.run_and_tell());
            // A disk or a name server that hangs must not block the exit.
            runtime.shutdown_timeout(std::time::Duration::from_secs(1));
            ExitCode::from(code)
        }
        Err(error) => {
            cutover::cli::print_error(&error.to_string());
            ExitCode::FAILURE
        }
    }
}
