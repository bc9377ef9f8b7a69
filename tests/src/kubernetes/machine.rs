//! The machine that a cluster runs on: a network namespace, a folder, and servers.
//!
//! Statics are not dropped when a test program ends, and a killed one drops nothing. So all of it goes by itself: the kernel
//! kills each server at the death of the thread that has started it, and a shell that waits for the end of this process removes
//! the folder.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::panic;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Mutex, PoisonError, mpsc};
use std::thread;

use anyhow::{Context, Result, ensure};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::process::{self, Pid, Signal};
use crate::temp::TempDir;

/// The addresses of pods. All of them belong to the machine.
pub(super) const PODS: &str = "10.244.0.0/16";

/// Makes the network, and waits for a word: without one, the folder goes. A server that is just being killed may still write to it.
const KEEPER: &str = r#"
    ip link set lo up && ip route add local "$1" dev lo && echo ready
    read -r word && exit
    for attempt in 1 2 3 4 5; do rm -rf "$0" && exit; sleep 0.2; done
"#;

/// A network namespace with a folder. Drop removes both, after a failed test only the network.
#[derive(Debug)]
pub struct Machine {
    folder: PathBuf,
    network: File,
    /// Ends the thread that starts servers when it is dropped, and so the servers.
    jobs: Mutex<mpsc::Sender<Job>>,
    keeper: Mutex<Keeper>,
}

type Job = Box<dyn FnOnce() + Send>;

#[derive(Debug)]
struct Keeper {
    process: Child,
    /// Its standard input.
    word: Option<ChildStdin>,
}

impl Machine {
    /// Makes it.
    pub fn make() -> Result<Self> {
        let folder = TempDir::new()?.into_path();
        let mut process = Command::new("unshare")
            .args(["--net", "sh", "-c", KEEPER])
            .args([folder.as_os_str(), PODS.as_ref()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // Ctrl-C is not for it: it removes the folder after that.
            .process_group(0)
            .spawn()
            .context("failed to make a network namespace")?;
        let mut said = String::new();
        BufReader::new(process.stdout.take().context("no output")?).read_line(&mut said)?;
        ensure!(said == "ready\n", "failed to make a network namespace; it needs root and iproute2");
        let network = File::open(format!("/proc/{}/ns/net", process.id()))?;
        let word = process.stdin.take();
        let (jobs, received) = mpsc::channel::<Job>();
        let inside = network.try_clone()?;
        thread::Builder::new().name("starts servers".to_owned()).spawn(move || {
            if enter(&inside).is_ok() {
                received.iter().for_each(|job| job());
            }
        })?;
        Ok(Self { folder, network, jobs: Mutex::new(jobs), keeper: Mutex::new(Keeper { process, word }) })
    }

    /// Its folder. Every server may read it, as may other users.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Starts a server that is killed with this process. What it prints goes to `NAME.log` in the folder.
    pub fn start(&self, name: &str, program: &Path, arguments: &[String]) -> Result<Server> {
        ensure!(program.is_file(), "failed to find {}: run scripts/fetch-kubernetes", program.display());
        let log = self.folder.join(format!("{name}.log"));
        let output = File::options().create(true).append(true).open(&log)?;
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--"]).arg(program).args(arguments);
        command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("HOME", &self.folder);
        command.current_dir(&self.folder).stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
        // Ctrl-C is for this process, which ends its servers one after the other.
        command.process_group(0);
        let child = self.on(move || command.spawn())?.with_context(|| format!("failed to start {name}"))?;
        Ok(Server { name: name.to_owned(), log, child: Some(child) })
    }

    /// Runs something, such as a bind, in a thread that stays as long as the machine.
    fn on<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> Result<T> {
        let (result, received) = mpsc::channel();
        let job = Box::new(move || drop(result.send(job())));
        let jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        jobs.send(job).ok().context("the thread that starts servers has ended")?;
        received.recv().context("the thread that starts servers has ended")
    }

    /// Moves this thread, and those that it will start, into the network.
    pub(super) fn enter(&self) -> Result<()> {
        enter(&self.network)
    }

    /// Keeps the folder.
    pub(super) fn keep(&self) {
        let mut keeper = self.keeper.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(mut word) = keeper.word.take() {
            let _ = word.write_all(b"keep\n");
            eprintln!("kept: {}", self.folder.display());
        }
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if thread::panicking() || std::env::var_os("CUTOVER_KEEP").is_some() {
            self.keep();
        }
        let keeper = self.keeper.get_mut().unwrap_or_else(PoisonError::into_inner);
        drop(keeper.word.take());
        let _ = keeper.process.wait();
    }
}

fn enter(network: &File) -> Result<()> {
    move_into_link_name_space(network.as_fd(), Some(LinkNameSpaceType::Network))
        .context("failed to enter the network of the cluster")
}

/// A process on the machine. Drop kills it.
#[derive(Debug)]
pub struct Server {
    name: String,
    log: PathBuf,
    child: Option<Child>,
}

impl Server {
    /// What it has printed, and those of the same name before it.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// The last lines of the log, for the message of a failure.
    pub fn log_tail(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        let tail = lines.get(lines.len().saturating_sub(20)..).unwrap_or_default();
        format!("{} printed last:\n{}", self.name, tail.join("\n"))
    }

    /// Its process id.
    pub fn pid(&self) -> Result<Pid> {
        let child = self.child.as_ref().with_context(|| format!("{} does not run", self.name))?;
        i32::try_from(child.id()).ok().and_then(Pid::from_raw).context("a process id out of range")
    }

    /// Whether it runs.
    pub fn runs(&self) -> bool {
        self.pid().is_ok_and(process::alive)
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        process::signal(self.pid()?, signal)
    }

    /// Kills it, and waits for its end.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Runs a test on threads inside the network of a machine.
pub(super) fn run_inside<T: Send>(machine: &Machine, test: impl AsyncFnOnce() -> T + Send) -> T {
    #[expect(clippy::expect_used, reason = "a test fails by panicking")]
    let run = || {
        machine.enter().expect("failed to enter the network of the cluster");
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        runtime.expect("failed to start a runtime").block_on(test())
    };
    // The threads of the runtime are started by this thread, so they are in its namespace.
    let ended = thread::scope(|scope| scope.spawn(run).join());
    ended.unwrap_or_else(|panicked| {
        machine.keep();
        panic::resume_unwind(panicked)
    })
}
