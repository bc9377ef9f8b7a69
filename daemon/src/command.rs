//! Runs the operator's commands with a clean environment, a time limit, an output file and a process group of their own.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{PipeWriter, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{ExitCode, Stdio};
use std::time::Duration;

use cutover_engine::commands::{Failed, Job, SmokeResult};
use cutover_engine::peers::{CheckError, Reply, What};
use cutover_engine::policy;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

mod account;
mod gate;
mod kept;
mod process;
mod relay;
mod watched;

use account::Account;
pub(crate) use account::PATH;
use process::end_rest;
pub use process::{Leader, end_group};
pub use relay::{CUT_OFF, MOST_OUTPUT};

/// How long the relay may take to write a command's output to the file.
const PATIENCE: Duration = Duration::from_secs(5);
/// Maximum number of lines of output in an error.
const TAIL_LINES: usize = 20;

/// Starts commands.
#[derive(Clone, Debug)]
pub struct Runner {
    folder: PathBuf,
    program: PathBuf,
    account: Account,
}

/// Runs commands that check servers. They have a time limit and a process group, and no file.
#[derive(Clone, Debug)]
pub struct Checker {
    program: PathBuf,
    account: Account,
}

impl Default for Checker {
    fn default() -> Self {
        // The running program, even if its file has been replaced.
        Self::through("/proc/self/exe".into())
    }
}

impl Checker {
    /// A checker that uses another program as the watcher. The program must call [`stand_in`].
    pub fn through(program: PathBuf) -> Self {
        Self { program, account: Account::of_this_process() }
    }

    /// Runs a command to its end. After the limit, or when this future is dropped, its process group is ended.
    pub async fn run(&self, what: What, limit: Duration) -> Result<Reply, CheckError> {
        watched::run((&self.program, &self.account), what, limit).await
    }
}

/// A running command in its own process group.
#[derive(Debug)]
pub struct Running {
    child: tokio::process::Child,
    gate: Option<tokio::process::ChildStdin>,
    relay: UnixStream,
    /// Its process, which leads the process group.
    pub leader: Leader,
    kept: String,
    name: String,
    limit: policy::Duration,
}

/// Runs this program as a gate or a relay if its first arguments say so. Returns the exit code, or `None` for other arguments.
pub fn stand_in(mut arguments: impl Iterator<Item = OsString>) -> Option<ExitCode> {
    let verb = arguments.next()?;
    if arguments.next()? != "--" {
        return None;
    }
    match verb.to_str()? {
        gate::VERB => gate::pass(arguments),
        relay::VERB => Some(relay::pass()),
        watched::VERB => watched::pass(arguments),
        _ => None,
    }
}

impl Runner {
    /// A runner that keeps the output of commands below `folder`.
    pub fn new(folder: PathBuf) -> Self {
        // The running program, even if its file has been replaced.
        Self::through(folder, "/proc/self/exe".into())
    }

    /// A runner that uses another program for gate and relay. The program must call [`stand_in`].
    pub fn through(folder: PathBuf, program: PathBuf) -> Self {
        Self { folder, program, account: Account::of_this_process() }
    }

    /// Starts the gate of a command. The command itself starts with [`Running::finish`]. If the [`Running`] is dropped before,
    /// or the daemon is killed, the command never runs. Its output goes to `folder/DEPLOYMENT/NAME.log`.
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
                // A command that stops a bad version must run even without an output file.
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
            .envs(self.account.environment())
            // The variables of the group come last.
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

    /// Keeps the result of a smoke test beside the output of commands.
    pub async fn keep(&self, deployment: &str, result: &SmokeResult) -> std::io::Result<()> {
        kept::append(self.folder(deployment), result.clone()).await
    }

    /// The results of the smoke tests of a deployment, the oldest first.
    pub async fn kept(&self, deployment: &str) -> Vec<SmokeResult> {
        kept::read(self.folder(deployment)).await
    }

    /// Deletes the output of a deployment's commands.
    pub async fn forget(&self, deployment: &str) {
        // A deployment without commands has no folder.
        let _ = tokio::fs::remove_dir_all(self.folder(deployment)).await;
    }

    /// The folder of a deployment.
    pub fn folder(&self, deployment: &str) -> PathBuf {
        self.folder.join(deployment)
    }

    /// Starts the relay. Returns its socket, and the pipe that it reads.
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
        // The relay ends when the last writer has closed the pipe, possibly long after the command.
        tokio::spawn(async move { relay.wait().await });
        Ok((UnixStream::from_std(mine)?, writer))
    }
}

impl Running {
    /// Opens the gate and waits for the end of the command. Returns the end of its output. If the command fails or exceeds its time
    /// limit, its whole process group is killed. Background processes of a successful command keep running.
    pub async fn finish(mut self) -> Result<String, Failed> {
        if let Some(mut gate) = self.gate.take() {
            // If the gate has died, its exit status shows it.
            let _ = gate.write_all(gate::OPEN).await;
        }
        let (mut code, mut is_late) = (None, false);
        let how = match tokio::time::timeout(self.limit.get(), self.child.wait()).await {
            Ok(Ok(status)) if status.success() => {
                return Ok(self.tail().await);
            }
            Ok(Ok(status)) => {
                code = status.code();
                end_rest(&self.leader).await;
                format!("ended with {status}")
            }
            Ok(Err(error)) => format!("cannot be waited for: {error}"),
            Err(_) => {
                end_group(&self.leader).await;
                is_late = true;
                format!("did not end within {} and was killed", self.limit)
            }
        };
        let tail = self.tail().await;
        let last = tail.lines().rev().map(str::trim).find(|line| !line.is_empty());
        let last = last.map(|line| format!(": {line}")).unwrap_or_default();
        let next = if is_late { "; if it needs longer, raise its timeout in the configuration" } else { "" };
        let reason = format!("{} {how}{last} ({}){next}", self.name, self.kept);
        Err(Failed { reason, tail, code })
    }

    /// Waits until the output is in the file, and returns the end of it.
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

/// Opens the output file. A repeated run appends to it.
fn open_output(path: &Path, job: &Job) -> std::io::Result<File> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    let mut file = OpenOptions::new().create(true).append(true).mode(0o600).open(path)?;
    writeln!(file, "$ {}", job.command.command.typed())?;
    Ok(file)
}
