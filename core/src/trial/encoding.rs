//! The bits of a trial's words.
//!
//! ```text
//! offset 0   trial   generation 32 | stage 4 | renewals 28
//!        8   terms   tag 16 | min_requests 20 | max_error_ratio 14 | max_slow_ratio 14
//!       16   terms   tag 16 | slow_ms 24 | window_ms 24
//!       24   terms   tag 16 | boot 16 | 0 | rescue 1 | slot 4 | fallback 4
//!       32   lease   tag 16 | deadline in ms of the monotonic clock 48      0: no lease
//!       40   lease   tag 16 | deadline in ms of the wall clock 48
//! ```
//!
//! A tag is the low half of the generation.

use super::{Deadline, Stage, Terms};
use crate::fraction::Fraction;
use crate::guard::Guard;
use crate::slot::SlotId;

const TAG_SHIFT: u32 = 48;
/// All of a word but its tag.
pub(super) const PAYLOAD: u64 = (1 << TAG_SHIFT) - 1;

const GENERATION_SHIFT: u32 = 32;
const STAGE_SHIFT: u32 = 28;
const RENEWALS: u64 = (1 << STAGE_SHIFT) - 1;
/// The bit for rescue among the slots.
const RESCUE: u64 = 1 << 8;
/// A ratio that is not asked for.
const OFF: u64 = 0x3fff;

/// What the words of this generation begin with.
#[inline]
pub(super) fn tag(generation: u32) -> u64 {
    u64::from(generation) << TAG_SHIFT
}

/// Whether a word belongs to this generation, as far as its tag says.
#[inline]
pub(super) fn has_tag(word: u64, generation: u32) -> bool {
    word & !PAYLOAD == tag(generation)
}

pub(super) fn trial_word(generation: u32, stage: Stage, renewals: u64) -> u64 {
    u64::from(generation) << GENERATION_SHIFT | stage.code() << STAGE_SHIFT | renewals & RENEWALS
}

#[inline]
pub(super) fn generation(trial_word: u64) -> u32 {
    (trial_word >> GENERATION_SHIFT) as u32
}

pub(super) fn stage(trial_word: u64) -> Option<Stage> {
    Stage::from_code(trial_word >> STAGE_SHIFT & 0xf)
}

pub(super) fn renewals(trial_word: u64) -> u64 {
    trial_word & RENEWALS
}

/// Whether the trial of this generation is under way.
#[inline]
pub(super) fn is_armed(trial_word: u64, of: u32) -> bool {
    trial_word >> STAGE_SHIFT == u64::from(of) << 4 | Stage::Armed.code()
}

pub(super) fn encode_terms(terms: &Terms, boot: u16) -> [u64; 3] {
    let ratio = |ratio: Option<Fraction>| ratio.map_or(OFF, |ratio| u64::from(ratio.parts()));
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

/// The terms, and the boot in which they were armed.
pub(super) fn decode_terms([limits, times, slots]: [u64; 3]) -> Option<(Terms, u16)> {
    let ratio = |bits: u64| Fraction::from_parts((bits & OFF) as u16);
    let guard = Guard {
        min_requests: (limits >> 28 & 0xf_ffff) as u32,
        max_error_ratio: ratio(limits >> 14),
        max_slow_ratio: ratio(limits),
        slow_ms: slow_ms(times),
        window_ms: window_ms(times),
    };
    let terms = Terms {
        slot: slot(slots)?,
        fallback: fallback(slots)?,
        guard: (guard.window_ms != 0).then_some(guard),
        rescue: has_rescue(slots),
    };
    Some((terms, (slots >> 32) as u16))
}

/// Of the second word of the terms.
#[inline]
pub(super) fn slow_ms(times: u64) -> u32 {
    (times >> 24 & 0xff_ffff) as u32
}

/// Of the second word of the terms; 0: there is no guard.
#[inline]
pub(super) fn window_ms(times: u64) -> u32 {
    (times & 0xff_ffff) as u32
}

/// Of the third word of the terms.
#[inline]
pub(super) fn slot(slots: u64) -> Option<SlotId> {
    SlotId::new((slots >> 4 & 0xf) as u8)
}

/// Of the third word of the terms.
#[inline]
pub(super) fn fallback(slots: u64) -> Option<SlotId> {
    SlotId::new((slots & 0xf) as u8)
}

/// Of the third word of the terms.
#[inline]
pub(super) fn has_rescue(slots: u64) -> bool {
    slots & RESCUE != 0
}

pub(super) fn encode_lease(lease: Option<Deadline>) -> [u64; 2] {
    lease.map_or([0; 2], |at| [at.monotonic_ms & PAYLOAD, at.wall_ms & PAYLOAD])
}

/// `None`: there is no lease.
pub(super) fn decode_lease([monotonic_ms, wall_ms]: [u64; 2]) -> Option<Deadline> {
    (monotonic_ms != 0).then_some(Deadline { monotonic_ms, wall_ms })
}

impl Stage {
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
            .find(|stage| stage.code() == code)
    }
}
