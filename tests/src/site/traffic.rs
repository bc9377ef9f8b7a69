//! A load on a site, with the watcher that tells the load's oracle about switches.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Result;

use super::{GROUP, Users};
use crate::route_watcher::{ObservedSwitches, RouteWatcher};
use crate::{Admin, Load, SlotOracle, load};

/// A load on a site, and the watcher that tells the load's oracle about switches.
#[derive(Debug)]
pub struct Traffic {
    usual_answers: u64,
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
    /// Which slot might answer, and when.
    pub oracle: Arc<SlotOracle>,
}

impl Traffic {
    pub(super) async fn start(admin: Admin, address: SocketAddr, users: Users) -> Result<Self> {
        let group = admin.group(GROUP).await?;
        let oracle: Arc<SlotOracle> = SlotOracle::new(&group.route.active);
        let watch = RouteWatcher::start(admin, group, Arc::clone(&oracle));
        Self::begin(users, 1, address, oracle, watch).await
    }

    /// The same at one of so many edges.
    pub async fn of_several(admin: Admin, address: SocketAddr, users: Users, edges: u8) -> Result<Self> {
        let group = admin.group(GROUP).await?;
        let oracle: Arc<SlotOracle> = SlotOracle::new(&group.route.active);
        let watch = RouteWatcher::of_several(admin, group, Arc::clone(&oracle));
        Self::begin(users, edges, address, oracle, watch).await
    }

    /// The same over stock nginx, whose upstream file gives the traffic to `active`.
    pub(super) async fn of_file(
        file: PathBuf,
        active: &str,
        address: SocketAddr,
        users: Users,
    ) -> Result<Self> {
        let oracle: Arc<SlotOracle> = SlotOracle::new(active);
        let watch = RouteWatcher::of_file(file, Arc::clone(&oracle));
        Self::begin(users, 1, address, oracle, watch).await
    }

    async fn begin(
        users: Users,
        edges: u8,
        address: SocketAddr,
        oracle: Arc<SlotOracle>,
        watch: RouteWatcher,
    ) -> Result<Self> {
        let load = Load::start(users.plan(address, edges), &oracle);
        let traffic = Self { usual_answers: users.usual_answers(edges), load, watch };
        traffic.answers(traffic.usual_answers).await?;
        Ok(traffic)
    }

    /// Waits for this many more answers.
    pub async fn answers(&self, more: u64) -> Result<()> {
        self.load.answers(more).await
    }

    /// Stops the load, then the watcher, and returns the final counts.
    pub async fn stop(self) -> Result<TrafficReport> {
        self.answers(self.usual_answers).await?;
        let oracle = Arc::clone(self.load.oracle());
        let mut report = self.load.stop().await;
        let watched = self.watch.stop().await?;
        // The last query of the watcher may have found a switch that the load has already seen.
        report.settle(&oracle);
        Ok(TrafficReport { report, watched, oracle })
    }
}
