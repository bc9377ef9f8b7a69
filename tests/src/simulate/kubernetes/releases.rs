//! The releases of the shop, and what runs in its Pods.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use cutover_tests::flavour;
use cutover_tests::kubernetes::{Container, Namespace};
use cutover_tests::site::{Release, create_database, database};
use tokio::process::{Child, Command};

use crate::scenario::Scenario;

/// All releases are for this schema: no Job can change it, because nothing runs in its Pods.
const SCHEMA: u32 = 1;

/// The published releases, and the database that all of them share.
#[derive(Debug)]
pub(super) struct Releases {
    folder: PathBuf,
    images: u32,
}

impl Releases {
    /// With the first release.
    pub(super) fn prepare(namespace: &Namespace<'_>) -> Result<Self> {
        let folder = namespace.cluster().machine().folder().join("shop");
        fs::create_dir(&folder)?;
        create_database(&folder)?;
        Release::new("1.0.0", SCHEMA, None).publish(&folder)?;
        Ok(Self { folder, images: 0 })
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Publishes the release of a scenario. Returns its image, another one for each call.
    pub(super) fn publish(&mut self, scenario: &Scenario) -> Result<String> {
        Release::new(scenario.version, SCHEMA, scenario.fault).publish(&self.folder)?;
        // What has failed is not tried again with the same image.
        self.images += 1;
        Ok(format!("shop:{}-{}", scenario.version, self.images))
    }
}

/// A shop that runs in a Pod. Drop kills it.
#[derive(Debug)]
pub(super) struct Running {
    shop: Child,
}

/// How long the kernel may take to end a process that is killed.
const LAST_BREATH: Duration = Duration::from_secs(2);

impl Drop for Running {
    /// Waits for its end: the next Pod may get its address.
    fn drop(&mut self) {
        let (begin, _) = (Instant::now(), self.shop.start_kill());
        while matches!(self.shop.try_wait(), Ok(None)) && begin.elapsed() < LAST_BREATH {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

impl Running {
    /// Runs the release of the image.
    pub(super) async fn start(folder: PathBuf, pod: Container) -> Result<Self> {
        let version = pod.tag.rsplit_once('-').map_or(pod.tag.as_str(), |(version, _)| version);
        let release = Release::find(&folder, version)?;
        let log = fs::File::options().create(true).append(true).open(folder.join("shop.log"))?;
        let mut shop = Command::new("setpriv");
        shop.args(["--pdeathsig", "KILL", "--"]).arg(flavour::program("shop")?);
        shop.args(["serve", "--listen", &pod.address.to_string(), "--slot", &pod.slot])
            .args(["--version", &release.version, "--schema", &release.schema.to_string()])
            .arg("--database")
            .arg(database(&folder));
        if let Some(fault) = &release.fault {
            shop.args(["--fault", fault]);
        }
        shop.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).process_group(0).kill_on_drop(true);
        Ok(Self { shop: shop.spawn().context("failed to start the shop")? })
    }
}
