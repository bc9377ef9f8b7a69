//! The usual fixture: nginx with one group, `shop`, over two backends, and the oracle of which of them may answer.

use std::cell::Cell;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use cutover_core::api::{Group, RouteChange, Slot};

use crate::client::{Answer, Client};
use crate::load::{Load, Plan, Report};
use crate::nginx::{Builder, Nginx};
use crate::switcher::Switcher;
use crate::{Backend, SlotOracle, wait};

/// The usual upstreams for [`TestEdge::http`].
pub const UPSTREAMS: &str = "
    upstream shop_blue { server %%blue%%; keepalive 32; }
    upstream shop_green { server %%green%%; keepalive 32; }
";

/// The usual location for [`TestEdge::http`]. Its header tells the load which slot nginx has chosen.
pub const LOCATION: &str =
    "location / { proxy_pass http://shop; add_header x-cutover-slot $cutover_slot always; }";

/// nginx at `%%listen:main%%`, with slots `blue` and `green` of group `shop`; blue is active. A test can add more to
/// `http {}`.
#[derive(Debug)]
pub struct TestEdge {
    /// The server of slot `blue`; `%%blue%%`.
    pub blue: Backend,
    /// The server of slot `green`; `%%green%%`.
    pub green: Backend,
    /// The nginx.
    pub nginx: Nginx,
    /// Switches `shop`.
    pub shop: Switcher,
}

impl TestEdge {
    /// `http {}` with the group over the upstreams `shop_blue` and `shop_green`, and a server that holds `locations`.
    pub fn http(upstreams: &str, locations: &str) -> String {
        format!(
            "cutover_state %%prefix%%/state;
            {upstreams}
            cutover shop {{ slot blue shop_blue; slot green shop_green; active blue; }}
            proxy_http_version 1.1;
            proxy_set_header Connection '';
            server {{ listen %%listen:main%%; {locations} }}
            server {{ listen %%admin%%; location / {{ cutover_api write=on; }} }}"
        )
    }

    /// Starts nginx with this `http {}`.
    pub async fn start(http: &str) -> Result<Self> {
        Self::start_with(Nginx::builder().http(http)).await
    }

    /// Starts an nginx that the builder describes.
    pub async fn start_with(builder: Builder) -> Result<Self> {
        let blue = Backend::start("blue").await?;
        let green = Backend::start("green").await?;
        let builder = builder.set("blue", blue.address()).set("green", green.address());
        let nginx = builder.start().await?;
        let shop = Switcher::new(&nginx, "shop", &["blue", "green"]);
        Ok(Self { blue, green, nginx, shop })
    }

    /// Connects to nginx.
    pub async fn connect(&self) -> Result<Client> {
        Client::connect(self.nginx.address("main")?).await
    }

    /// Sends one request on a new connection.
    pub async fn request(&self, method: &str, target: &str) -> Result<Answer> {
        self.connect().await?.request(method, target, &[]).await
    }

    /// Sends one GET on a new connection.
    pub async fn get(&self, target: &str) -> Result<Answer> {
        self.request("GET", target).await
    }

    /// `shop`, from the admin API.
    pub async fn group(&self) -> Result<Group> {
        self.nginx.admin().group("shop").await
    }

    /// One slot of `shop`, from the admin API.
    pub async fn slot(&self, name: &str) -> Result<Slot> {
        let group = self.group().await?;
        group.slot(name).cloned().with_context(|| format!("group \"shop\" has no slot {name:?}"))
    }

    /// Waits until `check` holds for `shop`; fails with `what` otherwise. nginx updates counters and events shortly after
    /// the client has received the last byte.
    pub async fn until(&self, what: &str, check: impl Fn(&Group) -> bool) -> Result<Group> {
        let mut seen = self.group().await;
        wait::until_async(wait::PATIENCE, what, async || match &seen {
            Ok(group) if !check(group) => {
                seen = self.group().await;
                false
            }
            _ => true,
        })
        .await?;
        seen
    }

    /// Waits until the traffic goes to this slot.
    pub async fn until_active(&self, slot: &str) -> Result<Group> {
        self.until(&format!("the traffic to go to {slot}"), |group| group.route.active == slot).await?;
        // nginx writes the event after the route.
        self.group().await
    }

    /// Waits until no slot has a request in flight.
    pub async fn until_idle(&self) -> Result<Group> {
        let idle = |group: &Group| group.slots.iter().all(|slot| slot.in_flight() == 0);
        self.until("no request in flight", idle).await
    }

    /// Waits until all slots together have answered this many requests of users with success and have none in flight.
    pub async fn until_counted(&self, requests: u64) -> Result<Group> {
        let counted = |group: &Group| {
            let success = group.slots.iter().map(|slot| slot.counters.responses.success);
            success.sum::<u64>() == requests && group.slots.iter().all(|slot| slot.in_flight() == 0)
        };
        self.until(&format!("{requests} requests in the counters"), counted).await
    }

    /// Changes the route of `shop`, without telling the oracle.
    pub async fn change(&self, json: &str) -> Result<Group> {
        self.nginx.admin().change_json("shop", json).await
    }

    /// Puts a slot on trial with a lease that is longer than any test, without telling the oracle.
    pub async fn try_out(&self, slot: &str, rescue: bool) -> Result<Group> {
        let change = RouteChange { lease_ms: Some(600_000), rescue, ..RouteChange::to(slot, "a test") };
        self.nginx.admin().change("shop", &change).await
    }

    /// The oracle of slots.
    pub fn oracle(&self) -> &Arc<SlotOracle> {
        self.shop.oracle()
    }

    /// The usual plan of a load on this nginx.
    pub fn plan(&self) -> Result<Plan> {
        Ok(Plan::new(self.nginx.address("main")?))
    }

    /// A load of GETs for `/`.
    pub fn load(&self) -> Result<Load> {
        Ok(Load::start(self.plan()?, self.oracle()))
    }

    /// Switches to and fro under the load until `work` has ended. Returns the number of switches.
    pub async fn switch_during(&self, load: &Load, work: impl Future<Output = Result<()>>) -> Result<u32> {
        let ended = Cell::new(false);
        let work = async {
            let result = work.await;
            ended.set(true);
            result
        };
        let switching = async {
            let mut switches = 0;
            while !ended.get() {
                self.shop.switch_times(load, 1).await?;
                switches += 1;
            }
            anyhow::Ok(switches)
        };
        let (worked, switches) = tokio::join!(work, switching);
        worked?;
        switches
    }

    /// Asserts that no request of the load failed and that no answer came from the wrong slot.
    pub fn assert_exact(&self, what: &str, report: &Report) -> Result<()> {
        println!("{what} on {}: {report}", self.nginx.flavour());
        ensure!(report.failed() == 0 && report.stale == 0, "{what}: {report}");
        ensure!(report.total > 0, "{what}: nothing was sent");
        Ok(())
    }
}
