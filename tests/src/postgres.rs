//! A real PostgreSQL, Debian's package, as the user `postgres`, on a unix socket and a free port of loopback.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::certificate::Certificate;
use crate::process::{self, Pid, Signal};
use crate::temp::TempDir;
use crate::{ports, wait};

/// The password of every test's server.
pub const PASSWORD: &str = "pg-s3cret";

/// A server with the database `shop`. Drop kills it.
#[derive(Debug)]
pub struct Postgres {
    folder: TempDir,
    /// The folder of the data, which may be on a disk of its own.
    data: PathBuf,
    address: SocketAddr,
    child: Option<Child>,
}

impl Postgres {
    /// Creates a cluster and starts it. Returns when it answers.
    pub async fn start() -> Result<Self> {
        Self::start_in(None).await
    }

    /// The same with its data in a folder of the caller's.
    pub async fn start_in(data: Option<&Path>) -> Result<Self> {
        let folder = TempDir::new()?;
        own(folder.path(), "postgres")?;
        let data = data.unwrap_or(folder.path()).join("pg");
        let password = folder.path().join("password");
        fs::write(&password, PASSWORD)?;
        own(&password, "postgres")?;
        let made = as_user(&program("initdb")?, "postgres")?
            .args(["--username=postgres", "--encoding=UTF8", "--locale=C", "--no-sync"])
            .args(["--auth-local=trust", "--auth-host=scram-sha-256"])
            .arg(format!("--pwfile={}", password.display()))
            .arg("--pgdata")
            .arg(&data)
            .output()?;
        if !made.status.success() {
            bail!("initdb failed: {}", String::from_utf8_lossy(&made.stderr));
        }
        let mut server = Self { folder, data, address: ports::free()?, child: None };
        server.resume().await?;
        server.query_in("postgres", "CREATE DATABASE shop")?;
        Ok(server)
    }

    /// Starts it again after [`kill`](Self::kill). Returns when it answers.
    pub async fn resume(&mut self) -> Result<()> {
        let log = fs::OpenOptions::new().create(true).append(true).open(self.folder.path().join("log"))?;
        let child = as_user(&program("postgres")?, "postgres")?
            .arg("-D")
            .arg(&self.data)
            .args(["-c", "listen_addresses=127.0.0.1", "-c", "fsync=off", "-c", "log_min_messages=warning"])
            .args(["-c", "max_connections=20", "-c", "shared_buffers=16MB", "-c", "max_wal_size=64MB"])
            .arg("-c")
            .arg(format!("port={}", self.address.port()))
            .arg("-c")
            .arg(format!("unix_socket_directories={}", self.folder.path().display()))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .process_group(0)
            .spawn()
            .context("failed to start postgres: run scripts/install-packages")?;
        self.child = Some(child);
        let ready =
            wait::until("PostgreSQL to answer", || self.query_in("postgres", "SELECT 1").is_ok()).await;
        ready.with_context(|| self.log())
    }

    /// Lets it speak TLS with this certificate, and refuse all that do not, except on the unix socket.
    pub async fn demand_tls(&self, certificate: &Certificate) -> Result<()> {
        let mut settings = String::from("ALTER SYSTEM SET ssl = on");
        for (name, from) in [("cert", &certificate.certificate), ("key", &certificate.key)] {
            let file = self.folder.path().join(format!("server.{name}"));
            fs::copy(from, &file)?;
            fs::set_permissions(&file, fs::Permissions::from_mode(0o600))?;
            own(&file, "postgres")?;
            settings = format!("{settings};\nALTER SYSTEM SET ssl_{name}_file = '{}'", file.display());
        }
        // Each is a statement outside a transaction.
        for setting in settings.split(";\n") {
            self.query_in("postgres", setting)?;
        }
        let rules = self.data.join("pg_hba.conf");
        let text = fs::read_to_string(&rules)?;
        fs::write(&rules, text.replace("\nhost ", "\nhostssl "))?;
        self.query_in("postgres", "SELECT pg_reload_conf()")?;
        wait::until("TLS", || self.query_in("postgres", "SHOW ssl").is_ok_and(|ssl| ssl == "on")).await
    }

    /// Its URL over the unix socket.
    pub fn url(&self) -> String {
        format!(
            "postgres://postgres@/shop?host={}&port={}",
            self.folder.path().display(),
            self.address.port()
        )
    }

    /// Its URL over TCP, at its own address or that of a relay.
    pub fn url_at(&self, address: SocketAddr) -> String {
        format!("postgres://postgres:{PASSWORD}@{address}/shop")
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Runs SQL with psql. Returns what it prints.
    pub fn query(&self, sql: &str) -> Result<String> {
        self.query_in("shop", sql)
    }

    /// A psql with its database, for a session that a test keeps open.
    pub fn psql(&self) -> Command {
        self.psql_of("shop")
    }

    /// Sends SIGKILL to all of its processes.
    pub fn kill(&mut self) -> Result<()> {
        let mut child = self.child.take().context("PostgreSQL does not run")?;
        let leader = pid(&child)?;
        // Each of its children leads a group of its own, and would go on for a moment. With one left, it does not start again.
        process::signal_group(leader, Signal::STOP);
        process::kill_now(&process::children(leader));
        process::signal_group(leader, Signal::KILL);
        child.wait()?;
        Ok(())
    }

    /// Its log.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    fn query_in(&self, database: &str, sql: &str) -> Result<String> {
        let output = self.psql_of(database).args(["-c", sql]).output()?;
        if !output.status.success() {
            bail!("{sql}: {}", String::from_utf8_lossy(&output.stderr));
        }
        Ok(String::from_utf8_lossy(&output.stdout).trim_end().to_owned())
    }

    fn psql_of(&self, database: &str) -> Command {
        let mut psql = Command::new("psql");
        psql.args(["--no-psqlrc", "--quiet", "--tuples-only", "--no-align", "--set=ON_ERROR_STOP=1"])
            .args(["--username=postgres", "--dbname", database])
            .arg(format!("--host={}", self.folder.path().display()))
            .arg(format!("--port={}", self.address.port()))
            .stdin(Stdio::null());
        psql
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        let _ = self.kill();
    }
}

/// A program of Debian's newest PostgreSQL.
fn program(name: &str) -> Result<PathBuf> {
    let versions =
        fs::read_dir("/usr/lib/postgresql").context("no PostgreSQL: run scripts/install-packages")?;
    let found = versions.filter_map(|version| Some(version.ok()?.path().join("bin").join(name)));
    found.filter(|program| program.is_file()).max().with_context(|| format!("no {name} of PostgreSQL"))
}

/// A command as another user: these servers refuse to run as root.
pub(crate) fn as_user(program: &Path, user: &str) -> Result<Command> {
    let (uid, gid) = ids(user)?;
    let mut command = Command::new(program);
    command.uid(uid).gid(gid).env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").current_dir("/");
    Ok(command)
}

/// Gives a file or folder to a user.
pub(crate) fn own(path: &Path, user: &str) -> Result<()> {
    let (uid, gid) = ids(user)?;
    std::os::unix::fs::chown(path, Some(uid), Some(gid))
        .with_context(|| format!("failed to give {} to {user}", path.display()))
}

pub(crate) fn pid(child: &Child) -> Result<Pid> {
    i32::try_from(child.id()).ok().and_then(Pid::from_raw).context("a process id out of range")
}

fn ids(user: &str) -> Result<(u32, u32)> {
    let passwd = fs::read_to_string("/etc/passwd")?;
    for line in passwd.lines() {
        let mut fields = line.split(':');
        if fields.next() == Some(user) {
            let mut numbers = fields.skip(1);
            let mut number = || -> Result<u32> { Ok(numbers.next().context("passwd")?.parse()?) };
            return Ok((number()?, number()?));
        }
    }
    bail!("no user {user}: run scripts/install-packages")
}
