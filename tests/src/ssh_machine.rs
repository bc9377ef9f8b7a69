//! Another machine that is reached over ssh: a real sshd in a network namespace, joined by a cable that a test can cut.
//!
//! ```text
//! namespace of the client: ssh            namespace of the machine: sshd, cutover dial-stdio
//!         10.77.0.1  --------------- cable --------------- 10.77.0.2
//! ```
//!
//! Only the networks are apart. The machine sees the files of the test, so `dial-stdio` finds the socket of the test's daemon. The
//! keys, the configuration, the users and the folder `/run` of sshd are its own; the system's sshd, `/etc/ssh` and `~/.ssh` play
//! no part.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, ensure};

use crate::process::{self, Pid};
use crate::temp::TempDir;
use crate::{flavour, wait};

/// The address of the machine.
pub const ADDRESS: &str = "10.77.0.2";
/// An address where no machine is.
pub const NOBODY: &str = "10.77.0.3";
const CLIENT: &str = "10.77.0.1";

/// A user that only the machine has, with a group of the same name and number.
pub const USER: &str = "deploy";
/// The user's number.
pub const UID: u32 = 4242;

/// A machine with sshd. Drop ends every process in its network.
#[derive(Debug)]
pub struct SshMachine {
    client: Namespace,
    machine: Namespace,
    sshd: Option<Child>,
    folder: TempDir,
}

impl SshMachine {
    /// Starts sshd, which accepts the key of the test for every user. `cutover` is in the PATH there.
    pub async fn start() -> Result<Self> {
        let folder = TempDir::new()?;
        let client = Namespace::start("exec cat").await?;
        // sshd wants a folder in /run, which may not be there, and is not ours to make. The users have no files that a shell reads.
        let users = format!(
            "root:x:0:0::/:/bin/sh\nsshd:x:100:65534::/run/sshd:/bin/false\n{USER}:x:{UID}:{UID}::/:/bin/sh\n"
        );
        let mut script = "mount -t tmpfs tmpfs /run && mkdir /run/sshd".to_owned();
        for (file, text) in [("passwd", users), ("group", format!("root:x:0:\n{USER}:x:{UID}:\n"))] {
            let own = folder.path().join(file);
            fs::write(&own, text)?;
            script.push_str(&format!(" && mount --bind {} /etc/{file}", own.display()));
        }
        let machine = Namespace::start(&format!("{script} && exec cat")).await?;
        let peer = machine.pid.to_string();
        client
            .run(&["ip", "link", "add", "cable", "type", "veth", "peer", "name", "cable", "netns", &peer])?;
        for (end, address) in [(&client, CLIENT), (&machine, ADDRESS)] {
            end.run(&["ip", "address", "add", &format!("{address}/24"), "dev", "cable"])?;
            end.run(&["ip", "link", "set", "cable", "up"])?;
        }
        let mut started = Self { client, machine, sshd: None, folder };
        started.write_keys()?;
        let program = flavour::program("cutover")?;
        let programs = program.parent().context("the program is in no folder")?.display().to_string();
        started.configure(&programs)?;
        started.accept("")?;
        started.start_sshd().await?;
        Ok(started)
    }

    /// The value of `CUTOVER_SSH` for a command line on the client's side, with one of the configurations `ssh_config`,
    /// `ssh_config_of_another` (another key), `ssh_config_of_a_new_host` (the key of the machine is unknown) and
    /// `ssh_config_that_shares` (connections share one).
    pub fn ssh(&self, config: &str) -> String {
        // A dead connection is noticed within 3 s, to keep the tests short.
        format!(
            "nsenter --target {} --net ssh -F {} -o ServerAliveInterval=1 -o ConnectTimeout=2",
            self.client.pid,
            self.path(config).display()
        )
    }

    /// Accepts the key of the test with these options, as in `command="cutover dial-stdio"`.
    pub fn accept(&self, options: &str) -> Result<()> {
        let key = fs::read_to_string(self.path("key.pub"))?;
        let path = self.path("authorized_keys");
        fs::write(&path, format!("{options} {key}").trim_start())?;
        // sshd reads it as the user who logs in.
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644))?;
        Ok(())
    }

    /// A file in the folder of the machine's keys and configurations.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Cuts the cable: packets in both directions are lost, and nobody is told.
    pub fn cut(&self) -> Result<()> {
        self.machine.run(&["ip", "link", "set", "cable", "down"])
    }

    /// Repairs the cable.
    pub fn repair(&self) -> Result<()> {
        self.machine.run(&["ip", "link", "set", "cable", "up"])
    }

    /// Kills sshd and all of its connections.
    pub fn kill_sshd(&mut self) -> Result<()> {
        let mut sshd = self.sshd.take().context("sshd does not run")?;
        sshd.kill()?;
        sshd.wait()?;
        process::kill_now(&self.machine.processes("sshd"));
        Ok(())
    }

    /// Starts sshd with its configuration, and waits until it answers.
    pub async fn start_sshd(&mut self) -> Result<()> {
        let log = fs::File::options().create(true).append(true).open(self.path("sshd.log"))?;
        let mut command = self.machine.command(&["/usr/sbin/sshd", "-D", "-e", "-f"]);
        command.arg(self.path("sshd_config")).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        self.sshd = Some(command.spawn().context("failed to start sshd")?);
        let listens = || self.log().contains("Server listening on");
        wait::until("sshd to listen", listens).await.with_context(|| self.log())
    }

    /// Changes the configuration of sshd for its next start.
    pub fn configure(&self, path: &str) -> Result<()> {
        let file = |name: &str| self.path(name).display().to_string();
        let _ = fs::remove_file(self.path("sshd.log"));
        let text = format!(
            "ListenAddress {ADDRESS}:22\nHostKey {}\nPidFile none\nAuthorizedKeysFile {}\nStrictModes no\nUsePAM no\n\
             PasswordAuthentication no\nKbdInteractiveAuthentication no\nPermitRootLogin yes\nSetEnv PATH={path}:/usr/bin:/bin\n",
            file("host_key"),
            file("authorized_keys"),
        );
        fs::write(self.path("sshd_config"), text)?;
        Ok(())
    }

    /// Whether a `cutover dial-stdio` runs there.
    pub fn is_connected(&self) -> bool {
        !self.machine.processes("cutover").is_empty()
    }

    /// What sshd has logged since it was configured.
    pub fn log(&self) -> String {
        fs::read_to_string(self.path("sshd.log")).unwrap_or_default()
    }

    /// The keys of the machine and of two users, and configurations of ssh that use them.
    fn write_keys(&self) -> Result<()> {
        for name in ["host_key", "key", "other_key"] {
            let path = self.path(name);
            let made = Command::new("ssh-keygen")
                .args(["-q", "-t", "ed25519", "-N", "", "-f"])
                .arg(path)
                .output()?;
            ensure!(made.status.success(), "ssh-keygen: {made:?}");
        }
        let host_key = fs::read_to_string(self.path("host_key.pub"))?;
        fs::write(self.path("known_hosts"), format!("{ADDRESS} {host_key}"))?;
        fs::write(self.path("no_hosts"), "")?;
        let sharing =
            format!("ControlMaster auto\nControlPersist 60\nControlPath {}\n", self.path("c-%C").display());
        for (name, key, hosts, more) in [
            ("ssh_config", "key", "known_hosts", ""),
            ("ssh_config_of_another", "other_key", "known_hosts", ""),
            ("ssh_config_of_a_new_host", "key", "no_hosts", ""),
            ("ssh_config_that_shares", "key", "known_hosts", &sharing),
        ] {
            let text = format!(
                "Host *\nIdentityFile {}\nIdentitiesOnly yes\nIdentityAgent none\nUserKnownHostsFile {}\n\
                 GlobalKnownHostsFile none\n{more}",
                self.path(key).display(),
                self.path(hosts).display()
            );
            fs::write(self.path(name), text)?;
        }
        Ok(())
    }
}

impl Drop for SshMachine {
    fn drop(&mut self) {
        if let Some(mut sshd) = self.sshd.take() {
            let _ = sshd.kill();
            let _ = sshd.wait();
        }
        if std::thread::panicking() {
            eprintln!("sshd's log:\n{}", self.log());
        }
    }
}

/// A network namespace, held by a process that ends with this one. Drop ends every process in it.
#[derive(Debug)]
struct Namespace {
    holder: Child,
    pid: Pid,
}

impl Namespace {
    /// Makes a namespace, with file systems of its own, and runs a shell script in it that ends with its standard input.
    async fn start(script: &str) -> Result<Self> {
        let holder = Command::new("unshare")
            .args(["--net", "--mount", "sh", "-c", script])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .context("failed to make a network namespace")?;
        let pid = i32::try_from(holder.id()).ok().and_then(Pid::from_raw).context("a process id")?;
        let made = Self { holder, pid };
        // The script is over when `cat` runs.
        let what = "a network namespace (this needs root)";
        wait::until(what, || process::title(pid) == "cat").await?;
        Ok(made)
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["--target", &self.pid.to_string(), "--net", "--mount"]).args(words);
        command
    }

    fn run(&self, words: &[&str]) -> Result<()> {
        let output = self.command(words).output()?;
        ensure!(
            output.status.success(),
            "`{}`: {}",
            words.join(" "),
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(())
    }

    /// The processes with this name (`comm`) in this network.
    fn processes(&self, comm: &str) -> Vec<Pid> {
        let mut found = process::named(&[comm]);
        found.retain(|pid| network(*pid).is_some() && network(*pid) == network(self.pid));
        found
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        process::kill_now(&["sshd", "ssh", "cutover"].map(|comm| self.processes(comm)).concat());
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

fn network(pid: Pid) -> Option<PathBuf> {
    fs::read_link(format!("/proc/{pid}/ns/net")).ok()
}
