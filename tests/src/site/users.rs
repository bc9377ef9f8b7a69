//! The users of a site: what they send and how patient they are.

use std::net::SocketAddr;
use std::time::Duration;

use crate::load::{Plan, Request};

/// The users of a site. They read the catalogue and place orders.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Users {
    /// Some hundred requests per second, over eight kept-alive connections and four fresh senders. Each waits for its
    /// answer before it sends again.
    Busy,
    /// Two hundred users per second with one request each. They keep coming while others wait, and give up after this time.
    Arriving(Duration),
    /// One user, with a request every two seconds.
    Few,
}

impl Users {
    /// What the users of one of so many edges do. They are spread evenly, and each edge has at least one of a kind.
    pub(super) fn plan(self, address: SocketAddr, edges: u8) -> Plan {
        let share = |users: usize| users.div_ceil(usize::from(edges));
        let plan = Plan::new(address).requests(vec![
            Request::get("/products"),
            Request::get("/products/1"),
            Request::get("/products/2"),
            Request::post("/orders", r#"{"product_id":1,"quantity":2}"#),
        ]);
        match self {
            Self::Busy => plan.connections(share(8), share(4)).pause(Duration::from_millis(8)),
            Self::Arriving(patience) => {
                plan.arrivals(Duration::from_millis(5) * u32::from(edges)).limit(patience)
            }
            Self::Few => plan.connections(0, 1).pause(Duration::from_secs(2)),
        }
    }

    /// The number of answers that show what is normal, at one of so many edges.
    pub(super) fn usual_answers(self, edges: u8) -> u64 {
        match self {
            Self::Busy | Self::Arriving(_) => 200_u64.div_ceil(u64::from(edges)),
            Self::Few => 1,
        }
    }
}
