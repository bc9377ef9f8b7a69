//! The edges of a site with several: each is an nginx with the same slots, and the daemon moves them together.

use std::net::SocketAddr;

use anyhow::{Context, Result};

use super::{GROUP, HTTP, Settings, Site, Traffic, Users};
use crate::daemon::config;
use crate::{Daemon, Nginx};

/// The name of an edge; the first has the number 0.
pub fn edge_name(number: usize) -> String {
    format!("edge{}", number + 1)
}

impl Site {
    /// Starts the other edges, and the daemon for all.
    pub(super) async fn add_edges(
        &mut self,
        settings: Settings,
        [blue, green]: [SocketAddr; 2],
        groups: &str,
    ) -> Result<()> {
        for _ in 1..settings.edges {
            self.others
                .push(Nginx::builder().set("blue", blue).set("green", green).http(HTTP).start().await?);
        }
        let table = |(number, nginx): (usize, &Nginx)| {
            format!("[edge.{}]\nadmin = \"unix:{}\"\n", edge_name(number), nginx.admin_socket().display())
        };
        let edges: String = self.edges().enumerate().map(table).collect();
        let groups = format!("{groups}\n[group.{GROUP}.fleet]\n{}\n", settings.fleet);
        let prefix = self.prefix()?.to_owned();
        let text = config::with_edges(&edges, &groups).replace("%%folder%%", &prefix.display().to_string());
        self.daemon = Some(Daemon::start_at(&prefix, &text).await?);
        Ok(())
    }

    /// The nginx of all edges.
    pub fn edges(&self) -> impl Iterator<Item = &Nginx> {
        self.nginx.iter().chain(&self.others)
    }

    /// The edge that a test harms.
    pub fn last_edge(&self) -> Result<&Nginx> {
        self.edges().last().context("nginx is gone")
    }

    /// The slot that has the traffic, at each edge.
    pub async fn actives(&self) -> Result<Vec<String>> {
        if self.others.is_empty() {
            return Ok(vec![self.active().await?]);
        }
        let mut actives = Vec::new();
        for nginx in self.edges() {
            actives.push(nginx.admin().group(GROUP).await?.route.active);
        }
        Ok(actives)
    }

    /// Starts a load that is spread over all edges, and checks every answer. One entry for each edge.
    pub async fn traffic_at_edges(&self, users: Users) -> Result<Vec<Traffic>> {
        if self.others.is_empty() {
            return Ok(vec![self.traffic_of(users).await?]);
        }
        let count = u8::try_from(self.edges().count())?;
        let mut loads = Vec::new();
        for nginx in self.edges() {
            loads.push(Traffic::of_several(nginx.admin(), nginx.address("shop")?, users, count).await?);
        }
        Ok(loads)
    }
}
