//! Everything a scenario happens in: nginx, two slots, the database, the daemon; all under one folder.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use cutover_tests::process::{self, Pid};
use cutover_tests::{Daemon, Nginx, flavour, ports, wait};

use crate::operator;
use crate::release::Release;

const HTTP: &str = include_str!("nginx.conf");
const CONFIG: &str = include_str!("cutover.toml");

/// The group of the configuration.
pub(crate) const GROUP: &str = "shop";

/// What is left running, if it is, has its name in the process list from one of these programs.
const PROGRAMS: [&str; 3] = ["shop", "simulate", "cutover"];

/// Marks a folder as one that [`end`] may remove.
const MARK: &str = "simulation";

/// All that runs. Ended when it goes.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) nginx: Option<Nginx>,
    pub(crate) daemon: Option<Daemon>,
}

impl World {
    /// Starts it: the first release runs in blue and has all the traffic.
    pub(crate) async fn build() -> Result<Self> {
        let (blue, green) = (ports::free()?, ports::free()?);
        let nginx = Nginx::builder().set("blue", blue).set("green", green).http(HTTP).build()?;
        let prefix = nginx.prefix().to_owned();
        let mut world = Self { nginx: Some(nginx), daemon: None };
        fs::write(prefix.join(MARK), "")?;
        fs::create_dir(prefix.join("slots"))?;
        for (slot, address) in [("blue", blue), ("green", green)] {
            fs::write(operator::slot_file(&prefix, slot, "address"), address.to_string())?;
        }
        let first = Release::new("1.0.0", 1, None);
        migrate_first(&prefix)?;
        operator::start_slot(&prefix, "blue", &first)?;
        wait::until("the first release to listen", || std::net::TcpStream::connect(blue).is_ok()).await?;
        world.nginx()?.start().await?;
        let own = std::env::current_exe()?;
        let config = CONFIG.replace("%%simulate%%", &own.display().to_string());
        world.daemon = Some(Daemon::start(&prefix, &config).await?);
        println!(
            "nginx on http://{}, blue on {blue}, green on {green}, all under {}",
            world.shop()?,
            prefix.display()
        );
        Ok(world)
    }

    pub(crate) fn nginx(&self) -> Result<&Nginx> {
        self.nginx.as_ref().context("nginx is gone")
    }

    pub(crate) fn daemon(&mut self) -> Result<&mut Daemon> {
        self.daemon.as_mut().context("the daemon is gone")
    }

    /// Where customers come in.
    pub(crate) fn shop(&self) -> Result<SocketAddr> {
        self.nginx()?.address("shop")
    }

    /// What nginx's error log holds and must not.
    pub(crate) fn complaints(&self) -> Vec<String> {
        self.nginx.as_ref().map(Nginx::complaints).unwrap_or_default()
    }

    /// Leaves everything running and says how to play with it.
    pub(crate) fn keep(mut self) -> Result<()> {
        let (Some(nginx), Some(daemon)) = (self.nginx.take(), self.daemon.take()) else {
            bail!("nothing to keep")
        };
        let prefix = nginx.prefix().to_owned();
        for (version, fault) in
            [("9.1.0", "never-ready"), ("9.2.0", "bad-catalogue"), ("9.3.0", "errors-after=40")]
        {
            Release::new(version, 3, Some(fault)).publish(&prefix)?;
        }
        let cutover =
            format!("{} --config {}", flavour::program("cutover")?.display(), daemon.config().display());
        let simulate = std::env::current_exe()?;
        println!(
            "
everything goes on running:
  the shop               curl -i http://{}/products
  the standby            curl -i http://{}/products
  the module             curl --unix-socket {} http://cutover/v1/groups/{GROUP}
  a good release         {cutover} deploy {GROUP} --version 9.0.0
  one never ready        {cutover} deploy {GROUP} --version 9.1.0
  one with no products   {cutover} deploy {GROUP} --version 9.2.0
  one that turns bad     {cutover} deploy {GROUP} --version 9.3.0     (needs traffic)
  some traffic           while sleep 0.01; do curl -so /dev/null http://{}/products; done
  what is going on       {cutover} status {GROUP}
  the way back           {cutover} rollback {GROUP}
  the end                {} end {}",
            nginx.address("shop")?,
            nginx.address("preview")?,
            nginx.admin_socket().display(),
            nginx.address("shop")?,
            simulate.display(),
            prefix.display(),
        );
        nginx.detach();
        daemon.detach();
        Ok(())
    }
}

impl Drop for World {
    fn drop(&mut self) {
        // First the daemon: it could start a slot again.
        self.daemon = None;
        if let Some(nginx) = &self.nginx {
            end_programs(nginx.prefix());
        }
    }
}

/// Ends what [`World::keep`] has left running under `prefix`, and removes the folder.
pub(crate) fn end(prefix: &Path) -> Result<()> {
    ensure!(prefix.join(MARK).is_file(), "{} is not the folder of a simulation", prefix.display());
    end_programs(prefix);
    let nginx = process::holding("nginx", &prefix.join("error.log"));
    process::kill_now(&nginx);
    fs::remove_dir_all(prefix).with_context(|| format!("failed to remove {}", prefix.display()))
}

/// Kills the slots, the daemon, and whatever command of the daemon is under way: such a command could start a slot after the slots have
/// been killed, so it goes on until none is left.
fn end_programs(prefix: &Path) {
    for _ in 0..50 {
        let own = Pid::from_raw(i32::try_from(std::process::id()).unwrap_or_default());
        let mut left = process::mentioning(&PROGRAMS, prefix);
        left.retain(|pid| Some(*pid) != own);
        if left.is_empty() {
            return;
        }
        process::kill_now(&left);
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn migrate_first(prefix: &Path) -> Result<()> {
    let status = Command::new(flavour::program("shop")?)
        .args(["migrate", "up", "--to", "1", "--batch", "the first release", "--database"])
        .arg(operator::database(prefix))
        .stdout(std::process::Stdio::null())
        .status()?;
    ensure!(status.success(), "failed to create the shop's database");
    Ok(())
}
