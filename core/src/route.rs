//! The route: one word that decides where a new request goes.
//!
//! ```text
//!  63          32 31      18 17   14 13   10 9     8      0
//! +--------------+----------+-------+-------+-----+--------+
//! |  generation  |  share   | second| active|armed|  check |
//! +--------------+----------+-------+-------+-----+--------+
//! ```
//!
//! * generation: how many times the route has changed; never 0 once written.
//! * share, second: the part of the requests that goes to a second slot, in 1/10000, and that slot's id; both 0: no split.
//! * active: the id of the slot that takes the traffic, 1-15.
//! * armed: the last change is on trial, see [`trial`](crate::trial).
//! * check: nine bits of a hash of the rest, so that a damaged word is refused and never read as a wrong slot.
//!
//! The word 0 means "never written": the configuration decides. A word moves only by compare-and-swap, so of two operators
//! one wins and the other gets an error.

use crate::fraction::Share;
use crate::slot::SlotId;
use crate::split::Split;
use crate::sync::{AtomicU64, Ordering};

/// Where a change leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Destination {
    /// The slot that takes the traffic, less the share of a split.
    pub active: SlotId,
    /// A part of the requests that goes to another slot.
    pub split: Option<Split>,
    /// Whether the change is on trial: a process that sees this must look at the group's [`Trial`](crate::trial::Trial).
    pub armed: bool,
}

impl From<SlotId> for Destination {
    /// All traffic to one slot, for good.
    fn from(active: SlotId) -> Self {
        Self { active, split: None, armed: false }
    }
}

/// A route that has been set at least once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// Where requests go.
    pub to: Destination,
    /// How many times the route has changed; at least 1.
    pub generation: u32,
}

impl Route {
    /// The slot that takes the traffic, less the share of a split.
    pub fn active(self) -> SlotId {
        self.to.active
    }
}

/// What a route word says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading {
    /// Never written: `active` of the configuration decides.
    Unset,
    /// A route.
    Set(Route),
    /// Bits that no version of this module has written.
    Damaged,
}

const GENERATION_SHIFT: u32 = 32;
const SHARE_SHIFT: u32 = 18;
const SECOND_SHIFT: u32 = 14;
const ACTIVE_SHIFT: u32 = 10;
const ARMED_SHIFT: u32 = 9;
const CHECK_MASK: u64 = (1 << ARMED_SHIFT) - 1;

fn check_of(bits: u64) -> u64 {
    (bits & !CHECK_MASK).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (u64::BITS - ARMED_SHIFT)
}

impl Route {
    /// The word that stands for this route.
    pub fn encode(self) -> u64 {
        let (share, second) =
            self.to.split.map_or((0, 0), |split| (split.share().get(), split.second().get()));
        let bits = u64::from(self.generation) << GENERATION_SHIFT
            | u64::from(share) << SHARE_SHIFT
            | u64::from(second) << SECOND_SHIFT
            | u64::from(self.to.active.get()) << ACTIVE_SHIFT
            | u64::from(self.to.armed) << ARMED_SHIFT;
        bits | check_of(bits)
    }

    /// The generation after this one.
    fn next_generation(generation: u32) -> u32 {
        match generation.wrapping_add(1) {
            0 => 1,
            next => next,
        }
    }
}

impl Reading {
    /// Reads a word.
    #[inline]
    pub fn of(word: u64) -> Self {
        if word == 0 {
            return Self::Unset;
        }
        if word & CHECK_MASK != check_of(word) {
            return Self::Damaged;
        }
        Self::fields_of(word).map_or(Self::Damaged, Self::Set)
    }

    #[inline]
    fn fields_of(word: u64) -> Option<Route> {
        let active = SlotId::new((word >> ACTIVE_SHIFT & 0xf) as u8)?;
        let generation = RouteWord::generation_of(word);
        let split = match word >> SECOND_SHIFT & 0x3_ffff {
            0 => None,
            bits => {
                let second = SlotId::new((bits & 0xf) as u8)?;
                Some(Split::new(active, second, Share::new((bits >> 4) as u16)?)?)
            }
        };
        let to = Destination { active, split, armed: word >> ARMED_SHIFT & 1 != 0 };
        (generation > 0).then_some(Route { to, generation })
    }

    /// The generation, 0 unless set.
    pub fn generation(self) -> u32 {
        match self {
            Self::Set(route) => route.generation,
            Self::Unset | Self::Damaged => 0,
        }
    }
}

/// A route in memory that all processes of nginx share.
#[repr(C)]
#[derive(Debug, Default)]
pub struct RouteWord {
    word: AtomicU64,
    /// A generation, and the slot that had the traffic before it (bits 63..32 and 3..0). Only a hint, for processes that do
    /// not know the slot which the word names.
    before: AtomicU64,
}

const _: () = assert!(size_of::<RouteWord>() == 16);

impl RouteWord {
    /// What decides now. Acquire: a process that sees a route also sees what its writer did before.
    #[inline]
    pub fn load(&self) -> Reading {
        Reading::of(self.word.load(Ordering::Acquire))
    }

    /// The word itself: as long as it is the same, so is what it says.
    #[inline]
    pub fn bits(&self) -> u64 {
        self.word.load(Ordering::Acquire)
    }

    /// The generation in a word that could be read.
    #[inline]
    pub fn generation_of(bits: u64) -> u32 {
        (bits >> GENERATION_SHIFT) as u32
    }

    /// The slot that had the traffic before this route, if that is still known.
    pub fn before(&self, route: Route) -> Option<SlotId> {
        let before = self.before.load(Ordering::Acquire);
        let generation = (before >> GENERATION_SHIFT) as u32;
        SlotId::new((before & 0xf) as u8).filter(|_| generation == route.generation)
    }

    /// Moves the route to `to`, if it still reads as `seen`; else tells what it reads as now. `from` is the slot that `seen`
    /// means, if the caller knows.
    ///
    /// A damaged word may be replaced: the operator who switches decides.
    pub fn switch(&self, seen: Reading, from: Option<SlotId>, to: Destination) -> Result<Route, Reading> {
        let current = self.word.load(Ordering::Acquire);
        if Reading::of(current) != seen {
            return Err(Reading::of(current));
        }
        // A damaged word does not say what it was, but the hint beside it does.
        let last = match seen {
            Reading::Damaged => Self::generation_of(self.before.load(Ordering::Acquire)),
            Reading::Unset | Reading::Set(_) => seen.generation(),
        };
        let generation = Route::next_generation(last);
        // First the hint, then the word that it belongs to. Another process that leaves `seen` for this generation writes the same.
        if let Some(from) = from {
            let hint = u64::from(generation) << GENERATION_SHIFT | u64::from(from.get());
            self.before.fetch_max(hint, Ordering::AcqRel);
        }
        let next = Route { to, generation };
        match self.word.compare_exchange(current, next.encode(), Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => Ok(next),
            Err(other) => Err(Reading::of(other)),
        }
    }

    /// Writes the word as it is: a flush that failed before may have left it out of the disk's sight, and the next one would
    /// find nothing to do.
    pub fn touch(&self) {
        let word = self.word.load(Ordering::Acquire);
        // Failing means that another process has written another one. Not `fetch_or(0)`: compilers make that a load.
        let _ = self.word.compare_exchange(word, word, Ordering::AcqRel, Ordering::Acquire);
    }

    /// The trial of this route has ended and the route stays: no process needs to look any more. Nothing happens if the route has
    /// changed.
    pub fn disarm(&self, route: Route) {
        let settled = Route { to: Destination { armed: false, ..route.to }, ..route };
        // Failing means that another process has moved or disarmed it.
        let _ =
            self.word.compare_exchange(route.encode(), settled.encode(), Ordering::AcqRel, Ordering::Acquire);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn id(id: u8) -> SlotId {
        SlotId::new(id).unwrap()
    }

    fn all_to(slot: u8) -> Destination {
        id(slot).into()
    }

    fn route(slot: u8, generation: u32) -> Route {
        Route { to: all_to(slot), generation }
    }

    #[test]
    fn the_first_switch_begins_at_one() {
        let word = RouteWord::default();
        assert_eq!(word.load(), Reading::Unset);
        let first = word.switch(Reading::Unset, Some(id(1)), all_to(2)).unwrap();
        assert_eq!(first, route(2, 1));
        assert_eq!(word.load(), Reading::Set(first));
        assert_eq!(word.before(first), Some(id(1)));
        let next = word.switch(Reading::Set(first), None, all_to(3)).unwrap();
        assert_eq!(word.before(next), None, "a hint of another generation is none");
    }

    #[test]
    fn of_two_operators_one_is_told() {
        let word = RouteWord::default();
        let seen = word.load();
        let first = word.switch(seen, None, all_to(2)).unwrap();
        assert_eq!(word.switch(seen, None, all_to(1)), Err(Reading::Set(first)));
        assert_eq!(word.load(), Reading::Set(first));
    }

    #[test]
    fn the_generation_skips_zero_when_it_wraps() {
        let last = route(1, u32::MAX);
        let word = RouteWord { word: AtomicU64::new(last.encode()), ..RouteWord::default() };
        assert_eq!(word.switch(Reading::Set(last), None, all_to(2)).unwrap().generation, 1);
    }

    #[test]
    fn generations_go_on_over_a_damaged_word() {
        let word = RouteWord::default();
        let first = word.switch(Reading::Unset, Some(id(1)), all_to(2)).unwrap();
        let second = word.switch(Reading::Set(first), Some(id(2)), all_to(1)).unwrap();
        word.word.store(second.encode() ^ 1, Ordering::Release);
        assert_eq!(word.switch(Reading::Damaged, Some(id(1)), all_to(2)).unwrap().generation, 3);
    }

    #[test]
    fn disarming_keeps_the_generation_and_touches_no_other_route() {
        let word = RouteWord::default();
        let armed = Destination { armed: true, ..all_to(2) };
        let first = word.switch(Reading::Unset, None, armed).unwrap();
        word.disarm(first);
        assert_eq!(word.load(), Reading::Set(route(2, 1)));
        let second = word.switch(Reading::Set(route(2, 1)), None, armed).unwrap();
        word.disarm(first);
        assert_eq!(word.load(), Reading::Set(second));
    }

    #[test]
    fn half_a_split_is_damage() {
        for bits in [
            1u64 << SHARE_SHIFT,
            2 << SECOND_SHIFT,
            1 << SECOND_SHIFT | 5 << SHARE_SHIFT,
            10_000 << SHARE_SHIFT | 2 << SECOND_SHIFT,
        ] {
            let bits = bits | 1 << GENERATION_SHIFT | 1 << ACTIVE_SHIFT;
            assert_eq!(Reading::of(bits | check_of(bits)), Reading::Damaged, "{bits:x}");
        }
    }

    prop_compose! {
        fn any_route()(
            active in 1u8..=15,
            second in 1u8..=15,
            share in 1u16..10_000,
            split in any::<bool>(),
            armed in any::<bool>(),
            generation in 1u32..,
        ) -> Route {
            let split = Share::new(share).filter(|_| split).and_then(|share| Split::new(id(active), id(second), share));
            Route { to: Destination { active: id(active), split, armed }, generation }
        }
    }

    proptest! {
        #[test]
        fn every_route_survives_its_word(route in any_route()) {
            prop_assert_eq!(Reading::of(route.encode()), Reading::Set(route));
        }

        #[test]
        fn a_flipped_bit_never_reads_as_another_route(route in any_route(), bit in 0u32..64) {
            prop_assert_eq!(Reading::of(route.encode() ^ (1u64 << bit)), Reading::Damaged);
        }
    }
}
