//! Commands that check a server: short ones that run again and again, so neither the journal nor a file knows them.
//!
//! ```text
//! daemon -- stdin stays open --> watcher -- spawns --> command
//!        <-- output -------------------------------------+
//! ```
//!
//! The watcher leads the process group. When its standard input ends, nobody waits for the command any more: the daemon was killed,
//! or has given up. Then the watcher kills the group, so nothing is left behind.

use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::sync::Arc;
use std::time::Duration;

use cutover_engine::peers::{CheckError, Reply, What};
use cutover_engine::policy::Duration as Shown;
use parking_lot::Mutex;
use rustix::process::{Signal, getpgrp, kill_process_group};
use tokio::io::AsyncReadExt;
use tokio::process::ChildStdout;

use super::account::Account;
use super::gate;
use super::process::{Leader, end_group, end_rest};

/// The argument that makes `cutover` a watcher.
pub(super) const VERB: &str = "__check";
/// How much of the end of the output is kept, in bytes.
const TAIL: usize = 4096;
/// How long output may be on its way after the command has ended.
const ON_ITS_WAY: Duration = Duration::from_millis(200);

/// Runs the watcher of the command in `arguments`.
pub(super) fn pass(mut arguments: impl Iterator<Item = OsString>) -> Option<ExitCode> {
    let program = arguments.next()?;
    std::thread::spawn(|| {
        let mut stdin = io::stdin();
        while matches!(stdin.read(&mut [0; 64]), Ok(1..)) {}
        // The watcher is in the group, so this ends it, too.
        let _ = kill_process_group(getpgrp(), Signal::KILL);
    });
    let ended = Command::new(&program).args(arguments).stdin(Stdio::null()).status();
    Some(match ended {
        Ok(status) => {
            ExitCode::from(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(KILLED))
        }
        Err(error) => {
            let _ = writeln!(io::stderr(), "failed to start \"{}\": {error}", program.display());
            ExitCode::from(gate::NOT_STARTED)
        }
    })
}

/// The exit code of a watcher whose command was ended by a signal.
const KILLED: u8 = 137;

/// Runs a command that checks a server. `watcher`: a program that calls [`super::stand_in`].
pub(super) async fn run(
    (watcher, account): (&Path, &Account),
    what: What,
    limit: Duration,
) -> Result<Reply, CheckError> {
    let What::Command { command, cwd, environment } = what else {
        return Err(CheckError::Invalid("this is no command".to_owned()));
    };
    let failed = |error: io::Error| CheckError::NotSent(format!("cannot be started: {error}"));
    let (reader, writer) = io::pipe().map_err(failed)?;
    let mut child = tokio::process::Command::new(watcher)
        .args([VERB, "--"])
        .arg(command.program())
        .args(command.arguments())
        .env_clear()
        .envs(account.environment())
        .envs(&environment)
        .current_dir(cwd.as_deref().unwrap_or(Path::new("/")))
        .stdin(Stdio::piped())
        .stderr(writer.try_clone().map_err(failed)?)
        .stdout(writer)
        .process_group(0)
        .spawn()
        .map_err(failed)?;
    // Held until the command has ended, or nobody waits any more.
    let _open = child.stdin.take();
    let leader = child.id().and_then(Leader::of);
    let tail = Arc::new(Mutex::new(Vec::new()));
    let output = tokio::spawn(collect(reader, Arc::clone(&tail)));
    // A process that the command has left behind may hold the pipe for ever.
    let reading = output.abort_handle();
    let Ok(ended) = tokio::time::timeout(limit, child.wait()).await else {
        reading.abort();
        if let Some(leader) = leader {
            tokio::spawn(async move { end_group(&leader).await });
        }
        let limit = Shown::from(limit);
        return Err(CheckError::NoAnswer(format!(
            "did not end within {limit} and was killed{}",
            last(&tail)
        )));
    };
    if let Some(leader) = leader {
        // What it left in the background would be there anew after each probe.
        tokio::spawn(async move { end_rest(&leader).await });
    }
    let _ = tokio::time::timeout(ON_ITS_WAY, output).await;
    reading.abort();
    let status = ended.map_err(|error| CheckError::NoAnswer(format!("cannot be waited for: {error}")))?;
    match status.code() {
        Some(0) => Ok(Reply::Succeeded(last(&tail).trim_start_matches(": ").to_owned())),
        Some(code) if code == i32::from(KILLED) => {
            Err(CheckError::Refused(format!("was ended by a signal{}", last(&tail))))
        }
        Some(code) => Err(CheckError::Refused(format!("exit code {code}{}", last(&tail)))),
        None => Err(CheckError::Refused(format!("{status}{}", last(&tail)))),
    }
}

/// Reads all output and keeps its end.
async fn collect(reader: io::PipeReader, tail: Arc<Mutex<Vec<u8>>>) -> io::Result<()> {
    let mut output =
        ChildStdout::from_std(std::process::ChildStdout::from(std::os::fd::OwnedFd::from(reader)))?;
    let mut piece = [0; TAIL];
    loop {
        let read = output.read(&mut piece).await?;
        if read == 0 {
            return Ok(());
        }
        let mut kept = tail.lock();
        kept.extend_from_slice(piece.get(..read).unwrap_or_default());
        let excess = kept.len().saturating_sub(TAIL);
        kept.drain(..excess);
    }
}

/// The last line of the output, after a colon.
fn last(tail: &Mutex<Vec<u8>>) -> String {
    let text = String::from_utf8_lossy(&tail.lock()).into_owned();
    let line = text.lines().rev().map(str::trim).find(|line| !line.is_empty());
    line.map(|line| format!(": {line}")).unwrap_or_default()
}
