//! A configuration with thousands of groups or upstreams, and requests to all of them.

use std::fmt::Write as _;
use std::net::SocketAddr;

use anyhow::{Result, ensure};
use cutover_tests::Nginx;
use cutover_tests::client::Client;

use crate::features::Features;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Two upstreams for each location; one is used.
    Plain,
    /// The same with a group in front of both.
    Groups,
}

/// The name of a group.
pub(super) fn group(number: u64) -> String {
    format!("site-{number:05}")
}

pub(super) fn build(kind: Kind, groups: u64, features: Features, backend: SocketAddr) -> Result<Nginx> {
    let mut builder = Nginx::builder();
    if kind == Kind::Plain {
        builder = builder.without_module();
    }
    builder.set("backend", backend).http(&configuration(kind, groups, features)).build()
}

fn configuration(kind: Kind, groups: u64, features: Features) -> String {
    let mut text = String::from("keepalive_requests 100000000;\n");
    for name in (0..groups).map(group) {
        for slot in ["blue", "green"] {
            let _ = writeln!(text, "upstream {name}-{slot} {{ server %%backend%%; }}");
        }
    }
    let mut locations = String::new();
    for name in (0..groups).map(group) {
        let target = if kind == Kind::Plain { format!("{name}-blue") } else { name.clone() };
        let _ = writeln!(locations, "location /{name}/ {{ proxy_pass http://{target}; }}");
    }
    if kind == Kind::Groups {
        text.push_str("cutover_state %%prefix%%/state;\n");
        for name in (0..groups).map(group) {
            let _ = writeln!(
                text,
                "cutover {name} {{ slot blue {name}-blue; slot green {name}-green; active blue; }}"
            );
        }
        let metrics = if features.metrics { "location = /metrics { cutover_metrics; }" } else { "" };
        let _ =
            writeln!(text, "server {{ listen %%admin%%; location / {{ cutover_api write=on; }} {metrics} }}");
    }
    let _ = writeln!(text, "server {{ listen %%listen:http%%;\n{locations}}}");
    text
}

/// Sends two requests to each location, on two connections, so that both workers serve most locations.
pub(super) async fn visit_all(nginx: &Nginx, groups: u64) -> Result<()> {
    let address = nginx.address("http")?;
    let mut visits = tokio::task::JoinSet::new();
    for _ in 0..2 {
        visits.spawn(async move {
            let mut client = Client::connect(address).await?;
            for number in 0..groups {
                let answer = client.request("GET", &format!("/{}/", group(number)), &[]).await?;
                ensure!(answer.status == 200, "{} answered with {}", group(number), answer.status);
            }
            anyhow::Ok(())
        });
    }
    while let Some(visit) = visits.join_next().await {
        visit??;
    }
    Ok(())
}
