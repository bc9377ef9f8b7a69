//! What the active slot did in the last minutes: the next deployment compares with that.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use cutover_core::deployment::Revision;
use cutover_core::verdict::evidence::Evidence;
use cutover_core::verdict::{Past, Reading, Thousands};
use cutover_engine::fleet::View;
use cutover_engine::policy::Policy;

/// The active slot and the revision of its route on each edge. While both stay, so does the version that has the traffic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::control) struct Route {
    slot: String,
    revisions: BTreeMap<String, Revision>,
}

/// The past of the active slot since it has its route.
#[derive(Debug)]
pub(super) struct ActivePast {
    route: Route,
    kept: Duration,
    past: Past,
}

/// What the active slot did in the last minutes.
#[derive(Clone, Debug)]
pub(in crate::control) struct Served {
    slot: String,
    pub(in crate::control) took: Duration,
    pub(in crate::control) evidence: Evidence,
}

/// Text as in `9 min of slot "blue", 4,213 answers`.
impl fmt::Display for Served {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.took.as_secs() {
            seconds @ ..60 => write!(f, "{seconds} s")?,
            seconds => write!(f, "{} min", seconds / 60)?,
        }
        write!(f, " of slot \"{}\", {} answers", self.slot, Thousands(self.evidence.answers().of))
    }
}

impl Route {
    pub(in crate::control) fn of(view: &View) -> Self {
        Self { slot: view.route().active.clone(), revisions: view.revisions() }
    }
}

impl ActivePast {
    /// What the slot did until this reading. `None` if it had no answer, or the route has moved.
    pub(super) fn known(&mut self, route: &Route, reading: &Reading) -> Option<Served> {
        if self.route != *route {
            return None;
        }
        self.past.observe(reading, self.kept);
        let (took, evidence) = self.past.known();
        let known = Served { slot: self.route.slot.clone(), took, evidence };
        Some(known).filter(|known| known.evidence.answers().of > 0)
    }
}

/// Adds a reading. Begins anew if the route has moved. The time in which no server was healthy says nothing about the version.
pub(super) fn observe(
    past: &mut Option<ActivePast>,
    route: &Route,
    reading: &Reading,
    policy: &Policy,
    is_serving: bool,
) {
    let kept = policy.soak.baseline.get();
    if kept.is_zero() || !is_serving {
        *past = None;
        return;
    }
    let before = past.take().filter(|past| past.route == *route);
    let mut now = before.unwrap_or_else(|| ActivePast { route: route.clone(), kept, past: Past::default() });
    now.kept = kept;
    now.past.observe(reading, kept);
    *past = Some(now);
}
