//! The oracle of slots: which slot may answer a request, given when it was sent and when switches were called.
//!
//! ```text
//!            announced          acknowledged
//! -- from ------|====== either ======|------- to -------> time
//!                   ^ sent here: from or to   ^ sent here: only `to`; another answer is stale
//! ```
//!
//! `to` is one slot, or the two of a split.
//!
//! A caller of the switch [`announce`](SlotOracle::announce)s it before the call and
//! [`acknowledge`](Announced::acknowledge)s it after the call has returned. A watcher of the route
//! [`observe`](SlotOracle::observe)s it: the announcement is then the beginning of the last query that returned the old
//! generation, the acknowledgment the end of the first query that returned the new one.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Instant;

/// The slots that may answer, over time.
#[derive(Debug)]
pub struct SlotOracle {
    first: String,
    changes: RwLock<Vec<Change>>,
}

#[derive(Clone, Debug)]
struct Change {
    announced: Instant,
    /// When the call returned, and which slots have the traffic from then on.
    ended: Option<(Instant, Vec<String>)>,
    to: Vec<String>,
}

/// A switch whose call has not returned yet.
#[derive(Debug)]
#[must_use = "until it is acknowledged, both slots may answer"]
pub struct Announced {
    expected: Arc<SlotOracle>,
    index: usize,
}

impl SlotOracle {
    /// An oracle for traffic that goes to `slot`.
    pub fn new(slot: &str) -> Arc<Self> {
        Arc::new(Self { first: slot.to_owned(), changes: RwLock::default() })
    }

    /// Records that a switch to `slot` is about to be called.
    pub fn announce(self: &Arc<Self>, slot: &str) -> Announced {
        let mut changes = self.changes.write().unwrap_or_else(PoisonError::into_inner);
        changes.push(Change { announced: Instant::now(), ended: None, to: vec![slot.to_owned()] });
        Announced { expected: Arc::clone(self), index: changes.len() - 1 }
    }

    /// Records that the route was seen on `slots`, and that a query that began at `last_old` still returned the old route.
    pub fn observe(&self, slots: &[&str], last_old: Instant) {
        let mut changes = self.changes.write().unwrap_or_else(PoisonError::into_inner);
        let to: Vec<String> = slots.iter().map(|slot| (*slot).to_owned()).collect();
        changes.push(Change { announced: last_old, ended: Some((Instant::now(), to.clone())), to });
    }

    /// The slot that has had the traffic since the last acknowledged change; the active one of a split.
    pub fn settled(&self) -> String {
        let changes = self.changes.read().unwrap_or_else(PoisonError::into_inner);
        let ended = changes.iter().rev().find_map(|change| change.ended.as_ref());
        ended.and_then(|(_, slots)| slots.first()).unwrap_or(&self.first).clone()
    }

    /// Whether `slot` may have answered a request that was sent at `sent` and whose answer was complete at `answered`.
    ///
    /// This is exact for switches that are called. For observed switches, `false` may become `true` once the change has
    /// been observed, but never the reverse.
    pub fn allows(&self, slot: &str, sent: Instant, answered: Instant) -> bool {
        let changes = self.changes.read().unwrap_or_else(PoisonError::into_inner);
        for change in changes.iter().rev() {
            match &change.ended {
                // The last change that had ended when the request was sent: earlier ones do not matter.
                Some((ended, settled)) if *ended <= sent => return settled.iter().any(|one| one == slot),
                _ if change.announced < answered && change.to.iter().any(|one| one == slot) => return true,
                _ => {}
            }
        }
        self.first == slot
    }
}

impl Announced {
    /// Records that the call has returned: from now on only the new slot may answer.
    pub fn acknowledge(self) {
        let mut changes = self.expected.changes.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(change) = changes.get_mut(self.index) {
            // The lock makes the timestamp and its entry one step for `allows`.
            change.ended = Some((Instant::now(), change.to.clone()));
        }
    }

    /// Records that the call has failed and that `slot` has the traffic.
    pub fn withdraw(self, slot: &str) {
        let mut changes = self.expected.changes.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(change) = changes.get_mut(self.index) {
            change.ended = Some((Instant::now(), vec![slot.to_owned()]));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn both_slots_may_answer_during_the_call_and_only_the_new_one_afterwards() {
        let expected = SlotOracle::new("blue");
        let before = Instant::now();
        assert!(expected.allows("blue", before, Instant::now()));
        assert!(!expected.allows("green", before, Instant::now()));
        let call = expected.announce("green");
        let during = Instant::now();
        assert!(expected.allows("blue", during, Instant::now()));
        assert!(expected.allows("green", during, Instant::now()));
        call.acknowledge();
        let after = Instant::now();
        assert!(!expected.allows("blue", after, after));
        assert!(expected.allows("green", after, after));
        // Sent before the call, answered after it.
        assert!(expected.allows("blue", before, after));
        assert!(expected.allows("green", before, after));
        assert_eq!(expected.settled(), "green");
    }

    #[test]
    fn two_switches_during_one_request_allow_both_slots() {
        let expected = SlotOracle::new("blue");
        let sent = Instant::now();
        expected.announce("green").acknowledge();
        expected.announce("blue").acknowledge();
        assert!(expected.allows("green", sent, Instant::now()));
        assert!(expected.allows("blue", sent, Instant::now()));
        assert!(!expected.allows("green", Instant::now(), Instant::now()));
    }

    #[test]
    fn an_answer_from_the_new_slot_before_its_announcement_is_wrong() {
        let expected = SlotOracle::new("blue");
        let sent = Instant::now();
        let answered = Instant::now();
        std::thread::sleep(Duration::from_millis(1));
        expected.announce("green").acknowledge();
        assert!(!expected.allows("green", sent, answered));
    }

    #[test]
    fn an_observed_switch_may_have_happened_since_the_last_query() {
        let expected = SlotOracle::new("blue");
        let look = Instant::now();
        let sent = Instant::now();
        assert!(!expected.allows("green", sent, Instant::now()));
        expected.observe(&["green"], look);
        assert!(expected.allows("green", sent, Instant::now()));
        assert!(!expected.allows("blue", Instant::now(), Instant::now()));
    }

    #[test]
    fn both_slots_of_a_split_may_answer_until_it_ends() {
        let expected = SlotOracle::new("blue");
        expected.observe(&["blue", "green"], Instant::now());
        let during = Instant::now();
        for slot in ["blue", "green"] {
            assert!(expected.allows(slot, during, Instant::now()), "{slot}");
        }
        assert!(!expected.allows("red", during, Instant::now()));
        assert_eq!(expected.settled(), "blue");
        expected.observe(&["blue"], Instant::now());
        let after = Instant::now();
        assert!(!expected.allows("green", after, Instant::now()), "its share has gone back");
        assert!(expected.allows("green", during, Instant::now()));
    }

    #[test]
    fn a_failed_call_changes_nothing() {
        let expected = SlotOracle::new("blue");
        expected.announce("green").withdraw("blue");
        assert!(expected.allows("blue", Instant::now(), Instant::now()));
        assert!(!expected.allows("green", Instant::now(), Instant::now()));
    }
}
