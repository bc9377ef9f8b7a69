//! The operator's commands: argv, a clean environment, a time limit, output kept, and a process group that is ended whole.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{PipeWriter, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{ExitCode, Stdio};
use std::time::Duration;

use cutover_engine::commands::{Failed, Job};
use cutover_engine::policy;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

mod gate;
mod process;
mod relay;

use process::end_rest;
pub use process::{Leader, end_group};
pub use relay::{CUT_OFF, MOST_OUTPUT};

/// The search path of every command; no other is inherited.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// How long the relay may take to have a command's output on the disk.
const PATIENCE: Duration = Duration::from_secs(5);
/// Lines of output that are shown when a command fails.
const TAIL_LINES: usize = 20;

/// Where commands are started from.
#[derive(Clone, Debug)]
pub struct Runner {
    folder: PathBuf,
    program: PathBuf,
}

/// A command that runs, in a process group of its own.
#[derive(Debug)]
pub struct Running {
    child: tokio::process::Child,
    gate: Option<tokio::process::ChildStdin>,
    relay: UnixStream,
    /// Its process, which is its group's leader.
    pub leader: Leader,
    kept: String,
    name: String,
    limit: policy::Duration,
}

/// Does what this program is called for in the place of a command, if it is called for that: its first arguments say so.
pub fn stand_in(mut arguments: impl Iterator<Item = OsString>) -> Option<ExitCode> {
    let verb = arguments.next()?;
    if arguments.next()? != "--" {
        return None;
    }
    match verb.to_str()? {
        gate::VERB => gate::pass(arguments),
        relay::VERB => Some(relay::pass()),
        _ => None,
    }
}

impl Runner {
    /// What commands write is kept below this folder.
    pub fn new(folder: PathBuf) -> Self {
        // This program, even when its file has been replaced.
        Self::through(folder, "/proc/self/exe".into())
    }

    /// The same, with another program than this one that calls [`stand_in`].
    pub fn through(folder: PathBuf, program: PathBuf) -> Self {
        Self { folder, program }
    }

    /// Starts the gate before a command; the command's output goes to `folder/DEPLOYMENT/NAME.log`. It runs when
    /// [`Running::finish`] is called. One that is dropped before, as by a daemon that is killed, never runs.
    pub fn start(&self, job: &Job) -> Result<Running, Failed> {
        let program = job.command.command.program();
        let failed = |what: &str, error: std::io::Error| {
            Failed::early(format!("failed to start {} \"{}\": {what}: {error}", job.name, program.display()))
        };
        rustix::fs::access(program, rustix::fs::Access::EXEC_OK)
            .map_err(|error| failed("exec", error.into()))?;
        let output = self.folder(&job.deployment).join(format!("{}.log", job.name));
        let (file, kept) = match open_output(&output, job) {
            Ok(file) => (Stdio::from(file), format!("output in {}", output.display())),
            Err(error) => {
                // A command that stops a bad version must not fail for want of a file to write to.
                tracing::warn!(output = %output.display(), %error, "the output of a command is not kept");
                (Stdio::null(), format!("its output is not kept: {}: {error}", output.display()))
            }
        };
        let (relay, pipe) =
            self.relay(&output, file).map_err(|error| failed("the relay of its output", error))?;
        let mut command = tokio::process::Command::new(&self.program);
        command
            .args([gate::VERB, "--"])
            .arg(program)
            .args(job.command.command.arguments())
            .env_clear()
            .env("PATH", PATH)
            .envs(&job.environment)
            .current_dir(job.command.cwd.as_deref().unwrap_or(Path::new("/")))
            .stdin(Stdio::piped())
            .stdout(pipe.try_clone().map_err(|error| failed("its output", error))?)
            .stderr(pipe)
            .process_group(0);
        let mut child = command.spawn().map_err(|error| match &job.command.cwd {
            Some(cwd) if !cwd.is_dir() => failed(&format!("cwd \"{}\"", cwd.display()), error),
            _ => failed("exec", error),
        })?;
        let leader = child.id().and_then(Leader::of).ok_or_else(|| {
            Failed::early(format!(
                "{} \"{}\" ended before its process could be identified",
                job.name,
                program.display()
            ))
        })?;
        let (name, limit) = (job.name.clone(), job.command.timeout);
        let gate = child.stdin.take();
        Ok(Running { child, gate, relay, leader, kept, name, limit })
    }

    /// Forgets what the commands of a deployment wrote.
    pub async fn forget(&self, deployment: &str) {
        // A deployment without commands has no folder.
        let _ = tokio::fs::remove_dir_all(self.folder(deployment)).await;
    }

    fn folder(&self, deployment: &str) -> PathBuf {
        self.folder.join(deployment)
    }

    /// Starts the relay: the way to it, and the pipe that it reads.
    fn relay(&self, output: &Path, file: Stdio) -> std::io::Result<(UnixStream, PipeWriter)> {
        let (reader, writer) = std::io::pipe()?;
        let (mine, its) = std::os::unix::net::UnixStream::pair()?;
        mine.set_nonblocking(true)?;
        let mut relay = tokio::process::Command::new(&self.program)
            .arg0("cutover")
            .args([relay::VERB, "--"])
            .arg(output)
            .env_clear()
            .current_dir("/")
            .stdin(reader)
            .stdout(OwnedFd::from(its))
            .stderr(file)
            .process_group(0)
            .spawn()?;
        // It ends when nobody is left to write, perhaps long after the command.
        tokio::spawn(async move { relay.wait().await });
        Ok((UnixStream::from_std(mine)?, writer))
    }
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
        let how = match tokio::time::timeout(self.limit.get(), self.child.wait()).await {
            Ok(Ok(status)) if status.success() => {
                self.tail().await;
                return Ok(());
            }
            Ok(Ok(status)) => {
                code = status.code();
                end_rest(&self.leader).await;
                format!("ended with {status}")
            }
            Ok(Err(error)) => format!("cannot be waited for: {error}"),
            Err(_) => {
                end_group(&self.leader).await;
                format!("did not end within {} and was killed", self.limit)
            }
        };
        let tail = self.tail().await;
        let last = tail.lines().rev().map(str::trim).find(|line| !line.is_empty());
        let last = last.map(|line| format!(": {line}")).unwrap_or_default();
        let reason = format!("{} {how}{last} ({})", self.name, self.kept);
        Err(Failed { reason, tail, code })
    }

    /// The last of what the command wrote, once all of it is in the file.
    async fn tail(&mut self) -> String {
        let relay = &mut self.relay;
        let ask = async move {
            let mut tail = Vec::new();
            relay.write_all(relay::ASK).await?;
            relay.read_to_end(&mut tail).await?;
            std::io::Result::Ok(tail)
        };
        let tail = match tokio::time::timeout(PATIENCE, ask).await {
            Ok(Ok(tail)) => tail,
            Ok(Err(error)) => {
                tracing::warn!(command = self.name, %error, "lost the connection to the output relay");
                Vec::new()
            }
            Err(_) => {
                tracing::warn!(command = self.name, "the output relay did not answer in time");
                Vec::new()
            }
        };
        let text = String::from_utf8_lossy(&tail);
        let lines: Vec<&str> = text.lines().collect();
        let shown = lines.get(lines.len().saturating_sub(TAIL_LINES)..).unwrap_or_default();
        shown.join("\n")
    }
}

/// The file: a run after a restart adds to what is there.
fn open_output(path: &Path, job: &Job) -> std::io::Result<File> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    let mut file = OpenOptions::new().create(true).append(true).mode(0o600).open(path)?;
    writeln!(file, "$ {}", job.command.command.typed())?;
    Ok(file)
}
