//! The daemon and the command line, run as an operator runs them.

pub mod config;
mod deployment;

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::process::{self, Pid, Signal};
use crate::{flavour, wait};

pub use deployment::{Deployed, Deployment};

/// A running `cutover serve`. Drop kills it and its process group.
#[derive(Debug)]
pub struct Daemon {
    program: PathBuf,
    config: PathBuf,
    folder: PathBuf,
    child: Option<Child>,
    detached: bool,
    variables: Vec<(&'static str, String)>,
    /// The words before the program that run it on another host.
    through: Vec<String>,
}

impl Daemon {
    /// Starts the daemon in the prefix of an nginx. In `groups` the text `%%folder%%` stands for that folder.
    pub async fn start(folder: &Path, groups: &str) -> Result<Self> {
        Self::start_with(folder, config::UNIX_SOCKET, groups).await
    }

    /// Starts the daemon with another way to the admin API, see [`config::text`].
    pub async fn start_with(folder: &Path, admin: &str, groups: &str) -> Result<Self> {
        let text = config::text(admin, groups).replace("%%folder%%", &folder.display().to_string());
        Self::start_at(folder, &text).await
    }

    /// Starts the daemon with a whole configuration. The file and the log are in `folder`.
    pub async fn start_at(folder: &Path, text: &str) -> Result<Self> {
        Self::start_through(&[], folder, text).await
    }

    /// The same on another host: `through` are the words before a command that run it there.
    pub async fn start_through(through: &[String], folder: &Path, text: &str) -> Result<Self> {
        let path = folder.join("cutover.toml");
        fs::write(&path, text)?;
        let mut daemon = Self {
            program: flavour::program("cutover")?,
            config: path,
            folder: folder.to_owned(),
            child: None,
            detached: false,
            variables: Vec::new(),
            through: through.to_owned(),
        };
        daemon.resume().await?;
        Ok(daemon)
    }

    /// Gives it another environment, from its next start on.
    pub fn set_variables(&mut self, variables: impl IntoIterator<Item = (&'static str, String)>) {
        self.variables = variables.into_iter().collect();
    }

    /// Starts it again after [`kill`](Self::kill) or [`stop`](Self::stop). Returns when the control API answers.
    pub async fn resume(&mut self) -> Result<()> {
        let log = fs::OpenOptions::new().create(true).append(true).open(self.log_path())?;
        let words: Vec<&OsStr> =
            self.through.iter().map(OsStr::new).chain([self.program.as_os_str()]).collect();
        let (first, rest) = words.split_first().context("no program")?;
        let child = Command::new(first)
            .args(rest)
            .arg("--config")
            .arg(&self.config)
            .arg("serve")
            .envs(self.variables.iter().cloned())
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .process_group_of_its_own()
            .spawn()
            .with_context(|| format!("failed to start {}", self.program.display()))?;
        let pid = pid_of(&child)?;
        self.child = Some(child);
        let came_up = wait::until_async(wait::PATIENCE, "the daemon to answer", async || {
            !process::alive(pid) || self.cli(&["status"]).is_ok_and(|output| output.status.success())
        });
        came_up.await.with_context(|| format!("{}\n{:?}", self.log(), self.cli(&["status"])))?;
        if !process::alive(pid) {
            bail!("the daemon ended at its start:\n{}", self.log());
        }
        Ok(())
    }

    /// Sends SIGKILL and waits for the end.
    pub fn kill(&mut self) -> Result<()> {
        let Some(mut child) = self.child.take() else { bail!("the daemon does not run") };
        child.kill()?;
        child.wait()?;
        Ok(())
    }

    /// Sends SIGTERM and waits for the end.
    pub async fn stop(&mut self) -> Result<()> {
        let Some(mut child) = self.child.take() else { bail!("the daemon does not run") };
        let pid = pid_of(&child)?;
        process::signal(pid, Signal::TERM)?;
        process::gone(&[pid], wait::PATIENCE).await?;
        child.wait()?;
        Ok(())
    }

    /// Runs `cutover ARGUMENTS` against this daemon and waits for the end. Blocks: for commands that return at once.
    pub fn cli(&self, arguments: &[&str]) -> Result<Output> {
        self.command(arguments).output().with_context(|| format!("failed to run {}", self.program.display()))
    }

    /// Runs `cutover deploy GROUP --version VERSION --json` to the end.
    pub async fn deploy(&self, group: &str, version: &str) -> Result<Deployed> {
        self.begin_deploy(group, version)?.finish().await
    }

    /// Starts `cutover deploy GROUP --version VERSION --json`, which the caller follows event by event.
    pub fn begin_deploy(&self, group: &str, version: &str) -> Result<Deployment> {
        Deployment::begin(self.command(&["deploy", group, "--version", version, "--json"]))
    }

    /// Like [`begin_deploy`](Self::begin_deploy), for several groups, which move together.
    pub fn begin_deploy_together(&self, groups: &[&str], version: &str) -> Result<Deployment> {
        let mut arguments = vec!["deploy"];
        arguments.extend(groups);
        arguments.extend(["--version", version, "--json"]);
        Deployment::begin(self.command(&arguments))
    }

    /// Like [`begin_deploy`](Self::begin_deploy), with `--to SLOT`.
    pub fn begin_deploy_to(&self, group: &str, version: &str, slot: &str) -> Result<Deployment> {
        Deployment::begin(self.command(&["deploy", group, "--version", version, "--to", slot, "--json"]))
    }

    /// Starts `cutover watch GROUP --json`.
    pub fn begin_watch(&self, group: &str) -> Result<Deployment> {
        Deployment::begin(self.command(&["watch", group, "--json"]))
    }

    /// Follows a deployment to the end after the daemon was killed during it. `command` may have ended with the daemon.
    pub async fn follow(&self, command: Deployment) -> Result<Deployed> {
        let mut ended = command.finish().await?;
        if !ended.outcome.is_empty() {
            return Ok(ended);
        }
        let id = ended.events.first().context("the deployment has no id yet")?.deployment.clone();
        let what = format!("the end of deployment {id}");
        ended.outcome =
            wait::until_some(deployment::LIMIT, &what, || self.outcome(&id).ok().flatten()).await?;
        ended.code = deployment::exit_code(&ended.outcome)?;
        Ok(ended)
    }

    /// The outcome of a deployment, from `cutover history --json`; `None` while it is in progress.
    pub fn outcome(&self, id: &str) -> Result<Option<String>> {
        let output = self.cli(&["history", "--json"])?;
        for line in String::from_utf8_lossy(&output.stdout).lines() {
            if let Some(outcome) = find_outcome(&serde_json::from_str(line)?, id) {
                return Ok(Some(outcome));
            }
        }
        Ok(None)
    }

    /// Starts a deployment without waiting for the end.
    pub fn deploy_detached(&self, group: &str, version: &str) -> Result<()> {
        let output = self.cli(&["deploy", group, "--version", version, "--detach"])?;
        if !output.status.success() {
            bail!("failed to start the deployment: {}", String::from_utf8_lossy(&output.stderr));
        }
        Ok(())
    }

    /// `cutover status GROUP --json`.
    pub fn status(&self, group: &str) -> Result<Value> {
        let output = self.cli(&["status", group, "--json"])?;
        serde_json::from_slice(&output.stdout).with_context(|| {
            format!("failed to read the status: {}", String::from_utf8_lossy(&output.stderr))
        })
    }

    /// A command line with the configuration of this daemon.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.arg("--config").arg(&self.config).args(arguments).stdin(Stdio::null());
        command
    }

    /// A command line that reaches daemons at these addresses, and knows nothing of this one.
    pub fn command_at(&self, hosts: &[&str], arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        for host in hosts {
            command.args(["--host", host]);
        }
        command.args(arguments).stdin(Stdio::null());
        command
    }

    /// The control socket.
    pub fn socket(&self) -> PathBuf {
        self.folder.join("cutover.sock")
    }

    /// The daemon's log.
    pub fn log(&self) -> String {
        fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    /// Its configuration file.
    pub fn config(&self) -> &Path {
        &self.config
    }

    /// Its process id while it runs.
    pub fn pid(&self) -> Option<Pid> {
        self.child.as_ref().and_then(|child| pid_of(child).ok())
    }

    /// Leaves the daemon running.
    pub fn detach(mut self) {
        self.detached = true;
    }

    fn log_path(&self) -> PathBuf {
        self.folder.join("daemon.log")
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if self.detached {
            return;
        }
        if let Some(mut child) = self.child.take() {
            if let Ok(pid) = pid_of(&child) {
                process::signal_group(pid, Signal::KILL);
            }
            let _ = child.wait();
        }
        if std::thread::panicking() {
            eprintln!("the daemon's log:\n{}", self.log());
        }
    }
}

fn find_outcome(value: &Value, id: &str) -> Option<String> {
    match value {
        Value::Array(items) => items.iter().find_map(|item| find_outcome(item, id)),
        Value::Object(members) if members.values().any(|member| member == id) => {
            members.get("outcome")?.as_str().map(str::to_owned)
        }
        Value::Object(members) => members.values().find_map(|member| find_outcome(member, id)),
        _ => None,
    }
}

fn pid_of(child: &Child) -> Result<Pid> {
    i32::try_from(child.id()).ok().and_then(Pid::from_raw).context("a process id out of range")
}

trait OwnGroup {
    /// Ctrl-C at a terminal then reaches the program that owns the fixture, and not the daemon.
    fn process_group_of_its_own(&mut self) -> &mut Self;
}

impl OwnGroup for Command {
    fn process_group_of_its_own(&mut self) -> &mut Self {
        std::os::unix::process::CommandExt::process_group(self, 0)
    }
}
