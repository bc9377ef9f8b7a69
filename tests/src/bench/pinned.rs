//! Servers pinned to two cores: the measured nginx on the first, its backend and `wrk` on the second.

use anyhow::Result;
use cutover_tests::{Flavour, Nginx};

/// The core of the measured nginx.
const MEASURED: &str = "worker_cpu_affinity 01;";
/// The core of everything else.
const OTHER: &str = "worker_cpu_affinity 10;";
/// The same core for `taskset --cpu-list`.
pub(crate) const OTHER_CORE: &str = "1";

/// Starts an nginx that answers two bytes, which is far faster than a proxy. Its address is `http`.
pub(crate) async fn backend() -> Result<Nginx> {
    Nginx::builder()
        .flavour(Flavour::Debian)
        .without_module()
        .workers(1)
        .main(OTHER)
        .http(
            "keepalive_requests 100000000;
             server { listen %%listen:http%%; location / { return 200 'ok'; } }",
        )
        .start()
        .await
}

/// Starts an nginx with one worker: `/plain` passes to the upstream of a slot, `/group` to group `shop`.
pub(crate) async fn proxy(flavour: Flavour, backend: &Nginx) -> Result<Nginx> {
    Nginx::builder()
        .flavour(flavour)
        .workers(1)
        .main(MEASURED)
        .set("backend", backend.address("http")?)
        .http(
            "cutover_state %%prefix%%/state;
             keepalive_requests 100000000;
             upstream blue { server %%backend%%; keepalive 64; keepalive_requests 100000000; }
             upstream green { server %%backend%%; keepalive 64; keepalive_requests 100000000; }
             cutover shop { slot blue blue; slot green green; active blue; }
             proxy_http_version 1.1;
             proxy_set_header Connection '';
             server {
                 listen %%listen:http%%;
                 location /plain { proxy_pass http://blue; }
                 location /group { proxy_pass http://shop; }
             }
             server { listen %%admin%%; location / { cutover_api write=on; } }",
        )
        .start()
        .await
}
