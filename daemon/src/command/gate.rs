//! The gate: a process that waits until its process id is in the journal, and then becomes the command.
//!
//! ```text
//! daemon: spawn gate -- journal: its pid, flushed -- one byte -- wait
//! gate:   read stdin ----------------------------- exec argv
//! ```
//!
//! If the daemon is killed before it sends the byte, the gate reads end of file and exits. So the next daemon can find every
//! command that runs. `exec` keeps the process id and the start time.

use std::ffi::OsString;
use std::io::{Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode, Stdio};

/// The argument that makes `cutover` a gate.
pub(super) const VERB: &str = "__run";
/// The byte that opens it.
pub(super) const OPEN: &[u8] = b"\n";
/// The exit code of a shell that cannot run a program.
pub(super) const NOT_STARTED: u8 = 127;

/// Runs the gate of the command in `arguments`. Returns only if the command does not run.
pub(super) fn pass(mut arguments: impl Iterator<Item = OsString>) -> Option<ExitCode> {
    let program = arguments.next()?;
    if !matches!(std::io::stdin().read(&mut [0]), Ok(1)) {
        return Some(ExitCode::FAILURE);
    }
    let error = Command::new(&program).args(arguments).stdin(Stdio::null()).exec();
    let _ = writeln!(std::io::stderr(), "failed to start \"{}\": {error}", program.display());
    Some(ExitCode::from(NOT_STARTED))
}
