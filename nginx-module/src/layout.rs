//! Where nginx's structures have what, as nginx's own C compiler says.
//!
//! nginx-sys's bindings are bindgen's idea of nginx's headers. The build asks the compiler, too: it does not go on when a size
//! or a place of a field differs, and it makes a constant for each bitfield. The bindings have methods for bitfields of their
//! own; nothing here uses those, and `scripts/build-module --lint` refuses them (docs/decisions/0018).
//!
//! # Soundness
//!
//! A bitfield's place lies in the structure: the compiler found it by setting the field and looking for the bits. nginx gives
//! each structure to one thread, so what shares a byte or word with the field is not written meanwhile.

use std::marker::PhantomData;

/// One bit of a structure.
pub(crate) struct Flag<S> {
    byte: usize,
    mask: u8,
    of: PhantomData<fn(S)>,
}

impl<S> Flag<S> {
    const fn new(byte: usize, mask: u8) -> Self {
        assert!(byte < size_of::<S>() && mask.count_ones() == 1);
        Self { byte, mask, of: PhantomData }
    }

    /// Whether it is set.
    #[inline]
    pub(crate) fn is_set(&self, of: &S) -> bool {
        // SAFETY: inside the structure, by `new`.
        let byte = unsafe { (&raw const *of).cast::<u8>().add(self.byte) };
        // SAFETY: a byte of bits of the structure that is borrowed.
        unsafe { *byte & self.mask != 0 }
    }

    /// Sets it, or clears it.
    #[inline]
    pub(crate) fn set(&self, of: &mut S, to: bool) {
        // SAFETY: inside the structure, by `new`.
        let byte = unsafe { (&raw mut *of).cast::<u8>().add(self.byte) };
        // SAFETY: a byte of bits of the structure that is borrowed.
        let byte = unsafe { &mut *byte };
        *byte = if to { *byte | self.mask } else { *byte & !self.mask };
    }
}

/// Some bits of a structure that are a number.
pub(crate) struct Bits<S> {
    word: usize,
    mask: u32,
    of: PhantomData<fn(S)>,
}

impl<S> Bits<S> {
    const fn new(word: usize, mask: u32) -> Self {
        assert!(word + size_of::<u32>() <= size_of::<S>() && align_of::<S>() >= align_of::<u32>());
        assert!(word.is_multiple_of(align_of::<u32>()) && mask != 0);
        Self { word, mask, of: PhantomData }
    }

    /// The number.
    #[inline]
    pub(crate) fn get(&self, of: &S) -> u32 {
        // SAFETY: inside the structure, by `new`.
        let word = unsafe { (&raw const *of).byte_add(self.word) };
        // SAFETY: an aligned word of bits of the structure that is borrowed.
        let word = unsafe { *word.cast::<u32>() };
        (word & self.mask) >> self.mask.trailing_zeros()
    }

    /// Makes it this number; what has more bits is cut, as C does.
    #[inline]
    pub(crate) fn set(&self, of: &mut S, to: u32) {
        // SAFETY: inside the structure, by `new`.
        let word = unsafe { (&raw mut *of).byte_add(self.word) };
        // SAFETY: an aligned word of bits of the structure that is borrowed.
        let word = unsafe { &mut *word.cast::<u32>() };
        *word = *word & !self.mask | (to << self.mask.trailing_zeros()) & self.mask;
    }
}

/// The bytes of what the field is, for the assertions of the build.
const fn size_of_field<S, T>(_: fn(*const S) -> *const T) -> usize {
    size_of::<T>()
}

/// A constant for each bitfield, by structure: `bits::ngx_http_request_t::HEADER_ONLY`. And the assertions.
#[expect(dead_code, reason = "one for each bitfield of nginx, and few are used")]
pub(crate) mod bits {
    use std::mem::offset_of;

    use super::{Bits, Flag, size_of_field};

    include!(concat!(env!("OUT_DIR"), "/layout.rs"));
}
