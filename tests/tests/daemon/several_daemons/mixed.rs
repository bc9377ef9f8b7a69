//! How long users could see both versions: edges or groups were on different slots.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use cutover_tests::Admin;
use cutover_tests::journal_watch::Written;
use tokio::task::JoinHandle;

/// Pause between two looks.
const PAUSE: Duration = Duration::from_millis(20);

/// The longest times with both versions.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Mixed {
    /// Before the deployment was to be permanent.
    pub(crate) before_commit: Duration,
    /// After that.
    pub(crate) after_commit: Duration,
}

/// Looks at all edges. Ends on drop.
pub(crate) struct MixedWatch {
    /// When there was a look, and whether there were both versions.
    looks: Arc<Mutex<Vec<(Instant, bool)>>>,
    task: JoinHandle<()>,
}

impl MixedWatch {
    pub(crate) fn start(edges: Vec<Admin>) -> Self {
        let looks = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&looks);
        let task = tokio::spawn(async move {
            loop {
                let mut slots = Vec::new();
                for edge in &edges {
                    let groups = edge.groups().await.map(|groups| groups.groups).unwrap_or_default();
                    slots.extend(groups.into_iter().map(|group| group.route.active));
                }
                let is_mixed = slots.windows(2).any(|pair| pair[0] != pair[1]);
                seen.lock().unwrap_or_else(PoisonError::into_inner).push((Instant::now(), is_mixed));
                tokio::time::sleep(PAUSE).await;
            }
        });
        Self { looks, task }
    }

    /// The longest times of a deployment with these records.
    pub(crate) fn longest(&self, records: &[Written]) -> Mixed {
        let is_commit = |written: &&Written| {
            ["confirming", "draining", "warm", "decommissioning", "completed"]
                .contains(&written.state.phase.name())
        };
        let commit = records.iter().find(is_commit).map(|written| written.at);
        let mut mixed = Mixed::default();
        let mut since = None::<Instant>;
        for (at, is_mixed) in self.looks.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            let is_after = commit.is_some_and(|commit| *at > commit);
            if !is_mixed {
                since = None;
                continue;
            }
            let begin = *since.get_or_insert(*at);
            // A time with both versions that goes on over the commit counts on both sides.
            let (longest, begin) = match (is_after, commit) {
                (true, Some(commit)) => (&mut mixed.after_commit, begin.max(commit)),
                _ => (&mut mixed.before_commit, begin),
            };
            *longest = at.saturating_duration_since(begin).max(*longest);
        }
        mixed
    }
}

impl Drop for MixedWatch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl fmt::Display for Mixed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.2} + {:.2}", self.before_commit.as_secs_f64(), self.after_commit.as_secs_f64())
    }
}
