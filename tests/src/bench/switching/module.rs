//! nginx with the module: a `PUT` on a keep-alive connection to the admin API.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Result;
use cutover_tests::Nginx;

use super::disk::DiskPage;
use super::proxy::{Proxy, Slot};
use crate::route_call::RouteCall;

pub(super) struct Module {
    _nginx: Nginx,
    address: SocketAddr,
    call: RouteCall,
    page: DiskPage,
}

impl Module {
    pub(super) async fn start(slots: [SocketAddr; 2]) -> Result<Self> {
        let nginx = Nginx::builder()
            .set("blue", Slot::Blue.of(slots))
            .set("green", Slot::Green.of(slots))
            .http(
                "cutover_state %%prefix%%/state;
                 keepalive_requests 100000000;
                 upstream blue { server %%blue%%; keepalive 32; }
                 upstream green { server %%green%%; keepalive 32; }
                 cutover shop { slot blue blue; slot green green; active blue; }
                 server {
                     listen %%listen:http%%;
                     location / { proxy_pass http://shop; proxy_http_version 1.1; proxy_set_header Connection ''; }
                 }
                 server {
                     listen %%admin%%;
                     location / { cutover_api write=on; }
                 }",
            )
            .start()
            .await?;
        let call = RouteCall::connect(&nginx.admin_socket())?;
        let page = DiskPage::create(&nginx.prefix().join("state"))?;
        Ok(Self { address: nginx.address("http")?, _nginx: nginx, call, page })
    }
}

impl Proxy for Module {
    fn name(&self) -> &'static str {
        "nginx with the module"
    }

    fn address(&self) -> SocketAddr {
        self.address
    }

    fn switches_a_round(&self) -> usize {
        30
    }

    fn switch(&mut self, to: Slot) -> Result<()> {
        self.call.switch("shop", to.name())
    }

    fn bare_flush(&mut self) -> Option<Result<Duration>> {
        Some(self.page.flush())
    }
}
