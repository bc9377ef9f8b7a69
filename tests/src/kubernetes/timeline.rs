//! Who answered when: requests of a few kept-alive connections, each with its answer.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::task::JoinSet;

use crate::client::Client;

/// Pause of each connection between two requests.
const PAUSE: Duration = Duration::from_millis(5);

/// One request and who answered it.
#[derive(Clone, Debug)]
pub struct Moment {
    /// When it was sent.
    pub sent: SystemTime,
    /// The status, or why there is none.
    pub status: Result<u16, String>,
    /// What the backend calls itself; empty if none answered.
    pub slot: String,
}

/// Sends requests until it is ended. Drop ends it, too.
#[derive(Debug)]
pub struct Timeline {
    moments: Arc<Mutex<Vec<Moment>>>,
    connections: JoinSet<()>,
}

impl Timeline {
    /// Begins to send requests for a host.
    pub fn start(address: SocketAddr, host: &str) -> Self {
        let moments = Arc::<Mutex<Vec<Moment>>>::default();
        let mut connections = JoinSet::new();
        for _ in 0..4 {
            connections.spawn(ask(address, host.to_owned(), Arc::clone(&moments)));
        }
        Self { moments, connections }
    }

    /// Ends it. Returns the requests in the order in which they were sent.
    pub fn end(mut self) -> Vec<Moment> {
        self.connections.abort_all();
        let mut moments = std::mem::take(&mut *self.moments.lock().unwrap_or_else(PoisonError::into_inner));
        moments.sort_by_key(|moment| moment.sent);
        moments
    }
}

/// How long after `since` a slot was still given a request, of those that were sent before `until`.
pub fn last_given(moments: &[Moment], slot: &str, since: SystemTime, until: SystemTime) -> Duration {
    let given = moments.iter().filter(|one| one.slot == slot && one.sent < until);
    let last = given.filter_map(|one| one.sent.duration_since(since).ok()).max();
    last.unwrap_or_default()
}

async fn ask(address: SocketAddr, host: String, moments: Arc<Mutex<Vec<Moment>>>) {
    let mut kept = None;
    loop {
        let sent = SystemTime::now();
        let asked = async {
            let mut client: Client = match kept.take() {
                Some(client) => client,
                None => Client::connect(address).await?,
            };
            let answer = client.request("GET", "/", &[("host", &host)]).await?;
            anyhow::Ok((client, answer))
        };
        let (status, slot) = match asked.await {
            Ok((client, answer)) => {
                kept = (!answer.head.closes()).then_some(client);
                (Ok(answer.status), answer.slot().to_owned())
            }
            Err(error) => (Err(format!("{error:#}")), String::new()),
        };
        moments.lock().unwrap_or_else(PoisonError::into_inner).push(Moment { sent, status, slot });
        tokio::time::sleep(PAUSE).await;
    }
}
