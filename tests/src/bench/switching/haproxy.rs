//! HAProxy: a map decides the backend, and `set map` on the stats socket changes it in memory.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use cutover_tests::ports;
use cutover_tests::temp::TempDir;

use super::proxy::{Program, Proxy, Slot};
use crate::exchange::Exchange;

/// The end of each answer in interactive mode, which keeps the connection open.
const PROMPT: &str = "> ";

pub(super) struct Haproxy {
    _program: Program,
    _folder: TempDir,
    address: SocketAddr,
    map: PathBuf,
    exchange: Exchange<UnixStream>,
}

impl Haproxy {
    pub(super) async fn start(slots: [SocketAddr; 2]) -> Result<Self> {
        let folder = TempDir::new()?;
        let address = ports::free()?;
        let map = folder.path().join("routes.map");
        let socket = folder.path().join("stats.sock");
        fs::write(&map, format!("shop {}\n", Slot::Blue.name()))?;
        let text = CONFIGURATION
            .replace("%%socket%%", &socket.display().to_string())
            .replace("%%map%%", &map.display().to_string())
            .replace("%%listen%%", &address.to_string())
            .replace("%%blue%%", &Slot::Blue.of(slots).to_string())
            .replace("%%green%%", &Slot::Green.of(slots).to_string());
        let file = folder.path().join("haproxy.cfg");
        fs::write(&file, text)?;
        let program =
            Program::start(Command::new("haproxy").arg("-db").arg("-f").arg(&file), address).await?;
        let mut exchange = Exchange::unix(&socket).context("failed to connect to HAProxy's stats socket")?;
        exchange.command("prompt\n", PROMPT)?;
        Ok(Self { _program: program, _folder: folder, address, map, exchange })
    }
}

impl Proxy for Haproxy {
    fn name(&self) -> &'static str {
        "HAProxy, runtime map"
    }

    fn address(&self) -> SocketAddr {
        self.address
    }

    fn switches_a_round(&self) -> usize {
        30
    }

    fn switch(&mut self, to: Slot) -> Result<()> {
        let line = format!("set map {} shop {}\n", self.map.display(), to.name());
        let answer = self.exchange.command(&line, PROMPT)?;
        ensure!(answer.is_empty(), "HAProxy answered {answer:?}");
        Ok(())
    }
}

const CONFIGURATION: &str = "\
global
    maxconn 4096
    nbthread 2
    stats socket %%socket%% mode 600 level admin
    stats timeout 1h
defaults
    mode http
    timeout connect 10s
    timeout client 60s
    timeout server 60s
frontend edge
    bind %%listen%%
    use_backend %[str(shop),map(%%map%%)]
backend blue
    server blue %%blue%%
backend green
    server green %%green%%
";
