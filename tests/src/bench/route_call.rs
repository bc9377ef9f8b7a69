//! Calls of the module's admin API over one keep-alive connection.

use std::os::unix::net::UnixStream;
use std::path::Path;

use anyhow::{Context, Result, ensure};

use crate::exchange::{self, Exchange};

/// The connection.
#[derive(Debug)]
pub(crate) struct RouteCall {
    exchange: Exchange<UnixStream>,
}

impl RouteCall {
    pub(crate) fn connect(socket: &Path) -> Result<Self> {
        let exchange = Exchange::unix(socket);
        Ok(Self { exchange: exchange.with_context(|| format!("failed to connect to {}", socket.display()))? })
    }

    /// Switches a group. Returns when the module has acknowledged it.
    pub(crate) fn switch(&mut self, group: &str, to: &str) -> Result<()> {
        let body = format!("{{\"active\":\"{to}\"}}");
        let target = format!("/v1/groups/{group}/route");
        let request = exchange::request("PUT", "nginx", &target, Some("application/json"), &body);
        let answer = self.exchange.request(&request)?;
        let text = String::from_utf8_lossy(&answer.body).into_owned();
        ensure!(answer.status == 200, "the switch was answered with {}: {text}", answer.status);
        Ok(())
    }

    /// Sends a GET to the API, or to another location of the same server.
    pub(crate) fn get(&mut self, target: &str) -> Result<Vec<u8>> {
        let answer = self.exchange.request(&exchange::request("GET", "nginx", target, None, ""))?;
        ensure!(answer.status == 200, "{target} was answered with {}", answer.status);
        Ok(answer.body)
    }
}
