//! The features of the built module, so that a benchmark can leave out what an older module lacks.

use anyhow::Result;
use cutover_tests::{Flavour, Nginx};
use hyper::Method;

/// Features that some benchmarks need and older modules lack.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Features {
    /// `"guard"` and `"rescue"` in a change of the route.
    pub(crate) guard: bool,
    /// `split_key` in a group, and `"split"` in a change of the route.
    pub(crate) split: bool,
    /// `cutover_metrics`.
    pub(crate) metrics: bool,
}

impl Features {
    /// Finds out by trying each feature.
    pub(crate) async fn of(flavour: Flavour) -> Result<Self> {
        Ok(Self {
            guard: takes_guard(flavour).await?,
            split: knows(flavour, "split_key $cookie_sid;", "")?,
            metrics: knows(flavour, "", "cutover_metrics;")?,
        })
    }
}

/// Whether `nginx -t` accepts these lines in a group and in a location.
fn knows(flavour: Flavour, in_group: &str, in_location: &str) -> Result<bool> {
    let nginx = build(flavour, in_group, in_location)?;
    let answer = nginx.check()?;
    if !answer.ok {
        nginx.expect_in_log("unknown directive");
    }
    Ok(answer.ok)
}

async fn takes_guard(flavour: Flavour) -> Result<bool> {
    let nginx = build(flavour, "", "")?;
    nginx.start().await?;
    let guard = serde_json::json!({ "min_requests": 20, "max_error_ratio": 0.05, "window_ms": 10_000 });
    let change = serde_json::json!({ "active": "green", "guard": guard });
    let headers = [("content-type", "application/json")];
    let reply =
        nginx.admin().raw(Method::PUT, "/v1/groups/shop/route", &headers, &change.to_string()).await?;
    Ok(reply.status == 200)
}

fn build(flavour: Flavour, in_group: &str, in_location: &str) -> Result<Nginx> {
    Nginx::builder()
        .flavour(flavour)
        .set("in_group", in_group)
        .set("in_location", in_location)
        .http(
            "cutover_state %%prefix%%/state;
             upstream blue { server 127.0.0.1:9; }
             upstream green { server 127.0.0.1:9; }
             cutover shop { slot blue blue; slot green green; active blue; %%in_group%% }
             server { listen %%admin%%; location / { cutover_api write=on; } location /more { %%in_location%% } }",
        )
        .build()
}
