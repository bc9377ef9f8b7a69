//! The counters over all Pods, which never fall: those of a Pod that is gone, or whose nginx was started anew, are kept.

use std::collections::BTreeMap;

use cutover_core::api::{Group, Slot};

use super::readings::Readings;
use crate::agent::ReadingNumber;

/// What was counted.
#[derive(Clone, Debug, Default)]
pub(super) struct Sums {
    /// The last group of each Pod that has ever answered, by the Pod's unique id.
    last: BTreeMap<String, (ReadingNumber, Group)>,
    /// What was counted before an nginx was started anew, as one group.
    gone: Option<Group>,
}

impl Sums {
    /// Adds a reading, and returns the group over all. `None`: no agent has ever answered.
    pub(super) fn add(&mut self, readings: &Readings) -> Option<Group> {
        for reading in readings.iter() {
            let Some(group) = reading.group() else { continue };
            let (uid, number) = (&reading.pod.uid, reading.number());
            if self.last.get(uid).is_some_and(|(newer, _)| *newer > number) {
                continue;
            }
            let before = self.last.insert(uid.clone(), (number, group.clone()));
            if let Some((_, before)) = before.filter(|(_, before)| is_restarted(before, group)) {
                self.keep(before);
            }
        }
        let is_there = |uid: &str| readings.iter().any(|reading| reading.pod.uid == uid);
        for (_, (_, group)) in self.last.iter_mut().filter(|(uid, _)| !is_there(uid)) {
            end(group);
        }
        let all: Vec<&Group> = self.last.values().map(|(_, group)| group).chain(&self.gone).collect();
        Group::merged(&all)
    }

    fn keep(&mut self, mut group: Group) {
        end(&mut group);
        self.gone = match self.gone.take() {
            Some(gone) => Group::merged(&[&gone, &group]),
            None => Some(group),
        };
    }
}

/// Leaves what was counted: all that was in flight has ended with nginx.
fn end(group: &mut Group) {
    for slot in &mut group.slots {
        slot.counters.in_flight = 0;
        slot.previews.in_flight = 0;
        (slot.upgraded, slot.previews.upgraded) = (0, 0);
        slot.peers.clear();
    }
    group.route.trial = None;
}

/// Whether nginx has begun to count anew.
fn is_restarted(before: &Group, now: &Group) -> bool {
    let fell = |slot: &Slot| {
        now.slot(&slot.name).is_some_and(|now| {
            now.counters.requests < slot.counters.requests || now.counters.attempts < slot.counters.attempts
        })
    };
    before.slots.iter().any(fell)
}

#[cfg(test)]
mod tests {
    use super::super::readings::tests::{group, numbered, reading, silent};
    use super::*;

    fn requests(sums: &mut Sums, readings: Vec<super::super::readings::Reading>) -> (u64, u64) {
        let group = sums.add(&Readings::new(readings)).unwrap();
        let blue = group.slot("blue").unwrap();
        (blue.counters.requests, blue.counters.in_flight)
    }

    #[test]
    fn sums_never_fall() {
        let mut sums = Sums::default();
        let of = |name, requests| reading(name, 1, group("blue", requests));
        assert_eq!(requests(&mut sums, vec![of("a", 100), of("b", 10)]), (110, 2));
        assert_eq!(requests(&mut sums, vec![of("a", 101), silent("b")]), (111, 2), "b does not answer");
        assert_eq!(requests(&mut sums, vec![of("a", 102), of("b", 3)]), (115, 2), "nginx of b is new");
        assert_eq!(requests(&mut sums, vec![of("b", 4)]), (116, 1), "a is gone");
        assert_eq!(requests(&mut sums, vec![of("b", 5), of("c", 1)]), (118, 2), "c is new");
        assert_eq!(requests(&mut sums, vec![of("c", 2)]), (119, 1), "b is gone, too");
        assert_eq!(requests(&mut sums, vec![of("b", 6), of("c", 2)]), (120, 2), "b was only not listed");
    }

    #[test]
    fn an_answer_that_was_overtaken_is_no_restart() {
        let mut sums = Sums::default();
        let of = |number, requests| numbered(reading("a", 1, group("blue", requests)), number);
        assert_eq!(requests(&mut sums, vec![of(2, 100)]), (100, 1));
        assert_eq!(requests(&mut sums, vec![of(1, 90)]), (100, 1), "an older one");
        assert_eq!(requests(&mut sums, vec![of(3, 10)]), (110, 1), "nginx is new");
    }

    #[test]
    fn nobody_has_answered() {
        assert!(Sums::default().add(&Readings::new(vec![silent("a")])).is_none());
    }
}
