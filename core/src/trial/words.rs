//! The words of a trial, and which process may write them.
//!
//! The process that moves the route with the bit *armed* is alone in arming that generation: first terms and lease, then the trial
//! word. Words whose tag does not belong to the route's generation arm nothing. A late writer damages no newer trial: a word is
//! written by compare-and-swap, over what was there while the route was still the writer's.
//!
//! The trial word is the one place where a trial ends. Guard, lease and `confirm` each try to move it away from *armed* by
//! compare-and-swap, so exactly one of them wins; what follows from it (the route goes back) anybody may finish, also after
//! the winner was killed. A renewal counts up in the same word, so a lease that was renewed cannot expire by its old deadline;
//! and it only ever moves the deadline on, so a late one does not undo another.

use super::encoding::{
    self, PAYLOAD, decode_lease, decode_terms, encode_lease, encode_terms, has_tag, is_armed, renewals, tag,
    trial_word,
};
use super::{Deadline, Rescue, Stage, Terms, Trial, Watch};
use crate::route::{Route, RouteWord};
use crate::sync::{AtomicU64, Ordering};

/// The words of one group, in memory that all processes of nginx share.
#[repr(C)]
#[derive(Debug, Default)]
pub struct TrialWords {
    trial: AtomicU64,
    terms: [AtomicU64; 3],
    lease: [AtomicU64; 2],
}

impl TrialWords {
    /// Arms the trial of a route that the caller has just moved, with the bit *armed*. `boot` tells one run of the system
    /// from another. `false`: the route has moved on before its trial was armed, or is about to.
    pub fn arm(
        &self,
        word: &RouteWord,
        route: Route,
        terms: &Terms,
        lease: Option<Deadline>,
        boot: u16,
    ) -> bool {
        let anew = |_, next| next;
        let written = put(&self.terms, encode_terms(terms, boot), anew, word, route)
            && put(&self.lease, encode_lease(lease), anew, word, route);
        // Release: a process that sees this word sees the terms. Never back to an older generation, should this writer be late.
        let word = trial_word(route.generation, Stage::Armed, 0);
        written && self.trial.fetch_max(word, Ordering::AcqRel) < word
    }

    /// Makes it too late to arm this route: the process that should have armed it died. `false`: it is armed, or the route has
    /// moved.
    pub fn give_up(&self, route: Route) -> bool {
        let seen = self.trial.load(Ordering::Acquire);
        if seen < trial_word(route.generation, Stage::Armed, 0) {
            self.replace(seen, trial_word(route.generation, Stage::Expired, 0))
        } else {
            // Given up already, by a process that was killed before the route went back.
            seen == trial_word(route.generation, Stage::Expired, 0)
        }
    }

    /// The trial of this route; `None` if it was never armed, or not completely.
    pub fn read(&self, route: Route) -> Option<Trial> {
        let word = self.trial.load(Ordering::Acquire);
        if encoding::generation(word) != route.generation {
            return None;
        }
        let stage = encoding::stage(word)?;
        let (terms, _) = decode_terms(tagged(&self.terms, route.generation)?)?;
        let lease = decode_lease(tagged(&self.lease, route.generation)?);
        Some(Trial { word, stage, terms, lease })
    }

    /// What was armed with the route of this generation, whether it still is the route or not; `None` once other terms have
    /// taken their place.
    pub fn terms_of(&self, generation: u32) -> Option<Terms> {
        let (terms, _) = decode_terms(tagged(&self.terms, generation)?)?;
        Some(terms)
    }

    /// Whether requests may just follow a route that is armed: nothing of its trial is due. `false`: look at it whole.
    #[inline]
    pub fn is_quiet(&self, generation: u32, now_monotonic_ms: u64) -> bool {
        let word = self.trial.load(Ordering::Acquire);
        let [deadline, _] = &self.lease;
        let deadline = deadline.load(Ordering::Acquire);
        // Without a lease it is 0, which gets as far off as can be.
        let ends = (deadline & PAYLOAD).wrapping_sub(1);
        is_armed(word, generation) && has_tag(deadline, generation) && ends >= now_monotonic_ms
    }

    /// Whose failed attempts are rescued, and where, if the trial of this generation is under way and has that.
    #[inline]
    pub fn rescue(&self, generation: u32) -> Option<Rescue> {
        let [.., slots] = &self.terms;
        let slots = slots.load(Ordering::Acquire);
        let armed = is_armed(self.trial.load(Ordering::Acquire), generation) && has_tag(slots, generation);
        if !armed || !encoding::has_rescue(slots) {
            return None;
        }
        Some(Rescue { from: encoding::slot(slots)?, to: encoding::fallback(slots)? })
    }

    /// The same for a trial that has ended, for a request that began before: until other terms have taken its place, and unless
    /// it is held. `None` for one under way.
    pub fn ended_rescue(&self, generation: u32) -> Option<Rescue> {
        let word = self.trial.load(Ordering::Acquire);
        let stage = encoding::stage(word).filter(|_| encoding::generation(word) == generation);
        if matches!(stage, Some(Stage::Armed | Stage::Held)) {
            return None;
        }
        let terms = self.terms_of(generation).filter(|terms| terms.rescue)?;
        Some(Rescue { from: terms.slot, to: terms.fallback })
    }

    /// Whether no trial was armed yet for a route of this generation that has the bit *armed*.
    pub fn is_unfinished(&self, generation: u32) -> bool {
        encoding::generation(self.trial.load(Ordering::Acquire)) != generation
    }

    /// What is needed to count one request of a trial that is under way.
    #[inline]
    pub fn watch(&self, generation: u32) -> Option<Watch> {
        let [_, times, slots] = &self.terms;
        let (times, slots) = (times.load(Ordering::Acquire), slots.load(Ordering::Acquire));
        let ours = has_tag(times, generation) && has_tag(slots, generation);
        if !ours || !is_armed(self.trial.load(Ordering::Acquire), generation) {
            return None;
        }
        let slow_us = match encoding::slow_ms(times) {
            0 => u64::MAX,
            slow_ms => u64::from(slow_ms) * 1000,
        };
        Some(Watch { slot: encoding::slot(slots)?, window_ms: encoding::window_ms(times), slow_us })
    }

    /// Ends the trial that was read in this stage. `false`: it has ended, or was renewed, meanwhile.
    pub fn end(&self, seen: &Trial, stage: Stage) -> bool {
        let next = trial_word(encoding::generation(seen.word), stage, renewals(seen.word));
        seen.stage == Stage::Armed && self.replace(seen.word, next)
    }

    /// Confirms the change: also one whose trial was held. `false`: it has ended otherwise, or was renewed, meanwhile.
    pub fn confirm(&self, seen: &Trial) -> bool {
        let next = trial_word(encoding::generation(seen.word), Stage::Confirmed, renewals(seen.word));
        !seen.stage.goes_back() && self.replace(seen.word, next)
    }

    /// Moves the end of the lease, unless it ends later already. `false`: the trial has ended, or was renewed by another process,
    /// or the route has moved, meanwhile.
    pub fn renew(&self, word: &RouteWord, route: Route, seen: &Trial, lease: Deadline) -> bool {
        if seen.stage != Stage::Armed {
            return false;
        }
        // The later one: a late renewal must not shorten one that was granted meanwhile.
        if !put(&self.lease, encode_lease(Some(lease)), u64::max, word, route) {
            return false;
        }
        let next = trial_word(encoding::generation(seen.word), Stage::Armed, renewals(seen.word) + 1);
        self.replace(seen.word, next)
    }

    /// After a reboot the monotonic clock has begun anew: the lease goes on by the wall clock. To be called when nobody else
    /// uses the words.
    pub fn rebase(&self, route: Route, boot: u16, now: Deadline) {
        let words = tagged(&self.terms, route.generation);
        let Some((trial, words)) = self.read(route).zip(words) else { return };
        if decode_terms(words).is_none_or(|(_, armed_in)| armed_in == boot) {
            return;
        }
        let lease = trial.lease.map(|lease| lease.rebased(now));
        let payloads = encode_terms(&trial.terms, boot).into_iter().chain(encode_lease(lease));
        for (place, payload) in self.terms.iter().chain(&self.lease).zip(payloads) {
            place.store(tag(route.generation) | payload, Ordering::Release);
        }
    }

    fn replace(&self, seen: u64, next: u64) -> bool {
        self.trial.compare_exchange(seen, next, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }
}

/// What is in the words, if all of them have the tag of this generation.
fn tagged<const N: usize>(words: &[AtomicU64; N], generation: u32) -> Option<[u64; N]> {
    let words = words.each_ref().map(|word| word.load(Ordering::Acquire));
    words.iter().all(|word| has_tag(*word, generation)).then(|| words.map(|word| word & PAYLOAD))
}

/// Writes words of this route's trial. `false`: the route has moved, and what is there may belong to the trial after it.
/// `choose` gets what is there and what is new.
fn put<const N: usize>(
    places: &[AtomicU64; N],
    payloads: [u64; N],
    choose: impl Fn(u64, u64) -> u64,
    word: &RouteWord,
    route: Route,
) -> bool {
    places.iter().zip(payloads).all(|(place, payload)| {
        loop {
            let seen = place.load(Ordering::Acquire);
            // A later trial is written after the route has moved: a process that has seen a word of it sees that too.
            if word.load().generation() != route.generation {
                return false;
            }
            let next = choose(seen, tag(route.generation) | payload);
            if place.compare_exchange(seen, next, Ordering::AcqRel, Ordering::Acquire).is_ok() {
                return true;
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fraction::Fraction;
    use crate::guard::Guard;
    use crate::route::Destination;
    use crate::slot::SlotId;

    fn id(id: u8) -> SlotId {
        SlotId::new(id).unwrap()
    }

    fn route(generation: u32) -> Route {
        Route { to: Destination { active: id(2), split: None, armed: true }, generation }
    }

    /// A word that reads as this route.
    fn word(route: Route) -> RouteWord {
        let word = RouteWord::default();
        while word.load().generation() < route.generation {
            word.switch(word.load(), None, route.to).unwrap();
        }
        word
    }

    fn armed(generation: u32, terms: &Terms, lease: Option<Deadline>, boot: u16) -> TrialWords {
        let words = TrialWords::default();
        assert!(words.arm(&word(route(generation)), route(generation), terms, lease, boot));
        words
    }

    fn terms() -> Terms {
        let guard = Guard {
            min_requests: Guard::MAX_REQUESTS,
            max_error_ratio: Fraction::from_parts(10_000),
            max_slow_ratio: None,
            slow_ms: Guard::MAX_MS,
            window_ms: Guard::MAX_MS,
        };
        Terms { slot: id(2), fallback: id(1), guard: Some(guard), rescue: true }
    }

    fn at(ms: u64) -> Deadline {
        Deadline { monotonic_ms: ms, wall_ms: 1_700_000_000_000 + ms }
    }

    #[test]
    fn terms_survive_their_words() {
        let all =
            [terms(), Terms { guard: None, ..terms() }, Terms { rescue: false, slot: id(15), ..terms() }];
        for (generation, terms) in (1u32..).zip(all) {
            let words = armed(generation, &terms, Some(at(5)), 77);
            let trial = words.read(route(generation)).unwrap();
            assert_eq!((trial.stage, trial.terms, trial.lease), (Stage::Armed, terms, Some(at(5))));
        }
    }

    #[test]
    fn a_rescue_outlives_its_trial_for_what_began_under_it() {
        let rescue = Some(Rescue { from: id(2), to: id(1) });
        for stage in [Stage::Tripped, Stage::Expired, Stage::Confirmed] {
            let words = armed(7, &terms(), None, 0);
            assert_eq!((words.rescue(7), words.ended_rescue(7)), (rescue, None));
            let trial = words.read(route(7)).unwrap();
            assert!(words.end(&trial, stage));
            assert_eq!((words.rescue(7), words.ended_rescue(7)), (None, rescue), "{stage:?}");
            assert_eq!(words.ended_rescue(6), None);
            assert!(words.arm(&word(route(8)), route(8), &terms(), None, 0));
            assert_eq!(words.ended_rescue(7), None, "other terms have taken their place");
        }
        let held = armed(7, &terms(), None, 0);
        assert!(held.end(&held.read(route(7)).unwrap(), Stage::Held));
        assert_eq!(held.ended_rescue(7), None, "at rest");
        let without = armed(7, &Terms { rescue: false, ..terms() }, None, 0);
        assert!(without.end(&without.read(route(7)).unwrap(), Stage::Tripped));
        assert_eq!(without.ended_rescue(7), None);
    }

    #[test]
    fn words_of_another_generation_arm_nothing() {
        let words = TrialWords::default();
        assert_eq!(words.read(route(1)), None);
        assert!(words.arm(&word(route(7)), route(7), &terms(), None, 0));
        assert!(words.read(route(7)).is_some());
        assert_eq!(words.read(route(8)), None);
        assert_eq!(words.read(route(7 + 0x10000)), None, "the tag alone does not decide");
        assert!(!words.arm(&word(route(7)), route(6), &terms(), None, 0), "late");
        assert_eq!(words.read(route(6)), None, "a late writer does not bring an old trial back");
        assert!(words.read(route(7)).is_some(), "and spoils no newer one");
    }

    #[test]
    fn short_questions_agree_with_a_whole_look() {
        let words = TrialWords::default();
        assert!(!words.is_quiet(3, 0) && words.is_unfinished(3), "never armed");
        assert!(words.arm(&word(route(3)), route(3), &terms(), Some(at(500)), 0));
        assert!(words.is_quiet(3, 499));
        assert!(!words.is_quiet(3, 500), "the lease is over");
        assert!(!words.is_quiet(4, 0));
        assert_eq!(words.rescue(3), Some(Rescue { from: id(2), to: id(1) }));
        assert_eq!(words.rescue(4), None);
        let watch = words.watch(3).unwrap();
        assert_eq!(
            (watch.slot, watch.window_ms, watch.slow_us),
            (id(2), Guard::MAX_MS, u64::from(Guard::MAX_MS) * 1000)
        );
        assert_eq!(words.watch(4), None);
        let seen = words.read(route(3)).unwrap();
        assert!(words.end(&seen, Stage::Tripped));
        assert!(!words.is_quiet(3, 0));
        assert_eq!((words.rescue(3), words.watch(3)), (None, None));

        let bare = Terms { guard: None, rescue: false, ..terms() };
        assert!(words.arm(&word(route(5)), route(5), &bare, None, 0));
        assert!(words.is_quiet(5, u64::from(u32::MAX)), "no lease, no end");
        assert_eq!(words.rescue(5), None);
        assert_eq!(words.watch(5).unwrap(), Watch { slot: id(2), window_ms: 0, slow_us: u64::MAX });
    }

    #[test]
    fn what_was_given_up_is_not_armed() {
        let words = TrialWords::default();
        assert!(words.give_up(route(1)));
        assert!(words.give_up(route(1)), "the one that did may have been killed at it");
        assert!(!words.arm(&word(route(1)), route(1), &terms(), None, 0));
        let words = armed(2, &terms(), None, 0);
        assert!(!words.give_up(route(1)), "the route has moved");
        assert!(!words.give_up(route(2)), "it is armed");
        assert!(words.read(route(2)).is_some());
    }

    #[test]
    fn only_one_ends_a_trial() {
        let words = armed(1, &terms(), Some(at(5)), 0);
        let seen = words.read(route(1)).unwrap();
        assert!(words.confirm(&seen));
        assert!(!words.end(&seen, Stage::Expired));
        assert_eq!(words.read(route(1)).unwrap().stage, Stage::Confirmed);
    }

    #[test]
    fn a_renewed_lease_does_not_expire_by_its_old_deadline() {
        let words = armed(1, &terms(), Some(at(5)), 0);
        let seen = words.read(route(1)).unwrap();
        assert!(words.renew(&word(route(1)), route(1), &seen, at(500)));
        assert!(!words.end(&seen, Stage::Expired));
        let now = words.read(route(1)).unwrap();
        assert_eq!((now.stage, now.lease), (Stage::Armed, Some(at(500))));
        assert!(words.renew(&word(route(1)), route(1), &now, at(400)));
        let now = words.read(route(1)).unwrap();
        assert_eq!(now.lease, Some(at(500)), "a renewal shortens nothing");
        assert!(words.end(&now, Stage::Expired));
        assert!(!words.renew(&word(route(1)), route(1), &words.read(route(1)).unwrap(), at(900)));
        assert!(!words.confirm(&words.read(route(1)).unwrap()), "what goes back cannot be confirmed");
    }

    #[test]
    fn a_held_trial_can_be_confirmed() {
        let words = armed(1, &terms(), None, 0);
        assert!(words.end(&words.read(route(1)).unwrap(), Stage::Held));
        assert!(words.confirm(&words.read(route(1)).unwrap()));
    }

    #[test]
    fn after_a_reboot_the_lease_goes_on_by_the_wall_clock() {
        let words = armed(1, &terms(), Some(at(90_000)), 1);
        words.rebase(route(1), 1, at(80_000));
        assert_eq!(words.read(route(1)).unwrap().lease, Some(at(90_000)), "the same boot: nothing to do");
        let now = Deadline { monotonic_ms: 3_000, wall_ms: at(85_000).wall_ms };
        words.rebase(route(1), 2, now);
        assert_eq!(words.read(route(1)).unwrap().lease.unwrap().left(3_000), 5_000);
        let late = Deadline { monotonic_ms: 4_000, wall_ms: at(95_000).wall_ms };
        words.rebase(route(1), 3, late);
        assert_eq!(
            words.read(route(1)).unwrap().lease.unwrap().left(4_000),
            0,
            "ran out while the host was down"
        );
    }
}
