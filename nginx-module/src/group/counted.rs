//! Where requests of one kind are counted: those of users of a slot, or its previews.

use std::cell::Cell;
use std::ptr::NonNull;

use cutover_core::shard::Shard;

use crate::memory::memfd::{CellId, Memfd};

#[derive(Default)]
pub(crate) struct Counted {
    /// None while a configuration is only checked.
    cell: Cell<Option<CellId>>,
    /// Where this process counts; found with its first request.
    shard: Cell<Option<NonNull<Shard>>>,
}

impl Counted {
    pub(super) fn count_in(&self, cell: Option<CellId>) {
        self.cell.set(cell);
    }

    pub(crate) fn cell(&self) -> Option<CellId> {
        self.cell.get()
    }

    /// Where this process counts, if it has a request to count.
    #[inline]
    pub(super) fn shard<'m>(&self, memory: impl FnOnce() -> Option<&'m Memfd>) -> Option<NonNull<Shard>> {
        match self.shard.get() {
            Some(shard) => Some(shard),
            None => self.find(memory()?),
        }
    }

    #[cold]
    fn find(&self, memory: &Memfd) -> Option<NonNull<Shard>> {
        self.shard.set(memory.own_shard(self.cell()?));
        self.shard.get()
    }
}
