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
pub const VERB: &str = "__run";
/// The byte that opens it.
pub(super) const OPEN: &[u8] = b"\n";
/// As of a shell that cannot run a program.
const NOT_STARTED: u8 = 127;

/// The program that is a gate, before the arguments of the command: this one, even when its file has been replaced.
#[cfg(not(test))]
pub(super) fn argv() -> [&'static str; 3] {
    ["/proc/self/exe", VERB, "--"]
}

/// In a unit test this program is the test: a shell does the same.
#[cfg(test)]
pub(super) fn argv() -> [&'static str; 4] {
    ["/bin/sh", "-c", "read -r _ || exit 1; exec \"$@\" </dev/null", "gate"]
}

/// Is the gate if these are its arguments; returns only when there is no command to be run.
pub fn pass(mut arguments: impl Iterator<Item = OsString>) -> Option<ExitCode> {
    if arguments.next()? != VERB || arguments.next()? != "--" {
        return None;
    }
    let program = arguments.next()?;
    if !matches!(std::io::stdin().read(&mut [0]), Ok(1)) {
        return Some(ExitCode::FAILURE);
    }
    let error = Command::new(&program).args(arguments).stdin(Stdio::null()).exec();
    let _ = writeln!(std::io::stderr(), "failed to start \"{}\": {error}", program.display());
    Some(ExitCode::from(NOT_STARTED))
}
