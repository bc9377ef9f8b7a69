//! The route: one word that decides where a new request goes.
//!
//! ```text
//!  63          32 31      18 17   14 13   10 9       0
//! +--------------+----------+-------+-------+---------+
//! |  generation  |  share   | second| active|  check  |
//! +--------------+----------+-------+-------+---------+
//! ```
//!
//! * generation: how many times the route has changed; never 0 once written.
//! * share, second: reserved for a weighted split (1/10000 of the requests to a second slot); 0 today.
//! * active: the id of the slot that takes the traffic, 1-15.
//! * check: ten bits of a hash of the rest, so that a damaged word is refused and never read as a wrong slot.
//!
//! The word 0 means "never written": the configuration decides. A word moves only by compare-and-swap, so of two operators
//! one wins and the other is told.

use std::sync::atomic::{AtomicU64, Ordering};

/// A slot's number in the state file: stable for as long as its name is known, whatever the order in the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SlotId(u8);

impl SlotId {
    /// The largest id.
    pub const MAX: u8 = 15;

    /// 1 to [`MAX`](Self::MAX).
    pub fn new(id: u8) -> Option<Self> {
        (1..=Self::MAX).contains(&id).then_some(Self(id))
    }

    /// Every id there is.
    pub fn all() -> impl Iterator<Item = Self> {
        (1..=Self::MAX).map(Self)
    }

    /// The number itself.
    pub fn get(self) -> u8 {
        self.0
    }

    /// Position in a table that begins with id 1.
    pub fn index(self) -> usize {
        usize::from(self.0) - 1
    }
}

/// A route that has been set at least once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// The slot that takes the traffic.
    pub active: SlotId,
    /// How many times the route has changed; at least 1.
    pub generation: u32,
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
const ACTIVE_SHIFT: u32 = 10;
const CHECK_MASK: u64 = (1 << ACTIVE_SHIFT) - 1;
const RESERVED_MASK: u64 = 0xffff_c000;

fn check_of(bits: u64) -> u64 {
    (bits & !CHECK_MASK).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (u64::BITS - ACTIVE_SHIFT)
}

impl Route {
    /// The word that stands for this route.
    pub fn encode(self) -> u64 {
        let bits = u64::from(self.generation) << GENERATION_SHIFT | u64::from(self.active.0) << ACTIVE_SHIFT;
        bits | check_of(bits)
    }
}

impl Reading {
    /// Reads a word.
    #[inline]
    pub fn of(word: u64) -> Self {
        if word == 0 {
            return Self::Unset;
        }
        if word & CHECK_MASK != check_of(word) || word & RESERVED_MASK != 0 {
            return Self::Damaged;
        }
        let active = SlotId::new((word >> ACTIVE_SHIFT & 0xf) as u8);
        let generation = (word >> GENERATION_SHIFT) as u32;
        match active {
            Some(active) if generation > 0 => Self::Set(Route { active, generation }),
            _ => Self::Damaged,
        }
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
    /// What decides now. Acquire: whoever sees a route also sees what its writer did before.
    #[inline]
    pub fn load(&self) -> Reading {
        Reading::of(self.word.load(Ordering::Acquire))
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
    pub fn switch(&self, seen: Reading, from: Option<SlotId>, to: SlotId) -> Result<Route, Reading> {
        let current = self.word.load(Ordering::Acquire);
        if Reading::of(current) != seen {
            return Err(Reading::of(current));
        }
        let generation = match seen.generation().wrapping_add(1) {
            0 => 1,
            next => next,
        };
        // First the hint, then the word that it belongs to. Whoever else leaves `seen` for this generation writes the same.
        if let Some(from) = from {
            let hint = u64::from(generation) << GENERATION_SHIFT | u64::from(from.0);
            self.before.fetch_max(hint, Ordering::AcqRel);
        }
        let next = Route { active: to, generation };
        match self.word.compare_exchange(current, next.encode(), Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => Ok(next),
            Err(other) => Err(Reading::of(other)),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn id(id: u8) -> SlotId {
        SlotId::new(id).unwrap()
    }

    #[test]
    fn ids_fit_their_bits() {
        assert_eq!(SlotId::new(0), None);
        assert_eq!(SlotId::new(16), None);
        assert_eq!(SlotId::all().count(), 15);
        assert_eq!(id(15).index(), 14);
    }

    #[test]
    fn the_first_switch_begins_at_one() {
        let word = RouteWord::default();
        assert_eq!(word.load(), Reading::Unset);
        let route = word.switch(Reading::Unset, Some(id(1)), id(2)).unwrap();
        assert_eq!(route, Route { active: id(2), generation: 1 });
        assert_eq!(word.load(), Reading::Set(route));
        assert_eq!(word.before(route), Some(id(1)));
        let next = word.switch(Reading::Set(route), None, id(3)).unwrap();
        assert_eq!(word.before(next), None, "a hint of another generation is none");
    }

    #[test]
    fn of_two_operators_one_is_told() {
        let word = RouteWord::default();
        let seen = word.load();
        let first = word.switch(seen, None, id(2)).unwrap();
        assert_eq!(word.switch(seen, None, id(1)), Err(Reading::Set(first)));
        assert_eq!(word.load(), Reading::Set(first));
    }

    #[test]
    fn the_generation_skips_zero_when_it_wraps() {
        let last = Route { active: id(1), generation: u32::MAX };
        let word = RouteWord { word: AtomicU64::new(last.encode()), ..RouteWord::default() };
        assert_eq!(word.switch(Reading::Set(last), None, id(2)).unwrap().generation, 1);
    }

    #[test]
    fn reserved_bits_are_not_ignored() {
        let bits = (1u64 << 32) | (1 << 18) | (1 << ACTIVE_SHIFT);
        assert_eq!(Reading::of(bits | check_of(bits)), Reading::Damaged);
    }

    proptest! {
        #[test]
        fn every_route_survives_its_word(active in 1u8..=15, generation in 1u32..) {
            let route = Route { active: id(active), generation };
            prop_assert_eq!(Reading::of(route.encode()), Reading::Set(route));
        }

        #[test]
        fn a_flipped_bit_never_reads_as_another_route(active in 1u8..=15, generation in 1u32.., bit in 0u32..64) {
            let word = Route { active: id(active), generation }.encode() ^ (1u64 << bit);
            prop_assert_eq!(Reading::of(word), Reading::Damaged);
        }
    }
}
