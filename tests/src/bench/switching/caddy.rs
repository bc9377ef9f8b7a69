//! Caddy: a call of its admin API changes the upstream, on a keep-alive connection, and Caddy loads the new configuration.

use std::fs;
use std::io::ErrorKind;
use std::net::{SocketAddr, TcpStream};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use cutover_tests::ports;
use cutover_tests::temp::TempDir;

use super::proxy::{Program, Proxy, Slot};
use crate::exchange::{self, Exchange};

pub(super) struct Caddy {
    _program: Program,
    _folder: TempDir,
    address: SocketAddr,
    admin: SocketAddr,
    slots: [SocketAddr; 2],
    exchange: Exchange<TcpStream>,
}

impl Caddy {
    pub(super) async fn start(slots: [SocketAddr; 2]) -> Result<Self> {
        let folder = TempDir::new()?;
        let (address, admin) = (ports::free()?, ports::free()?);
        let handler = serde_json::json!({
            "@id": "shop",
            "handler": "reverse_proxy",
            "upstreams": [{ "dial": Slot::Blue.of(slots).to_string() }],
        });
        let server = serde_json::json!({
            "listen": [address.to_string()],
            "automatic_https": { "disable": true },
            "routes": [{ "handle": [handler] }],
        });
        let configuration = serde_json::json!({
            "admin": { "listen": admin.to_string(), "config": { "persist": false } },
            "logging": { "logs": { "default": { "level": "ERROR" } } },
            "apps": { "http": { "servers": { "edge": server } } },
        });
        let file = folder.path().join("caddy.json");
        fs::write(&file, configuration.to_string())?;
        let mut command = Command::new("caddy");
        command.arg("run").arg("--config").arg(&file);
        // Caddy's folders for certificates and its last configuration.
        command.env("XDG_CONFIG_HOME", folder.path()).env("XDG_DATA_HOME", folder.path());
        let program = Program::start(&mut command, address).await?;
        let exchange = Exchange::tcp(admin).context("failed to connect to Caddy's admin API")?;
        Ok(Self { _program: program, _folder: folder, address, admin, slots, exchange })
    }
}

impl Proxy for Caddy {
    fn name(&self) -> &'static str {
        "Caddy, admin API"
    }

    fn address(&self) -> SocketAddr {
        self.address
    }

    fn switches_a_round(&self) -> usize {
        10
    }

    fn switch(&mut self, to: Slot) -> Result<()> {
        let host = self.admin.to_string();
        let body = format!("[{{\"dial\":\"{}\"}}]", to.of(self.slots));
        let request =
            exchange::request("PATCH", &host, "/id/shop/upstreams", Some("application/json"), &body);
        let mut answer = self.exchange.request(&request);
        // Loading a configuration can restart the admin server, which closes its connections.
        if answer.as_ref().is_err_and(|error| error.kind() == ErrorKind::ConnectionAborted) {
            self.exchange = Exchange::tcp(self.admin)?;
            answer = self.exchange.request(&request);
        }
        let answer = answer?;
        ensure!(answer.status == 200, "Caddy answered {}", answer.status);
        Ok(())
    }
}
