//! A real MariaDB, Debian's package, as the user `mysql`, on a unix socket and a free port of loopback.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::postgres::{as_user, own, pid};
use crate::process::{self, Signal};
use crate::temp::TempDir;
use crate::{ports, wait};

/// The password of every test's server.
pub const PASSWORD: &str = "my-s3cret";

/// A server with the database `shop`, and a user of that name. Drop kills it.
#[derive(Debug)]
pub struct Mariadb {
    folder: TempDir,
    data: PathBuf,
    address: SocketAddr,
    child: Option<Child>,
}

impl Mariadb {
    /// Creates a data folder and starts a server. Returns when it answers.
    pub async fn start() -> Result<Self> {
        Self::start_in(None).await
    }

    /// The same with its data in a folder of the caller's.
    pub async fn start_in(data: Option<&Path>) -> Result<Self> {
        let folder = TempDir::new()?;
        own(folder.path(), "mysql")?;
        let data = data.unwrap_or(folder.path()).join("data");
        let made = as_user(Path::new("/usr/bin/mariadb-install-db"), "mysql")?
            .args([
                "--no-defaults",
                "--auth-root-authentication-method=normal",
                "--skip-test-db",
                "--skip-name-resolve",
            ])
            .args(["--innodb-log-file-size=4M", "--innodb-buffer-pool-size=8M"])
            .arg(format!("--datadir={}", data.display()))
            // A server that starts removes what others have in the same one.
            .arg(format!("--tmpdir={}", folder.path().display()))
            .output()
            .context("no mariadb-install-db: run scripts/install-packages")?;
        if !made.status.success() {
            bail!("mariadb-install-db failed: {}", String::from_utf8_lossy(&made.stderr));
        }
        let mut server = Self { folder, data, address: ports::free()?, child: None };
        server.resume().await?;
        server.query_in(
            "",
            &format!(
                "CREATE DATABASE shop; CREATE USER shop@'%' IDENTIFIED BY '{PASSWORD}'; GRANT ALL ON shop.* TO shop@'%';
                 CREATE USER shop@localhost IDENTIFIED BY '{PASSWORD}'; GRANT ALL ON shop.* TO shop@localhost"
            ),
        )?;
        Ok(server)
    }

    /// Starts it again after [`kill`](Self::kill). Returns when it answers.
    pub async fn resume(&mut self) -> Result<()> {
        let folder = self.folder.path();
        let log = fs::OpenOptions::new().create(true).append(true).open(folder.join("log"))?;
        let child = as_user(Path::new("/usr/sbin/mariadbd"), "mysql")?
            .args([
                "--no-defaults",
                "--skip-name-resolve",
                "--innodb-buffer-pool-size=8M",
                "--innodb-log-file-size=4M",
            ])
            .args(["--bind-address=127.0.0.1", "--max-connections=20", "--performance-schema=OFF"])
            .arg(format!("--port={}", self.address.port()))
            .arg(format!("--datadir={}", self.data.display()))
            .arg(format!("--tmpdir={}", folder.display()))
            .arg(format!("--socket={}", self.socket().display()))
            .arg(format!("--pid-file={}", folder.join("pid").display()))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .process_group(0)
            .spawn()
            .context("failed to start mariadbd: run scripts/install-packages")?;
        self.child = Some(child);
        let ready = wait::until("MariaDB to answer", || self.query_in("", "SELECT 1").is_ok()).await;
        ready.with_context(|| self.log())
    }

    /// Its URL over the unix socket.
    pub fn url(&self) -> String {
        format!("mariadb://shop:{PASSWORD}@localhost/shop?socket={}", self.socket().display())
    }

    /// Its URL over TCP, at its own address or that of a relay.
    pub fn url_at(&self, address: SocketAddr) -> String {
        format!("mysql://shop:{PASSWORD}@{address}/shop")
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Runs SQL with the client of the package. Returns what it prints.
    pub fn query(&self, sql: &str) -> Result<String> {
        self.query_in("shop", sql)
    }

    /// The client of the package with its database, for a session that a test keeps open.
    pub fn client(&self) -> Command {
        self.client_of("shop")
    }

    /// Sends SIGKILL to it.
    pub fn kill(&mut self) -> Result<()> {
        let mut child = self.child.take().context("MariaDB does not run")?;
        process::signal_group(pid(&child)?, Signal::KILL);
        child.wait()?;
        Ok(())
    }

    /// Its log.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("my.sock")
    }

    fn query_in(&self, database: &str, sql: &str) -> Result<String> {
        let output = self.client_of(database).args(["--execute", sql]).output()?;
        if !output.status.success() {
            bail!("{sql}: {}", String::from_utf8_lossy(&output.stderr));
        }
        Ok(String::from_utf8_lossy(&output.stdout).trim_end().to_owned())
    }

    fn client_of(&self, database: &str) -> Command {
        let mut client = Command::new("/usr/bin/mariadb");
        client
            .args(["--no-defaults", "--user=root", "--batch", "--skip-column-names"])
            .arg(format!("--socket={}", self.socket().display()))
            .stdin(Stdio::null());
        if !database.is_empty() {
            client.arg(database);
        }
        client
    }
}

impl Drop for Mariadb {
    fn drop(&mut self) {
        let _ = self.kill();
    }
}
