//! Whether an upstream request is the origin of its parts: see [`origin`](crate::upstream::origin).

use crate::group::MAX_SLOTS;
use crate::upstream::choice::Choice;

/// What an upstream request is for the other parts of its request.
///
/// bit 6 inherited | 5 has a clean-up entry | 4 keeps its slot between parts | 3 origin | 2..0 slot for those that follow
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::upstream) struct Parts(u8);

const SLOT: u8 = 0b111;
const ORIGIN: u8 = 1 << 3;
const KEPT: u8 = 1 << 4;
const REMEMBERED: u8 = 1 << 5;
const INHERITED: u8 = 1 << 6;

const _: () = assert!(MAX_SLOTS <= SLOT as usize + 1);

impl Parts {
    /// Of a choice that was just made: for all, if it is the main request's own.
    #[inline]
    pub(in crate::upstream) fn of(choice: Choice, main: bool) -> Self {
        let inherited = if choice.inherited { INHERITED } else { 0 };
        let origin = if main { ORIGIN } else { 0 };
        Self(choice.slot as u8 & SLOT | inherited | origin)
    }

    pub(in crate::upstream) fn slot(self) -> u8 {
        self.0 & SLOT
    }

    pub(in crate::upstream) fn with_slot(self, slot: u8) -> Self {
        Self(self.0 & !SLOT | slot & SLOT)
    }

    #[inline]
    pub(in crate::upstream) fn is_origin(self) -> bool {
        self.0 & ORIGIN != 0
    }

    pub(in crate::upstream) fn is_inherited(self) -> bool {
        self.0 & INHERITED != 0
    }

    #[inline]
    pub(in crate::upstream) fn is_kept(self) -> bool {
        self.0 & KEPT != 0
    }

    pub(in crate::upstream) fn is_remembered(self) -> bool {
        self.0 & REMEMBERED != 0
    }

    pub(in crate::upstream) fn remembered(self) -> Self {
        Self(self.0 | REMEMBERED)
    }

    pub(in crate::upstream) fn kept(self) -> Self {
        Self(self.0 | KEPT)
    }

    pub(in crate::upstream) fn not_kept(self) -> Self {
        Self(self.0 & !KEPT)
    }

    pub(in crate::upstream) fn as_origin(self) -> Self {
        Self(self.0 | ORIGIN)
    }

    pub(in crate::upstream) fn not_origin(self) -> Self {
        Self(self.0 & !ORIGIN)
    }
}
