//! A complete edge host in one folder: nginx with group `shop`, two slots for releases of the shop, the shop's database,
//! and the daemon.
//!
//! The first release, 1.0.0 with schema 1, runs in blue and has the traffic. [`Release::publish`] publishes others, and the
//! daemon deploys them; its commands are verbs of the program `simulate`.
//!
//! A site may have several edges: more nginx with the same slots, which the daemon moves together.

mod edges;
mod release;
mod schema;
pub mod slot;
pub mod stock;
mod traffic;
mod users;

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::daemon::config;
use crate::process::{self, Pid};
use crate::{Admin, Daemon, Database, DatabaseKind, Nginx, flavour, ports, wait};

pub use edges::edge_name;
pub use release::Release;
pub use schema::Schema;
pub use traffic::{Traffic, TrafficReport};
pub use users::Users;

const HTTP: &str = include_str!("site/nginx.conf");
const GROUPS: &str = include_str!("site/groups.toml");
/// The commands of the operator that migrate.
const COMMANDS: &str = include_str!("site/commands.toml");
/// Migrations by cutover.
const MIGRATIONS: &str = include_str!("site/migrations.toml");

/// The name of the group.
pub const GROUP: &str = "shop";

/// The slots of the group.
pub const SLOTS: [&str; 2] = ["blue", "green"];

/// The names of a site's programs, besides nginx, in the process list.
const PROGRAMS: [&str; 3] = ["shop", "simulate", "cutover"];

/// The daemon's default.
pub const LEASE: Duration = Duration::from_secs(30);

/// The file with the URL of the database that cutover migrates.
const URL: &str = "database";
/// The file with the word for its kind.
const KIND: &str = "database-kind";

/// Marks a folder as one that [`end`] may remove.
const MARK: &str = "site";

/// What moves the traffic of a site.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EdgeKind {
    /// nginx with the module.
    #[default]
    Module,
    /// Stock nginx, by an upstream file and a reload.
    File,
}

/// The settings that differ between sites.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// What moves the traffic.
    pub edge: EdgeKind,
    /// The number of edges. Several are nginx with the module.
    pub edges: u8,
    /// Keys of `[group.shop.fleet]`, for several edges.
    pub fleet: &'static str,
    /// The steps of a deployment.
    pub steps: &'static str,
    /// Duration of a soak.
    pub soak: &'static str,
    /// Requests that a soak needs.
    pub min_requests: u32,
    /// The share of bad answers that a soak allows.
    pub max_error_ratio: f64,
    /// Time limit for a release to become ready.
    pub ready: &'static str,
    /// Time limit for the requests of a slot to end.
    pub drain: &'static str,
    /// The lease of `[group.shop.trial]`, in whole seconds; `None` is `"off"`.
    pub lease: Option<Duration>,
    /// The other keys of `[group.shop.trial]`.
    pub trial: &'static str,
    /// The least time of an answer of the first release, in milliseconds.
    pub takes_ms: u64,
    /// The database that cutover migrates itself. `None`: a file that the operator's commands migrate.
    pub database: Option<DatabaseKind>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            edge: EdgeKind::Module,
            edges: 1,
            fleet: "",
            steps: "[\"100%\"]",
            soak: "1500ms",
            min_requests: 50,
            max_error_ratio: 0.01,
            ready: "2s",
            drain: "10s",
            lease: Some(LEASE),
            trial: "",
            takes_ms: 0,
            database: None,
        }
    }
}

impl Settings {
    /// The policy of the group for an operator on Kubernetes, which starts and stops the slots itself.
    pub fn policy(&self) -> Result<Value> {
        let mut groups: Value = toml::from_str(&self.groups(""))?;
        let policy = groups.pointer_mut(&format!("/group/{GROUP}")).context("there is no such group")?;
        for of_hosts in ["provision", "decommission"] {
            policy.as_object_mut().context("the group is no table")?.remove(of_hosts);
        }
        Ok(policy.take())
    }

    /// The group in the daemon's configuration, with what migrates the database.
    fn groups(&self, database: &str) -> String {
        GROUPS
            .replace("%%database%%", database)
            .replace("%%steps%%", self.steps)
            .replace("%%soak%%", self.soak)
            .replace("%%min_requests%%", &self.min_requests.to_string())
            .replace("%%max_error_ratio%%", &self.max_error_ratio.to_string())
            .replace("%%ready%%", self.ready)
            .replace("%%drain%%", self.drain)
            .replace("%%trial%%", self.trial)
            .replace(
                "%%lease%%",
                &self.lease.map_or_else(|| "off".to_owned(), |lease| format!("{}s", lease.as_secs())),
            )
    }
}

/// A running site. Drop ends all its processes.
#[derive(Debug)]
pub struct Site {
    edge: EdgeKind,
    nginx: Option<Nginx>,
    /// The other edges.
    others: Vec<Nginx>,
    daemon: Option<Daemon>,
    database: Option<Database>,
}

impl Site {
    /// Starts everything.
    pub async fn start(settings: Settings) -> Result<Self> {
        let addresses = [ports::free()?, ports::free()?];
        let [blue, green] = addresses;
        let nginx = Nginx::builder().set("blue", blue).set("green", green);
        let nginx = match settings.edge {
            EdgeKind::Module => nginx.http(HTTP),
            EdgeKind::File => nginx.without_module().http(stock::HTTP),
        };
        let nginx = nginx.build()?;
        let prefix = nginx.prefix().to_owned();
        if settings.edge == EdgeKind::File {
            stock::prepare(&prefix, blue)?;
        }
        let mut site = Self {
            edge: settings.edge,
            nginx: Some(nginx),
            others: Vec::new(),
            daemon: None,
            database: None,
        };
        fs::write(prefix.join(MARK), "")?;
        slot::prepare(&prefix, SLOTS.into_iter().zip(addresses))?;
        let first = Release::new("1.0.0", 1, None).taking(settings.takes_ms);
        match settings.database {
            None => {
                create_database(&prefix)?;
                site.start_first(&first, blue).await?;
            }
            Some(kind) => {
                let database = Database::start(kind).await?;
                fs::write(prefix.join(URL), database.url())?;
                fs::write(prefix.join(KIND), kind.word())?;
                first.publish(&prefix)?;
                site.database = Some(database);
            }
        }
        site.nginx()?.start().await?;
        let database = if settings.database.is_some() { MIGRATIONS } else { COMMANDS };
        let groups = settings
            .groups(database)
            .replace("%%simulate%%", &flavour::program("simulate")?.display().to_string());
        if settings.edges > 1 {
            ensure!(settings.edge == EdgeKind::Module, "several edges are nginx with the module");
            site.add_edges(settings, addresses, &groups).await?;
        } else {
            let edge = match settings.edge {
                EdgeKind::Module => config::UNIX_SOCKET.to_owned(),
                EdgeKind::File => stock::edge(site.nginx()?, addresses)?,
            };
            site.daemon = Some(Daemon::start_with(&prefix, &edge, &groups).await?);
        }
        if settings.database.is_some() {
            let migrated =
                site.daemon()?.cli(&["database", "migrate", GROUP, "--version", &first.version])?;
            ensure!(migrated.status.success(), "failed to create the shop's database: {migrated:?}");
            site.start_first(&first, blue).await?;
        }
        Ok(site)
    }

    async fn start_first(&self, release: &Release, address: SocketAddr) -> Result<()> {
        slot::start(self.prefix()?, "blue", release)?;
        wait::until("the first release to listen", || TcpStream::connect(address).is_ok()).await
    }

    /// The nginx of the site.
    pub fn nginx(&self) -> Result<&Nginx> {
        self.nginx.as_ref().context("nginx is gone")
    }

    /// The daemon of the site.
    pub fn daemon(&mut self) -> Result<&mut Daemon> {
        self.daemon.as_mut().context("the daemon is gone")
    }

    /// The folder of the site.
    pub fn prefix(&self) -> Result<&Path> {
        Ok(self.nginx()?.prefix())
    }

    /// A client of the admin API.
    pub fn admin(&self) -> Result<Admin> {
        Ok(self.nginx()?.admin())
    }

    /// The address for the shop's customers.
    pub fn address(&self) -> Result<SocketAddr> {
        self.nginx()?.address("shop")
    }

    /// The current schema of the database.
    pub fn schema(&self) -> Result<Schema> {
        match &self.database {
            Some(database) => Schema::of(database),
            None => Schema::read(&database(self.prefix()?)),
        }
    }

    /// The slot that has the traffic.
    pub async fn active(&self) -> Result<String> {
        match self.edge {
            EdgeKind::Module => Ok(self.admin()?.group(GROUP).await?.route.active),
            EdgeKind::File => Ok(stock::route(&fs::read_to_string(stock::upstream_file(self.prefix()?))?).0),
        }
    }

    /// Starts a load of [busy users](Users::Busy), and checks every answer.
    pub async fn traffic(&self) -> Result<Traffic> {
        self.traffic_of(Users::Busy).await
    }

    /// Starts a load, and checks every answer.
    pub async fn traffic_of(&self, users: Users) -> Result<Traffic> {
        match self.edge {
            EdgeKind::Module => Traffic::start(self.admin()?, self.address()?, users).await,
            EdgeKind::File => {
                let file = stock::upstream_file(self.prefix()?);
                Traffic::of_file(file, &self.active().await?, self.address()?, users).await
            }
        }
    }

    /// Leaves everything running. [`end`] ends it later.
    pub fn detach(mut self) {
        self.daemon.take().into_iter().for_each(Daemon::detach);
        self.nginx.take().into_iter().for_each(Nginx::detach);
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        // The daemon first, because it could start a slot again.
        self.daemon = None;
        if let Some(nginx) = &self.nginx {
            end_programs(nginx.prefix());
        }
    }
}

/// What `shop serve --database` gets.
fn database_argument(prefix: &Path) -> String {
    let url = prefix.join(URL);
    match url.exists() {
        true => format!("file:{}", url.display()),
        false => database(prefix).display().to_string(),
    }
}

/// The file of the database that all releases share, if the operator's commands migrate it.
pub fn database(prefix: &Path) -> PathBuf {
    prefix.join("shop.sqlite")
}

/// Ends what [`Site::detach`] has left running under `prefix`, and removes the folder.
pub fn end(prefix: &Path) -> Result<()> {
    ensure!(prefix.join(MARK).is_file(), "{} is not the folder of a site", prefix.display());
    end_programs(prefix);
    process::kill_now(&process::holding("nginx", &prefix.join("error.log")));
    fs::remove_dir_all(prefix).with_context(|| format!("failed to remove {}", prefix.display()))
}

/// Kills the slots, the daemon and the daemon's running commands. A command may start a slot after the slots have been
/// killed, so this repeats until no process is left.
fn end_programs(prefix: &Path) {
    let own = i32::try_from(std::process::id()).ok().and_then(Pid::from_raw);
    for _ in 0..50 {
        let mut left = process::mentioning(&PROGRAMS, prefix);
        left.retain(|pid| Some(*pid) != own);
        if left.is_empty() {
            return;
        }
        process::kill_now(&left);
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Creates that file, with schema 1.
pub fn create_database(prefix: &Path) -> Result<()> {
    let status = Command::new(flavour::program("shop")?)
        .args(["migrate", "up", "--to", "1", "--batch", "the first release", "--database"])
        .arg(database(prefix))
        .stdout(Stdio::null())
        .status()?;
    ensure!(status.success(), "failed to create the shop's database");
    Ok(())
}
