//! One nginx for a test: a temporary prefix, unprivileged ports, unprivileged workers.
//!
//! It runs as a daemon, as in production: under `daemon off` nginx ignores USR2 while its parent lives
//! (`ngx_signal_handler` compares `ngx_getppid()` with `ngx_parent`). Its processes are those that have its error log
//! open, whichever master started them. The teardown ends them and then checks that log: see [`log`].

pub mod builder;
pub mod log;
pub mod signals;

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;

use anyhow::{Context, Result, bail};

use crate::flavour::Flavour;
use crate::process::{self, Pid, Signal};
use crate::temp::TempDir;
use crate::{Admin, wait};

pub use builder::Builder;

/// An nginx, running or not yet started.
#[derive(Debug)]
pub struct Nginx {
    dir: TempDir,
    flavour: Flavour,
    through: Vec<String>,
    workers: usize,
    variables: Mutex<BTreeMap<String, String>>,
    addresses: Mutex<BTreeMap<String, SocketAddr>>,
    expected_in_log: Mutex<Vec<String>>,
    detached: bool,
}

/// The result of `nginx -t`, `nginx -s` or a start.
#[derive(Clone, Debug)]
pub struct ProgramOutput {
    /// Whether nginx exited with status 0.
    pub ok: bool,
    /// Its output.
    pub output: String,
}

impl Nginx {
    /// A builder for an nginx of the flavour in `CUTOVER_NGINX`.
    pub fn builder() -> Builder {
        Builder::new()
    }

    /// Its flavour.
    pub fn flavour(&self) -> Flavour {
        self.flavour
    }

    /// Its folder; `%%prefix%%` in the configuration.
    pub fn prefix(&self) -> &Path {
        self.dir.path()
    }

    /// The address of `%%listen:NAME%%`.
    pub fn address(&self, name: &str) -> Result<SocketAddr> {
        let addresses = self.addresses.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        addresses.get(name).copied().with_context(|| format!("the configuration has no %%listen:{name}%%"))
    }

    /// A client of the admin API at `%%admin%%`, which is `PREFIX/admin.sock`.
    pub fn admin(&self) -> Admin {
        Admin::new(self.admin_socket())
    }

    /// The unix socket of `%%admin%%`.
    pub fn admin_socket(&self) -> PathBuf {
        self.prefix().join("admin.sock")
    }

    /// Runs `nginx -t` on the current configuration file.
    pub fn check(&self) -> Result<ProgramOutput> {
        self.run(&["-t"])
    }

    /// Runs `nginx -s SIGNAL` with the current configuration file.
    pub fn signal(&self, signal: &str) -> Result<ProgramOutput> {
        self.run(&["-s", signal])
    }

    /// Starts nginx and waits for its workers. Fails with nginx's output when nginx refuses.
    pub async fn start(&self) -> Result<()> {
        let answer = self.try_start().await?;
        if !answer.ok {
            bail!("nginx did not start: {}", answer.output);
        }
        Ok(())
    }

    /// Starts nginx and returns whether it runs. A refusal is also in the error log, see
    /// [`expect_in_log`](Self::expect_in_log).
    pub async fn try_start(&self) -> Result<ProgramOutput> {
        let answer = self.run(&[])?;
        if answer.ok {
            self.wait_for_workers(&[], self.error_log().len()).await?;
        }
        Ok(answer)
    }

    /// Stops nginx gracefully and waits for the end of all processes.
    pub async fn stop(&self) -> Result<()> {
        process::signal(self.master()?, Signal::QUIT)?;
        process::gone(&self.pids(), wait::PATIENCE).await
    }

    /// The master in the pid file.
    pub fn master(&self) -> Result<Pid> {
        process::from_file(&self.prefix().join("nginx.pid"))
    }

    /// All live processes: masters, workers, and workers that are shutting down.
    pub fn pids(&self) -> Vec<Pid> {
        process::holding("nginx", &self.prefix().join("error.log"))
    }

    /// The workers that accept connections.
    pub fn workers(&self) -> Vec<Pid> {
        self.pids().into_iter().filter(|pid| process::title(*pid) == "nginx: worker process").collect()
    }

    /// The options that give the program its prefix, configuration and error log.
    pub fn options(&self) -> [OsString; 6] {
        let path = |name: &str| self.prefix().join(name).into_os_string();
        let prefix = self.prefix().as_os_str().to_owned();
        ["-p".into(), prefix, "-c".into(), path("nginx.conf"), "-e".into(), path("error.log")]
    }

    /// The program with its options and these arguments, as an array of JSON or TOML.
    pub fn command_line(&self, arguments: &[&str]) -> Result<String> {
        let options = self.options();
        let options = options.iter().map(|option| option.to_string_lossy().into_owned());
        let words = [self.flavour.nginx().display().to_string()].into_iter().chain(options);
        let words = words.chain(arguments.iter().map(|word| (*word).to_owned()));
        Ok(serde_json::to_string(&words.collect::<Vec<_>>())?)
    }

    /// Ends all processes and checks the error log. Drop does the same.
    pub fn finish(self) {}

    /// Leaves nginx running and keeps its folder.
    pub fn detach(mut self) {
        self.dir.keep();
        self.detached = true;
    }

    /// Waits for workers other than `old`. Fails when nginx logs an `[emerg]` after the first `log_before` bytes.
    async fn wait_for_workers(&self, old: &[Pid], log_before: usize) -> Result<()> {
        let new = || -> Vec<Pid> { self.workers().into_iter().filter(|pid| !old.contains(pid)).collect() };
        wait::until("nginx's new workers", || {
            new().len() >= self.workers
                || self.error_log().get(log_before..).is_some_and(|t| t.contains("[emerg]"))
        })
        .await
        .with_context(|| format!("the end of the error log:\n{}", self.log_tail()))?;
        if new().len() < self.workers {
            bail!("nginx refused:\n{}", self.log_tail());
        }
        Ok(())
    }

    fn run(&self, arguments: &[&str]) -> Result<ProgramOutput> {
        let program = self.flavour.nginx();
        let log = self.prefix().join("start.log");
        // A file, because the nginx daemon inherits the handle and a pipe would never reach its end.
        let handle = std::fs::File::create(&log)?;
        let words: Vec<&OsStr> = self.through.iter().map(OsStr::new).chain([program.as_os_str()]).collect();
        let (first, rest) = words.split_first().context("no program")?;
        let status = Command::new(first)
            .args(rest)
            .args(self.options())
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(handle.try_clone()?)
            .stderr(handle)
            .status()
            .with_context(|| format!("failed to run {}", program.display()))?;
        Ok(ProgramOutput { ok: status.success(), output: std::fs::read_to_string(&log)? })
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        if self.detached {
            return;
        }
        self.terminate();
        process::kill_now(&self.pids());
        let complaints = self.complaints();
        if complaints.is_empty() {
            return;
        }
        let text = format!("unexpected lines in nginx's error log:\n{}", complaints.join("\n"));
        if std::thread::panicking() {
            eprintln!("{text}");
        } else {
            #[expect(clippy::panic, reason = "a teardown has no other way to fail its test")]
            {
                panic!("{text}");
            }
        }
    }
}
