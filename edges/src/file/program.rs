//! Runs the operator's programs that test and reload nginx: without a shell, with a time limit, in a process group of their own.

use std::process::{Output, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::process::Command;

/// `PATH` of the programs, the same as that of other commands.
pub(super) const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Why a program did not do its work. The text is a clause that begins with the command line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum ProgramError {
    /// It was not started, so it has done nothing.
    #[error("{command} was not started: {why}")]
    NotStarted {
        /// The command line.
        command: String,
        /// The reason.
        why: String,
    },
    /// It ended, and its exit status says that it failed.
    #[error("{command} {how}{}", said(output))]
    Failed {
        /// The command line.
        command: String,
        /// Its exit status in words.
        how: String,
        /// Its output.
        output: String,
    },
    /// It took too long and was killed with its process group. It may have done its work.
    #[error("{command} did not end within {} and was killed", humantime::format_duration(*limit))]
    Late {
        /// The command line.
        command: String,
        /// The time limit.
        limit: Duration,
    },
}

/// Kills a process group unless it is defused.
struct Group(Option<Pid>);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

/// Runs a program to its end. Returns its standard output and standard error.
pub(super) async fn run(argv: &[String], limit: Duration) -> Result<Output, ProgramError> {
    let command = typed(argv);
    let not_started = |why: String| ProgramError::NotStarted { command: command.clone(), why };
    let Some((program, arguments)) = argv.split_first() else {
        return Err(not_started("it is empty".to_owned()));
    };
    let child = Command::new(program)
        .args(arguments)
        .env("PATH", PATH)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()
        .map_err(|error| not_started(error.to_string()))?;
    let id = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
    let mut group = Group(id);
    match tokio::time::timeout(limit, child.wait_with_output()).await {
        Ok(Ok(output)) if output.status.success() => {
            group.0 = None;
            Ok(output)
        }
        Ok(Ok(Output { status, stdout, stderr })) => {
            group.0 = None;
            let texts = [stderr, stdout].map(|bytes| String::from_utf8_lossy(&bytes).trim().to_owned());
            let output = texts.into_iter().filter(|text| !text.is_empty()).collect::<Vec<_>>().join("\n");
            Err(ProgramError::Failed { command, how: format!("ended with {status}"), output })
        }
        Ok(Err(error)) => Err(not_started(error.to_string())),
        Err(_) => Err(ProgramError::Late { command, limit }),
    }
}

/// The command line as an operator would type it.
pub(super) fn typed(argv: &[String]) -> String {
    format!("\"{}\"", argv.join(" "))
}

/// The lines of nginx's output that name what is wrong, or else the last line.
fn said(output: &str) -> String {
    let wrong: Vec<&str> = output.lines().map(str::trim).filter(|line| line.contains("[emerg]")).collect();
    match (wrong.is_empty(), output.lines().rev().map(str::trim).find(|line| !line.is_empty())) {
        (false, _) => format!(": {}", wrong.join("; ")),
        (true, Some(last)) => format!(": {last}"),
        (true, None) => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(10);

    fn shell(script: &str) -> Vec<String> {
        ["/bin/sh", "-c", script].map(str::to_owned).to_vec()
    }

    #[tokio::test]
    async fn the_end_of_a_program_in_words() {
        let output = run(&shell("echo good"), LIMIT).await.unwrap();
        assert_eq!(output.stdout, b"good\n");
        let script = "echo 'nginx: [emerg] no \";\" in /a:3' >&2; echo 'nginx: test failed' >&2; exit 3";
        let error = run(&shell(script), LIMIT).await.unwrap_err().to_string();
        assert!(error.ends_with("ended with exit status: 3: nginx: [emerg] no \";\" in /a:3"), "{error}");
        let error = run(&["/no/such/nginx".to_owned()], LIMIT).await.unwrap_err().to_string();
        assert!(error.starts_with("\"/no/such/nginx\" was not started: No such file"), "{error}");
        assert!(matches!(run(&[], LIMIT).await, Err(ProgramError::NotStarted { .. })));
    }

    #[tokio::test]
    async fn a_program_that_hangs_is_killed_with_its_children() {
        let folder = tempfile::tempdir().unwrap();
        let pid = folder.path().join("pid");
        let script = format!("sleep 600 & echo $! > {}; wait", pid.display());
        let error = run(&shell(&script), Duration::from_millis(500)).await.unwrap_err();
        assert!(matches!(error, ProgramError::Late { .. }), "{error}");
        let pid = std::fs::read_to_string(pid).unwrap();
        let stat = format!("/proc/{}/stat", pid.trim());
        let is_gone = || std::fs::read_to_string(&stat).map_or(true, |stat| stat.contains(") Z "));
        for _ in 0..1_000 {
            if is_gone() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("process {pid} still runs");
    }
}
