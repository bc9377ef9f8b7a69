//! A complete edge host in one folder: nginx with group `shop`, two slots for releases of the shop, the shop's database,
//! and the daemon.
//!
//! The first release, 1.0.0 with schema 1, runs in blue and has the traffic. [`Release::publish`] publishes others, and the
//! daemon deploys them; its commands are verbs of the program `simulate`.

mod release;
mod schema;
pub mod slot;

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::load::Request;
use crate::process::{self, Pid};
use crate::route_watcher::{ObservedSwitches, RouteWatcher};
use crate::{Admin, Daemon, Load, Nginx, Plan, SlotOracle, flavour, load, ports, wait};

pub use release::Release;
pub use schema::Schema;

const HTTP: &str = include_str!("site/nginx.conf");
const GROUPS: &str = include_str!("site/groups.toml");

/// The name of the group.
pub const GROUP: &str = "shop";

/// The slots of the group.
pub const SLOTS: [&str; 2] = ["blue", "green"];

/// The names of a site's programs, besides nginx, in the process list.
const PROGRAMS: [&str; 3] = ["shop", "simulate", "cutover"];

/// Marks a folder as one that [`end`] may remove.
const MARK: &str = "site";

/// The settings that differ between sites.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Duration of a soak.
    pub soak: &'static str,
    /// Requests that a soak needs.
    pub min_requests: u32,
    /// Time limit for a release to become ready.
    pub ready: &'static str,
    /// Keys of `[group.shop.trial]`.
    pub trial: &'static str,
}

impl Default for Settings {
    fn default() -> Self {
        Self { soak: "1500ms", min_requests: 50, ready: "2s", trial: "" }
    }
}

/// A running site. Drop ends all its processes.
#[derive(Debug)]
pub struct Site {
    nginx: Option<Nginx>,
    daemon: Option<Daemon>,
}

/// A load on a site, and the watcher that tells the load's oracle about switches.
#[derive(Debug)]
pub struct Traffic {
    load: Load,
    watch: RouteWatcher,
}

/// The result of a [`Traffic`].
#[derive(Clone, Debug)]
pub struct TrafficReport {
    /// The answers.
    pub report: load::Report,
    /// The switches.
    pub watched: ObservedSwitches,
}

impl Site {
    /// Starts everything.
    pub async fn start(settings: Settings) -> Result<Self> {
        let addresses = [ports::free()?, ports::free()?];
        let [blue, green] = addresses;
        let nginx = Nginx::builder().set("blue", blue).set("green", green).http(HTTP).build()?;
        let prefix = nginx.prefix().to_owned();
        let mut site = Self { nginx: Some(nginx), daemon: None };
        fs::write(prefix.join(MARK), "")?;
        slot::prepare(&prefix, SLOTS.into_iter().zip(addresses))?;
        create_database(&prefix)?;
        slot::start(&prefix, "blue", &Release::new("1.0.0", 1, None))?;
        wait::until("the first release to listen", || TcpStream::connect(blue).is_ok()).await?;
        site.nginx()?.start().await?;
        let groups = GROUPS
            .replace("%%simulate%%", &flavour::program("simulate")?.display().to_string())
            .replace("%%soak%%", settings.soak)
            .replace("%%min_requests%%", &settings.min_requests.to_string())
            .replace("%%ready%%", settings.ready)
            .replace("%%trial%%", settings.trial);
        site.daemon = Some(Daemon::start(&prefix, &groups).await?);
        Ok(site)
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
        Schema::read(&database(self.prefix()?))
    }

    /// The slot that has the traffic.
    pub async fn active(&self) -> Result<String> {
        Ok(self.admin()?.group(GROUP).await?.route.active)
    }

    /// Starts a load of some hundred requests per second, over eight kept-alive connections and four fresh senders. It reads
    /// the catalogue and places orders, and checks every answer.
    pub async fn traffic(&self) -> Result<Traffic> {
        let plan =
            Plan::new(self.address()?).connections(8, 4).pause(Duration::from_millis(8)).requests(vec![
                Request::get("/products"),
                Request::get("/products/1"),
                Request::get("/products/2"),
                Request::post("/orders", r#"{"product_id":1,"quantity":2}"#),
            ]);
        let admin = self.admin()?;
        let group = admin.group(GROUP).await?;
        let expected: Arc<SlotOracle> = SlotOracle::new(&group.route.active);
        let watch = RouteWatcher::start(admin, group, Arc::clone(&expected));
        let traffic = Traffic { load: Load::start(plan, &expected), watch };
        traffic.answers(200).await?;
        Ok(traffic)
    }

    /// Leaves everything running. [`end`] ends it later.
    pub fn detach(mut self) {
        self.daemon.take().into_iter().for_each(Daemon::detach);
        self.nginx.take().into_iter().for_each(Nginx::detach);
    }
}

impl Traffic {
    /// Waits for this many more answers.
    pub async fn answers(&self, more: u64) -> Result<()> {
        self.load.answers(more).await
    }

    /// Stops the load, then the watcher, and returns the final counts.
    pub async fn stop(self) -> Result<TrafficReport> {
        self.answers(200).await?;
        let expected = Arc::clone(self.load.oracle());
        let mut report = self.load.stop().await;
        let watched = self.watch.stop().await?;
        // The last query of the watcher may have found a switch that the load has already seen.
        report.settle(&expected);
        Ok(TrafficReport { report, watched })
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

/// The database that all releases share.
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

fn create_database(prefix: &Path) -> Result<()> {
    let status = Command::new(flavour::program("shop")?)
        .args(["migrate", "up", "--to", "1", "--batch", "the first release", "--database"])
        .arg(database(prefix))
        .stdout(Stdio::null())
        .status()?;
    ensure!(status.success(), "failed to create the shop's database");
    Ok(())
}
