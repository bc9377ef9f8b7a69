//! A change on trial: what is armed with it, and how the trial ends.
//!
//! ```text
//! offset 0   trial   generation 32 | phase 4 | renewals 28
//!        8   terms   tag 16 | min_requests 20 | max_error_ratio 14 | max_slow_ratio 14
//!       16   terms   tag 16 | slow_ms 24 | window_ms 24
//!       24   terms   tag 16 | boot 16 | 0 | rescue 1 | slot 4 | fallback 4
//!       32   lease   tag 16 | deadline in ms of the monotonic clock 48      0: no lease
//!       40   lease   tag 16 | deadline in ms of the wall clock 48
//! ```
//!
//! The words stand beside the route word of the group. Whoever moves the route with the bit *armed* is alone in arming
//! that generation: first terms and lease, then the trial word. A tag is the low half of the generation: words that do not
//! belong to the route's generation arm nothing. Somebody late damages no newer trial: a word is written by compare-and-swap,
//! over what was there while the route was still the writer's.
//!
//! The trial word is the one place where a trial ends. Guard, lease and `confirm` each try to move it away from *armed* by
//! compare-and-swap, so exactly one of them wins; what follows from it (the route goes back) anybody may finish, also after
//! the winner was killed. A renewal counts up in the same word, so a lease that was renewed cannot expire by its old deadline;
//! and it only ever moves the deadline on, so a late one does not undo another.

use crate::guard::Guard;
use crate::route::{Destination, Route, RouteWord, SlotId};
use crate::split::Ratio;
use crate::sync::{AtomicU64, Ordering};

/// What is armed with a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// The slot on trial: the one that the change gives traffic to.
    pub slot: SlotId,
    /// The slot that takes all traffic back.
    pub fallback: SlotId,
    /// When the workers take the traffic back because of what the slot answers.
    pub guard: Option<Guard>,
    /// Whether failed attempts on the slot are tried again on the fallback.
    pub rescue: bool,
}

impl Terms {
    /// Where the route goes when the trial fails.
    pub fn way_back(&self) -> Destination {
        self.fallback.into()
    }
}

/// When a lease ends, by two clocks: the monotonic one decides, the other one is for after a reboot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadline {
    /// Milliseconds of the system's monotonic clock.
    pub monotonic_ms: u64,
    /// Milliseconds since 1970.
    pub wall_ms: u64,
}

impl Deadline {
    /// `lease_ms` from now.
    pub fn after(now: Deadline, lease_ms: u32) -> Self {
        Self {
            monotonic_ms: now.monotonic_ms + u64::from(lease_ms),
            wall_ms: now.wall_ms + u64::from(lease_ms),
        }
    }

    /// Milliseconds until then; 0 when it has passed.
    pub fn left(&self, now_monotonic_ms: u64) -> u64 {
        self.monotonic_ms.saturating_sub(now_monotonic_ms)
    }

    /// The same moment for a clock that has begun anew.
    fn rebased(&self, now: Deadline) -> Self {
        Self { monotonic_ms: now.monotonic_ms + self.wall_ms.saturating_sub(now.wall_ms), ..*self }
    }
}

/// How far a trial has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Guard, lease and rescue are at work. Left by any of the others.
    Armed,
    /// Somebody has confirmed the change: it stays.
    Confirmed,
    /// The guard has seen enough: the route goes back.
    Tripped,
    /// The lease ran out: the route goes back.
    Expired,
    /// The guard or the lease wanted to go back, but the fallback was failing too: the route stays, and a human must look.
    Held,
}

impl Phase {
    /// Whether the route of a trial in this phase has to go back.
    pub fn goes_back(self) -> bool {
        matches!(self, Self::Tripped | Self::Expired)
    }

    fn code(self) -> u64 {
        match self {
            Self::Armed => 1,
            Self::Confirmed => 2,
            Self::Tripped => 3,
            Self::Expired => 4,
            Self::Held => 5,
        }
    }

    fn from_code(code: u64) -> Option<Self> {
        [Self::Armed, Self::Confirmed, Self::Tripped, Self::Expired, Self::Held]
            .into_iter()
            .find(|phase| phase.code() == code)
    }
}

/// A trial as it was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trial {
    word: u64,
    /// How far it has come.
    pub phase: Phase,
    /// What is armed.
    pub terms: Terms,
    /// When the lease ends, if there is one.
    pub lease: Option<Deadline>,
}

/// What is needed to count one request of a trial.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Watch {
    /// The slot on trial.
    pub slot: SlotId,
    /// How far back the guard looks, in milliseconds; 0: there is no guard.
    pub window_ms: u32,
    /// A first byte after more microseconds than this is slow.
    pub slow_us: u64,
}

/// Where a request goes that a slot has failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rescue {
    /// The slot on trial.
    pub from: SlotId,
    /// The fallback.
    pub to: SlotId,
}

/// The words of one group, in memory that all processes of nginx share.
#[repr(C)]
#[derive(Debug, Default)]
pub struct TrialWords {
    trial: AtomicU64,
    terms: [AtomicU64; 3],
    lease: [AtomicU64; 2],
}

const TAG_SHIFT: u32 = 48;
const PAYLOAD: u64 = (1 << TAG_SHIFT) - 1;
const PHASE_SHIFT: u32 = 28;
/// The bit for rescue among the slots.
const RESCUE: u64 = 1 << 8;
/// A ratio that is not asked for.
const OFF: u64 = 0x3fff;

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
        // Release: whoever sees this word sees the terms. Never back to an older generation, should this writer be late.
        let word = trial_word(route.generation, Phase::Armed, 0);
        written && self.trial.fetch_max(word, Ordering::AcqRel) < word
    }

    /// Nobody has lived to arm this route: from now on it is too late to. `false`: it is armed, or the route has moved.
    pub fn give_up(&self, route: Route) -> bool {
        let seen = self.trial.load(Ordering::Acquire);
        if seen < trial_word(route.generation, Phase::Armed, 0) {
            self.replace(seen, trial_word(route.generation, Phase::Expired, 0))
        } else {
            // Given up already, by somebody who was killed before the route went back.
            seen == trial_word(route.generation, Phase::Expired, 0)
        }
    }

    /// The trial of this route; `None` if it was never armed, or not completely.
    pub fn read(&self, route: Route) -> Option<Trial> {
        let word = self.trial.load(Ordering::Acquire);
        if (word >> 32) as u32 != route.generation {
            return None;
        }
        let phase = Phase::from_code(word >> PHASE_SHIFT & 0xf)?;
        let (terms, _) = decode_terms(self.tagged(&self.terms, tag_of(route))?)?;
        let [monotonic_ms, wall_ms] = self.tagged(&self.lease, tag_of(route))?;
        let lease = (monotonic_ms != 0).then_some(Deadline { monotonic_ms, wall_ms });
        Some(Trial { word, phase, terms, lease })
    }

    /// What was armed with the route of this generation, whether it still is the route or not; `None` once other terms have
    /// taken their place.
    pub fn terms_of(&self, generation: u32) -> Option<Terms> {
        let (terms, _) = decode_terms(self.tagged(&self.terms, tag(generation))?)?;
        Some(terms)
    }

    /// Whether requests may just follow a route that is armed: nothing of its trial is due. `false`: look at it whole.
    #[inline]
    pub fn is_quiet(&self, generation: u32, now_monotonic_ms: u64) -> bool {
        let word = self.trial.load(Ordering::Acquire);
        let [deadline, _] = &self.lease;
        let deadline = deadline.load(Ordering::Acquire);
        let armed = u64::from(generation) << 4 | Phase::Armed.code();
        let ends = (deadline & PAYLOAD).wrapping_sub(1);
        word >> PHASE_SHIFT == armed && deadline & !PAYLOAD == tag(generation) && ends >= now_monotonic_ms
    }

    /// Whose failed attempts are rescued, and where, if the trial of this generation is under way and has that.
    #[inline]
    pub fn rescue(&self, generation: u32) -> Option<Rescue> {
        let armed = u64::from(generation) << 4 | Phase::Armed.code();
        let [.., slots] = &self.terms;
        let slots = slots.load(Ordering::Acquire);
        let ours =
            self.trial.load(Ordering::Acquire) >> PHASE_SHIFT == armed && slots & !PAYLOAD == tag(generation);
        if !ours || slots & RESCUE == 0 {
            return None;
        }
        let slot = |bits: u64| SlotId::new((bits & 0xf) as u8);
        Some(Rescue { from: slot(slots >> 4)?, to: slot(slots)? })
    }

    /// Whether no trial was armed yet for a route of this generation that has the bit *armed*.
    pub fn is_unfinished(&self, generation: u32) -> bool {
        (self.trial.load(Ordering::Acquire) >> 32) as u32 != generation
    }

    /// What is needed to count one request of a trial that is under way.
    #[inline]
    pub fn watch(&self, generation: u32) -> Option<Watch> {
        let [_, times, slots] = &self.terms;
        let (times, slots) = (times.load(Ordering::Acquire), slots.load(Ordering::Acquire));
        let armed = u64::from(generation) << 4 | Phase::Armed.code();
        let ours = times & !PAYLOAD == tag(generation) && slots & !PAYLOAD == tag(generation);
        if !ours || self.trial.load(Ordering::Acquire) >> PHASE_SHIFT != armed {
            return None;
        }
        let slow_ms = (times & PAYLOAD) >> 24;
        Some(Watch {
            slot: SlotId::new((slots >> 4 & 0xf) as u8)?,
            window_ms: (times & 0xff_ffff) as u32,
            slow_us: if slow_ms == 0 { u64::MAX } else { slow_ms * 1000 },
        })
    }

    /// Ends the trial that was read in this phase. `false`: it has ended, or was renewed, meanwhile.
    pub fn end(&self, seen: &Trial, phase: Phase) -> bool {
        let next = trial_word((seen.word >> 32) as u32, phase, renewals(seen.word));
        seen.phase == Phase::Armed && self.replace(seen.word, next)
    }

    /// Confirms the change: also one whose trial was held. `false`: it has ended otherwise, or was renewed, meanwhile.
    pub fn confirm(&self, seen: &Trial) -> bool {
        let next = trial_word((seen.word >> 32) as u32, Phase::Confirmed, renewals(seen.word));
        !seen.phase.goes_back() && self.replace(seen.word, next)
    }

    /// Moves the end of the lease, unless it ends later already. `false`: the trial has ended, or was renewed by somebody else,
    /// or the route has moved, meanwhile.
    pub fn renew(&self, word: &RouteWord, route: Route, seen: &Trial, lease: Deadline) -> bool {
        if seen.phase != Phase::Armed {
            return false;
        }
        // The later one: whoever is late with a renewal must not shorten one that was granted meanwhile.
        if !put(&self.lease, encode_lease(Some(lease)), u64::max, word, route) {
            return false;
        }
        let next = trial_word((seen.word >> 32) as u32, Phase::Armed, renewals(seen.word) + 1);
        self.replace(seen.word, next)
    }

    /// After a reboot the monotonic clock has begun anew: the lease goes on by the wall clock. To be called when nobody else
    /// uses the words.
    pub fn rebase(&self, route: Route, boot: u16, now: Deadline) {
        let tag = tag_of(route);
        let Some((trial, words)) = self.read(route).zip(self.tagged(&self.terms, tag)) else { return };
        if decode_terms(words).is_none_or(|(_, armed_in)| armed_in == boot) {
            return;
        }
        let lease = trial.lease.map(|lease| lease.rebased(now));
        let payloads = encode_terms(&trial.terms, boot).into_iter().chain(encode_lease(lease));
        for (place, payload) in self.terms.iter().chain(&self.lease).zip(payloads) {
            place.store(tag | payload, Ordering::Release);
        }
    }

    fn tagged<const N: usize>(&self, words: &[AtomicU64; N], tag: u64) -> Option<[u64; N]> {
        let words = words.each_ref().map(|word| word.load(Ordering::Acquire));
        words.iter().all(|word| word & !PAYLOAD == tag).then(|| words.map(|word| word & PAYLOAD))
    }

    fn replace(&self, seen: u64, next: u64) -> bool {
        self.trial.compare_exchange(seen, next, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }
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
            // A later trial is written after the route has moved: whoever has seen a word of it sees that too.
            if word.load().generation() != route.generation {
                return false;
            }
            let next = choose(seen, tag_of(route) | payload);
            if place.compare_exchange(seen, next, Ordering::AcqRel, Ordering::Acquire).is_ok() {
                return true;
            }
        }
    })
}

fn tag_of(route: Route) -> u64 {
    tag(route.generation)
}

fn tag(generation: u32) -> u64 {
    u64::from(generation) << TAG_SHIFT
}

fn trial_word(generation: u32, phase: Phase, renewals: u64) -> u64 {
    u64::from(generation) << 32 | phase.code() << PHASE_SHIFT | renewals & ((1 << PHASE_SHIFT) - 1)
}

fn renewals(word: u64) -> u64 {
    word & ((1 << PHASE_SHIFT) - 1)
}

fn encode_terms(terms: &Terms, boot: u16) -> [u64; 3] {
    let ratio = |ratio: Option<Ratio>| ratio.map_or(OFF, |ratio| u64::from(ratio.parts()));
    let guard = terms.guard.unwrap_or(Guard::OFF);
    [
        u64::from(guard.min_requests) << 28
            | ratio(guard.max_error_ratio) << 14
            | ratio(guard.max_slow_ratio),
        u64::from(guard.slow_ms) << 24 | u64::from(guard.window_ms),
        u64::from(boot) << 32
            | if terms.rescue { RESCUE } else { 0 }
            | u64::from(terms.slot.get()) << 4
            | u64::from(terms.fallback.get()),
    ]
}

fn encode_lease(lease: Option<Deadline>) -> [u64; 2] {
    lease.map_or([0; 2], |at| [at.monotonic_ms & PAYLOAD, at.wall_ms & PAYLOAD])
}

/// The terms, and the boot in which they were armed.
fn decode_terms([limits, times, slots]: [u64; 3]) -> Option<(Terms, u16)> {
    let ratio = |bits: u64| Ratio::from_parts((bits & OFF) as u16);
    let guard = Guard {
        min_requests: (limits >> 28) as u32,
        max_error_ratio: ratio(limits >> 14),
        max_slow_ratio: ratio(limits),
        slow_ms: (times >> 24) as u32,
        window_ms: (times & 0xff_ffff) as u32,
    };
    let terms = Terms {
        slot: SlotId::new((slots >> 4 & 0xf) as u8)?,
        fallback: SlotId::new((slots & 0xf) as u8)?,
        guard: (guard.window_ms != 0).then_some(guard),
        rescue: slots & RESCUE != 0,
    };
    Some((terms, (slots >> 32) as u16))
}

#[cfg(test)]
mod tests {
    use super::*;

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
            max_error_ratio: Ratio::from_parts(10_000),
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
            assert_eq!((trial.phase, trial.terms, trial.lease), (Phase::Armed, terms, Some(at(5))));
        }
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
        assert!(words.end(&seen, Phase::Tripped));
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
        assert!(words.give_up(route(1)), "whoever did may have been killed at it");
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
        assert!(!words.end(&seen, Phase::Expired));
        assert_eq!(words.read(route(1)).unwrap().phase, Phase::Confirmed);
    }

    #[test]
    fn a_renewed_lease_does_not_expire_by_its_old_deadline() {
        let words = armed(1, &terms(), Some(at(5)), 0);
        let seen = words.read(route(1)).unwrap();
        assert!(words.renew(&word(route(1)), route(1), &seen, at(500)));
        assert!(!words.end(&seen, Phase::Expired));
        let now = words.read(route(1)).unwrap();
        assert_eq!((now.phase, now.lease), (Phase::Armed, Some(at(500))));
        assert!(words.renew(&word(route(1)), route(1), &now, at(400)));
        let now = words.read(route(1)).unwrap();
        assert_eq!(now.lease, Some(at(500)), "a renewal shortens nothing");
        assert!(words.end(&now, Phase::Expired));
        assert!(!words.renew(&word(route(1)), route(1), &words.read(route(1)).unwrap(), at(900)));
        assert!(!words.confirm(&words.read(route(1)).unwrap()), "what goes back cannot be confirmed");
    }

    #[test]
    fn a_held_trial_can_be_confirmed() {
        let words = armed(1, &terms(), None, 0);
        assert!(words.end(&words.read(route(1)).unwrap(), Phase::Held));
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
