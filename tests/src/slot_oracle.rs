//! The judge of slots: which slot may answer a request, given when it was sent and when switches were called.
//!
//! ```text
//!            announced          acknowledged
//! -- from ------|====== either ======|------- to -------> time
//!                   ^ sent here: from or to   ^ sent here: only `to`, or the answer is stale
//! ```
//!
//! Whoever calls the switch [`announce`](SlotOracle::announce)s it before and [`acknowledge`](Announced::acknowledge)s it
//! after the call has returned. Whoever only watches the route [`observe`](SlotOracle::observe)s: the announcement is then the
//! begin of the last look that saw the old generation, the acknowledgment the end of the first that saw the new one.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Instant;

/// Which slot should answer, over time.
#[derive(Debug)]
pub struct SlotOracle {
    first: String,
    changes: RwLock<Vec<Change>>,
}

#[derive(Clone, Debug)]
struct Change {
    announced: Instant,
    /// When the call returned and which slot the traffic has from then on.
    ended: Option<(Instant, String)>,
    to: String,
}

/// A switch that has been announced and whose call has not returned.
#[derive(Debug)]
#[must_use = "until it is acknowledged, both slots may answer"]
pub struct Announced {
    expected: Arc<SlotOracle>,
    index: usize,
}

impl SlotOracle {
    /// All traffic belongs to `slot` so far.
    pub fn new(slot: &str) -> Arc<Self> {
        Arc::new(Self { first: slot.to_owned(), changes: RwLock::default() })
    }

    /// A switch to `slot` is about to be called.
    pub fn announce(self: &Arc<Self>, slot: &str) -> Announced {
        let mut changes = self.changes.write().unwrap_or_else(PoisonError::into_inner);
        changes.push(Change { announced: Instant::now(), ended: None, to: slot.to_owned() });
        Announced { expected: Arc::clone(self), index: changes.len() - 1 }
    }

    /// The route was seen on `slot`; a look that began at `last_old` had still seen it before this change.
    pub fn observe(&self, slot: &str, last_old: Instant) {
        let mut changes = self.changes.write().unwrap_or_else(PoisonError::into_inner);
        let ended = Some((Instant::now(), slot.to_owned()));
        changes.push(Change { announced: last_old, ended, to: slot.to_owned() });
    }

    /// The slot that has the traffic since the last acknowledged change.
    pub fn settled(&self) -> String {
        let changes = self.changes.read().unwrap_or_else(PoisonError::into_inner);
        let ended = changes.iter().rev().find_map(|change| change.ended.as_ref());
        ended.map_or_else(|| self.first.clone(), |(_, slot)| slot.clone())
    }

    /// Whether `slot` may have answered a request of which the first byte was sent at `sent` and the last byte of the
    /// answer came at `answered`.
    ///
    /// Exact for switches that are called; for observed ones a `false` may turn to `true` once the change has
    /// been observed, never the other way round.
    pub fn allows(&self, slot: &str, sent: Instant, answered: Instant) -> bool {
        let changes = self.changes.read().unwrap_or_else(PoisonError::into_inner);
        for change in changes.iter().rev() {
            match &change.ended {
                // The last change that was over when the request was sent: it settles the rest.
                Some((ended, settled)) if *ended <= sent => return settled == slot,
                _ if change.announced < answered && change.to == slot => return true,
                _ => {}
            }
        }
        self.first == slot
    }
}

impl Announced {
    /// The call has returned: from this instant on, traffic belongs to the new slot alone.
    pub fn acknowledge(self) {
        let mut changes = self.expected.changes.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(change) = changes.get_mut(self.index) {
            // Under the lock: no judgment can be passed between this instant and its entry in the record.
            change.ended = Some((Instant::now(), change.to.clone()));
        }
    }

    /// The call has failed and traffic is still, or again, on `slot`.
    pub fn withdraw(self, slot: &str) {
        let mut changes = self.expected.changes.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(change) = changes.get_mut(self.index) {
            change.ended = Some((Instant::now(), slot.to_owned()));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn during_the_call_either_afterwards_only_the_new_one() {
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
    fn there_and_back_while_one_request_is_under_way() {
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
    fn an_observed_switch_may_have_happened_since_the_last_look() {
        let expected = SlotOracle::new("blue");
        let look = Instant::now();
        let sent = Instant::now();
        assert!(!expected.allows("green", sent, Instant::now()));
        expected.observe("green", look);
        assert!(expected.allows("green", sent, Instant::now()));
        assert!(!expected.allows("blue", Instant::now(), Instant::now()));
    }

    #[test]
    fn a_failed_call_changes_nothing() {
        let expected = SlotOracle::new("blue");
        expected.announce("green").withdraw("blue");
        assert!(expected.allows("blue", Instant::now(), Instant::now()));
        assert!(!expected.allows("green", Instant::now(), Instant::now()));
    }
}
