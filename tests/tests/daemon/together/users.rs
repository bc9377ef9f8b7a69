//! Users of two groups, at one edge or at several, and the time in which they have seen two versions.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use cutover_tests::client::Client;
use cutover_tests::wait;
use tokio::task::JoinHandle;

/// The groups. Users of one reach it at its name, as in `/api`.
pub(crate) const GROUPS: [&str; 2] = ["shop", "api"];

/// An answer to a user.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    /// The edge that was asked.
    pub(crate) edge: usize,
    /// The group, by its place in [`GROUPS`].
    pub(crate) group: usize,
    pub(crate) sent: Instant,
    pub(crate) answered: Instant,
    pub(crate) status: u16,
    pub(crate) slot: String,
}

/// A user of each group at each edge. They send the next request as soon as they have an answer, or after a pause.
pub(crate) struct Users {
    stop: Arc<AtomicBool>,
    users: Vec<(Arc<AtomicUsize>, JoinHandle<Vec<Seen>>)>,
}

impl Users {
    pub(crate) fn start(edges: &[SocketAddr], pause: Duration) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let mut users = Vec::new();
        for (edge, address) in edges.iter().enumerate() {
            for group in [0, 1] {
                let answers = Arc::new(AtomicUsize::new(0));
                let asking = ask(*address, (edge, group), pause, Arc::clone(&answers), Arc::clone(&stop));
                users.push((answers, tokio::spawn(asking)));
            }
        }
        Self { stop, users }
    }

    /// Waits until each user has so many answers.
    pub(crate) async fn have(&self, many: usize) {
        let have = || self.users.iter().all(|(answers, _)| answers.load(Ordering::Relaxed) >= many);
        wait::until("the users to have answers", have).await.unwrap();
    }

    /// All answers, in their order.
    pub(crate) async fn stop(self) -> Vec<Seen> {
        self.stop.store(true, Ordering::Relaxed);
        let mut all = Vec::new();
        for (_, user) in self.users {
            all.extend(user.await.unwrap());
        }
        all.sort_by_key(|seen| seen.answered);
        all
    }
}

async fn ask(
    address: SocketAddr,
    (edge, group): (usize, usize),
    pause: Duration,
    answers: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
) -> Vec<Seen> {
    let mut seen = Vec::new();
    let mut client = Client::connect(address).await.unwrap();
    while !stop.load(Ordering::Relaxed) {
        let sent = Instant::now();
        let answer = client.request("GET", &format!("/{}", GROUPS[group]), &[]).await.unwrap();
        let (status, slot) = answer.status_and_slot();
        seen.push(Seen { edge, group, sent, answered: Instant::now(), status, slot: slot.to_owned() });
        answers.fetch_add(1, Ordering::Relaxed);
        if !pause.is_zero() {
            tokio::time::sleep(pause).await;
        }
    }
    seen
}

/// The times in which users may have seen two versions, one for each time that the traffic was divided: from the first answer of
/// another slot to the last request that was sent and not answered by the slot on which all were in the end.
pub(crate) fn moments(all: &[Seen]) -> Vec<Duration> {
    let mut now = BTreeMap::<(usize, usize), &str>::new();
    let (mut moments, mut since) = (Vec::new(), None);
    for (at, seen) in all.iter().enumerate() {
        now.insert((seen.edge, seen.group), &seen.slot);
        let is_one = now.values().all(|slot| *slot == seen.slot);
        match since {
            None if !is_one => since = Some(at),
            Some(first) if is_one => {
                let divided = &all[first..at];
                let last =
                    divided.iter().filter(|other| other.slot != seen.slot).map(|other| other.sent).max();
                moments.extend(last.map(|last| last.saturating_duration_since(all[first].answered)));
                since = None;
            }
            _ => {}
        }
    }
    assert!(since.is_none(), "users have two versions in the end");
    moments
}

/// The longest of these times.
pub(crate) fn longest(moments: &[Duration]) -> Duration {
    moments.iter().max().copied().unwrap_or_default()
}

/// The same for the users of each edge. A user of one edge sees no other one.
pub(crate) fn moments_by_edge(all: &[Seen]) -> BTreeMap<usize, Vec<Duration>> {
    let mut edges = BTreeMap::<usize, Vec<Seen>>::new();
    all.iter().for_each(|seen| edges.entry(seen.edge).or_default().push(seen.clone()));
    edges.into_iter().map(|(edge, seen)| (edge, moments(&seen))).collect()
}
