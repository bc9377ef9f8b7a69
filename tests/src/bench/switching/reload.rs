//! Stock nginx: a switch rewrites the file of the upstream, then nginx reloads.

use std::fs;
use std::net::SocketAddr;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use cutover_tests::Nginx;

use super::proxy::{Proxy, Slot};

pub(super) struct Reload {
    nginx: Nginx,
    address: SocketAddr,
    slots: [SocketAddr; 2],
}

impl Reload {
    pub(super) async fn start(slots: [SocketAddr; 2]) -> Result<Self> {
        let nginx = Nginx::builder()
            .without_module()
            .http(
                "keepalive_requests 100000000;
                 include %%prefix%%/upstream.conf;
                 server {
                     listen %%listen:http%%;
                     location / { proxy_pass http://shop; proxy_http_version 1.1; proxy_set_header Connection ''; }
                 }",
            )
            .build()?;
        let proxy = Self { address: nginx.address("http")?, nginx, slots };
        proxy.write(Slot::Blue)?;
        proxy.nginx.start().await?;
        Ok(proxy)
    }

    fn write(&self, slot: Slot) -> Result<()> {
        let text = format!("upstream shop {{ server {}; keepalive 32; }}\n", slot.of(self.slots));
        let path = self.nginx.prefix().join("upstream.conf");
        let new = path.with_extension("new");
        fs::write(&new, text)?;
        fs::rename(&new, &path).context("failed to write the upstream's file")
    }
}

impl Proxy for Reload {
    fn name(&self) -> &'static str {
        "nginx, file and reload"
    }

    fn address(&self) -> SocketAddr {
        self.address
    }

    fn switches_a_round(&self) -> usize {
        6
    }

    fn switch(&mut self, to: Slot) -> Result<()> {
        self.write(to)?;
        let status = Command::new(self.nginx.flavour().nginx())
            .args(self.nginx.options())
            .args(["-s", "reload"])
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .context("failed to run nginx -s reload")?;
        ensure!(status.success(), "nginx -s reload failed");
        Ok(())
    }
}
