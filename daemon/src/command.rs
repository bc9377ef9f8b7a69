//! The operator's commands: argv, a clean environment, a time limit, output kept, and a process group that is ended whole.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::io::AsyncWriteExt;

use crate::config;

pub mod gate;
mod process;

use process::end_rest;
pub use process::{Leader, end_group};

/// The search path of every command; no other is inherited.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// Bytes of output that are kept of one run; what it writes between two looks may be there too.
const MOST_OUTPUT: u64 = 1 << 20;
/// From one look at the output's length to the next.
const LOOK: Duration = Duration::from_millis(200);
const CUT_OFF: &str = "\n[output cut off by cutover]\n";
/// Bytes of output that are shown when a command fails.
const TAIL_BYTES: u64 = 4096;
/// Lines of it.
const TAIL_LINES: usize = 20;

/// A command and what it is told.
#[derive(Clone, Debug)]
pub struct Job {
    /// What it is for, as in `migrate`; names the file of its output.
    pub name: String,
    /// The deployment that runs it.
    pub deployment: String,
    /// The program, its arguments, its limit.
    pub command: config::Command,
    /// `CUTOVER_*` and the group's own variables.
    pub environment: BTreeMap<String, String>,
}

/// A command that did not succeed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failed {
    /// One line: how it ended, the last line it wrote, where the rest is.
    pub reason: String,
    /// The end of what it wrote.
    pub tail: String,
    /// Its exit code, if it ended by itself.
    pub code: Option<i32>,
}

impl Failed {
    /// A command that could not even be started.
    pub fn early(reason: String) -> Self {
        Self { reason, tail: String::new(), code: None }
    }
}

/// A command that runs, in a process group of its own.
#[derive(Debug)]
pub struct Running {
    child: tokio::process::Child,
    gate: Option<tokio::process::ChildStdin>,
    /// Its process, which is its group's leader.
    pub leader: Leader,
    output: PathBuf,
    begin: u64,
    most: u64,
    name: String,
    limit: config::Duration,
}

/// Starts the gate before a command; the command's output goes to `folder/DEPLOYMENT/NAME.log`. It runs when [`Running::finish`]
/// is called. One that is dropped before, as by a daemon that is killed, never runs.
pub fn start(job: &Job, folder: &Path) -> Result<Running, Failed> {
    let program = job.command.command.program();
    let failed = |what: &str, error: std::io::Error| {
        Failed::early(format!("failed to start {} \"{}\": {what}: {error}", job.name, program.display()))
    };
    let output = folder.join(&job.deployment).join(format!("{}.log", job.name));
    let (file, begin) = open_output(&output, job).map_err(|error| failed("its output file", error))?;
    rustix::fs::access(program, rustix::fs::Access::EXEC_OK).map_err(|error| failed("exec", error.into()))?;
    let [gate, gate_arguments @ ..] = gate::argv();
    let mut command = tokio::process::Command::new(gate);
    command
        .args(gate_arguments)
        .arg(program)
        .args(job.command.command.arguments())
        .env_clear()
        .env("PATH", PATH)
        .envs(&job.environment)
        .current_dir(job.command.cwd.as_deref().unwrap_or(Path::new("/")))
        .stdin(Stdio::piped())
        .stdout(file.try_clone().map_err(|error| failed("its output file", error))?)
        .stderr(file)
        .process_group(0);
    let mut child = command.spawn().map_err(|error| match &job.command.cwd {
        Some(cwd) if !cwd.is_dir() => failed(&format!("cwd \"{}\"", cwd.display()), error),
        _ => failed("exec", error),
    })?;
    let leader = child.id().and_then(Leader::of).ok_or_else(|| {
        Failed::early(format!("{} \"{}\" ended before it was seen", job.name, program.display()))
    })?;
    let (name, limit) = (job.name.clone(), job.command.timeout);
    let gate = child.stdin.take();
    Ok(Running { child, gate, leader, output, begin, most: begin + MOST_OUTPUT, name, limit })
}

impl Running {
    /// Lets it run, and waits for its end. When it fails, or at its limit, the whole group is ended; what a command that
    /// succeeds leaves in the background is the operator's.
    pub async fn finish(mut self) -> Result<(), Failed> {
        if let Some(mut gate) = self.gate.take() {
            // A gate that is gone shows in its exit status.
            let _ = gate.write_all(gate::OPEN).await;
        }
        let mut code = None;
        let ended =
            tokio::time::timeout(self.limit.get(), limited(self.child.wait(), &self.output, self.most)).await;
        let how = match ended {
            Ok(Ok(status)) if status.success() => return Ok(()),
            Ok(Ok(status)) => {
                code = status.code();
                end_rest(&self.leader).await;
                format!("ended with {status}")
            }
            Ok(Err(error)) => format!("cannot be waited for: {error}"),
            Err(_) => {
                limited(end_group(&self.leader), &self.output, self.most).await;
                format!("did not end within {} and was killed", self.limit)
            }
        };
        cut_off(&self.output, self.most);
        let tail = self.tail();
        let last = tail.lines().rev().map(str::trim).find(|line| !line.is_empty());
        let last = last.map(|line| format!(": {line}")).unwrap_or_default();
        let reason = format!("{} {how}{last} (output in {})", self.name, self.output.display());
        Err(Failed { reason, tail, code })
    }

    fn tail(&self) -> String {
        let read = || -> std::io::Result<String> {
            let mut file = File::open(&self.output)?;
            let length = file.metadata()?.len();
            file.seek(SeekFrom::Start(self.begin.max(length.saturating_sub(TAIL_BYTES))))?;
            let mut bytes = Vec::new();
            file.read_to_end(&mut bytes)?;
            Ok(String::from_utf8_lossy(&bytes).into_owned())
        };
        let text = read().unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        let shown = lines.get(lines.len().saturating_sub(TAIL_LINES)..).unwrap_or_default();
        shown.join("\n")
    }
}

/// Does something while a command may write. The command has the file itself, not a pipe: what it leaves in the background
/// neither holds the daemon up nor dies when the daemon does.
async fn limited<T>(doing: impl Future<Output = T>, output: &Path, most: u64) -> T {
    tokio::pin!(doing);
    loop {
        tokio::select! {
            done = &mut doing => return done,
            () = tokio::time::sleep(LOOK) => cut_off(output, most),
        }
    }
}

/// Shortens a file that is longer than this; whoever appends to it goes on behind the cut.
fn cut_off(output: &Path, most: u64) {
    let cut = || -> std::io::Result<()> {
        let mut file = OpenOptions::new().append(true).open(output)?;
        if file.metadata()?.len() > most + TAIL_BYTES {
            file.set_len(most)?;
            file.write_all(CUT_OFF.as_bytes())?;
        }
        Ok(())
    };
    if let Err(error) = cut() {
        tracing::warn!(output = %output.display(), %error, "failed to limit a command's output");
    }
}

/// The file, and where this run's output begins in it: a run after a restart adds to what is there.
fn open_output(path: &Path, job: &Job) -> std::io::Result<(File, u64)> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    let mut file = OpenOptions::new().create(true).append(true).mode(0o600).open(path)?;
    writeln!(file, "$ {}", job.command.command.typed())?;
    let begin = file.metadata()?.len();
    Ok((file, begin))
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    fn job(script: &str, timeout: &str) -> Job {
        let command = serde_json::json!({"command": ["/bin/sh", "-c", script], "timeout": timeout});
        Job {
            name: "provision".to_owned(),
            deployment: "shop-1".to_owned(),
            command: serde_json::from_value(command).unwrap(),
            environment: [("CUTOVER_SLOT".to_owned(), "green".to_owned())].into(),
        }
    }

    async fn run(job: &Job, folder: &Path) -> Result<(), Failed> {
        start(job, folder)?.finish().await
    }

    #[tokio::test]
    async fn the_environment_is_clean() {
        let folder = tempfile::tempdir().unwrap();
        run(&job("env | cut -d= -f1 | sort | tr '\\n' ' '", "5s"), folder.path()).await.unwrap();
        let output = fs::read_to_string(folder.path().join("shop-1/provision.log")).unwrap();
        let seen = output.lines().last().unwrap().trim();
        assert_eq!(seen, "CUTOVER_SLOT PATH PWD", "PWD is sh's own");
    }

    #[tokio::test]
    async fn a_failure_shows_its_last_line_and_keeps_the_rest() {
        let folder = tempfile::tempdir().unwrap();
        let failed = run(&job("echo one; echo two >&2; exit 3", "5s"), folder.path()).await.unwrap_err();
        assert!(
            failed.reason.starts_with("provision ended with exit status: 3: two (output in"),
            "{failed:?}"
        );
        assert_eq!(failed.tail, "one\ntwo");
        let again = run(&job("echo three; exit 1", "5s"), folder.path()).await.unwrap_err();
        assert_eq!(again.tail, "three", "only of this run");
    }

    #[tokio::test]
    async fn at_the_limit_the_whole_group_is_ended() {
        let folder = tempfile::tempdir().unwrap();
        let mark = folder.path().join("mark");
        let script = format!("(sleep 1; touch {}) & trap '' TERM; sleep 60; sleep 60", mark.display());
        let begin = Instant::now();
        let failed = run(&job(&script, "200ms"), folder.path()).await.unwrap_err();
        assert!(failed.reason.contains("did not end within 200ms and was killed"), "{failed:?}");
        assert!(begin.elapsed() < Duration::from_secs(30));
        tokio::time::sleep(Duration::from_millis(1500)).await;
        assert!(!mark.exists(), "a child in the background has lived on");
    }

    #[tokio::test]
    async fn a_command_that_fails_is_ended_with_its_children_and_one_that_succeeds_leaves_them() {
        let folder = tempfile::tempdir().unwrap();
        for (code, lives) in [(0, true), (1, false)] {
            let mark = folder.path().join(format!("mark-{code}"));
            let script = format!("(sleep 1; touch {}) & exit {code}", mark.display());
            let done = run(&job(&script, "5s"), folder.path()).await;
            assert_eq!(done.is_ok(), code == 0);
            tokio::time::sleep(Duration::from_millis(1500)).await;
            assert_eq!(mark.exists(), lives, "exit code {code}");
        }
    }

    #[tokio::test]
    async fn a_child_has_its_time_after_sigterm_although_its_parent_is_gone() {
        let folder = tempfile::tempdir().unwrap();
        let mark = folder.path().join("mark");
        let child =
            format!("trap 'sleep 1; touch {}; exit' TERM; while :; do sleep 0.1; done", mark.display());
        let failed =
            run(&job(&format!("sh -c '{}' & wait", child.replace('\'', "'\\''")), "500ms"), folder.path())
                .await;
        assert!(failed.is_err());
        assert!(mark.exists());
    }

    #[tokio::test]
    async fn it_does_not_run_before_it_is_let() {
        let folder = tempfile::tempdir().unwrap();
        let mark = folder.path().join("mark");
        let job = job(&format!("touch {}", mark.display()), "5s");
        let started = start(&job, folder.path()).unwrap();
        tokio::time::sleep(Duration::from_millis(300)).await;
        let leader = started.leader.clone();
        assert!(leader.is_alive() && !mark.exists());
        drop(started);
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert!(!leader.is_alive() && !mark.exists(), "nobody is left to let it run");
        let started = start(&job, folder.path()).unwrap();
        let leader = started.leader.clone();
        started.finish().await.unwrap();
        assert!(!leader.is_alive() && mark.exists());
    }

    #[tokio::test]
    async fn output_is_limited() {
        let folder = tempfile::tempdir().unwrap();
        let script = "i=0; while [ $i -lt 30 ]; do head -c 1000000 /dev/zero | tr '\\0' x; sleep 0.05; i=$((i+1)); done; echo; echo the end; exit 1";
        let failed = run(&job(script, "20s"), folder.path()).await.unwrap_err();
        let length = fs::metadata(folder.path().join("shop-1/provision.log")).unwrap().len();
        assert!(length < 2 * MOST_OUTPUT, "{length}");
        assert!(failed.tail.contains("output cut off"), "{failed:?}");
    }

    #[tokio::test]
    async fn a_program_that_is_not_there() {
        let folder = tempfile::tempdir().unwrap();
        let mut job = job("", "5s");
        job.command.command = serde_json::from_value(serde_json::json!(["/no/such/program"])).unwrap();
        let failed = run(&job, folder.path()).await.unwrap_err();
        assert!(failed.reason.contains("failed to start provision \"/no/such/program\""), "{failed:?}");
    }
}
