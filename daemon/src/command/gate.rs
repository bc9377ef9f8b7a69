//! The gate before a command: a process that waits until the journal knows of it, and only then becomes the command.
//!
//! ```text
//! daemon: spawn gate -- journal: its pid, flushed -- one byte -- wait
//! gate:   read stdin ----------------------------- exec argv
//! ```
//!
//! A daemon that is killed before the byte leaves a gate that reads the end of its standard input, and ends: no command ever
//! runs that the next daemon could not find. The process id and the start time outlive exec.

use std::ffi::OsString;
use std::io::{Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode, Stdio};

/// What `cutover` is called with to be a gate.
pub(super) const VERB: &str = "__run";
/// The byte that opens it.
pub(super) const OPEN: &[u8] = b"\n";
/// As of a shell that cannot run a program.
const NOT_STARTED: u8 = 127;

/// Is the gate before the command of these arguments; returns only when it is not run.
pub(super) fn pass(mut arguments: impl Iterator<Item = OsString>) -> Option<ExitCode> {
    let program = arguments.next()?;
    if !matches!(std::io::stdin().read(&mut [0]), Ok(1)) {
        return Some(ExitCode::FAILURE);
    }
    let error = Command::new(&program).args(arguments).stdin(Stdio::null()).exec();
    let _ = writeln!(std::io::stderr(), "failed to start \"{}\": {error}", program.display());
    Some(ExitCode::from(NOT_STARTED))
}
