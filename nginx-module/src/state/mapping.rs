//! A piece of memory that all processes of nginx share.

use std::io;
use std::os::fd::AsFd;
use std::ptr::NonNull;

use rustix::mm::{MapFlags, MsyncFlags, ProtFlags};

/// Bytes of a page; the mapping of a file always begins on one.
const PAGE: usize = 4096;

/// A shared mapping of a file, unmapped when dropped.
#[derive(Debug)]
pub(crate) struct Mapping {
    base: NonNull<u8>,
    size: usize,
}

// SAFETY: only atomics are read and written through it, and msync may run on any thread.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Maps the first `size` bytes of a file that is at least that long and never gets shorter.
    pub(crate) fn shared(file: impl AsFd, size: usize) -> io::Result<Self> {
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a new mapping at an address of the kernel's choice touches no memory that is in use.
        let base =
            unsafe { rustix::mm::mmap(std::ptr::null_mut(), size, protection, MapFlags::SHARED, file, 0) }?;
        let base = NonNull::new(base.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Self { base, size })
    }

    /// The address of a byte; `None` past the end.
    pub(crate) fn at(&self, offset: usize) -> Option<NonNull<u8>> {
        if offset >= self.size {
            return None;
        }
        // SAFETY: inside the mapping, as just checked.
        Some(unsafe { self.base.add(offset) })
    }

    /// The page that holds a byte, for a flush on another thread.
    pub(crate) fn page_of(&self, offset: usize) -> Option<Page> {
        self.at(offset - offset % PAGE).map(|start| Page(start.as_ptr() as usize))
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: made by `shared` with this address and size; whoever points into it is gone, see the fields' order in
        // conf::Main. A failure leaves the memory mapped, which harms nobody.
        let _ = unsafe { rustix::mm::munmap(self.base.as_ptr().cast(), self.size) };
    }
}

/// A mapped page.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Page(usize);

impl Page {
    /// Waits until the page is on disk.
    pub(crate) fn flush(self) -> io::Result<()> {
        // SAFETY: the kernel checks the address; a page that is no longer mapped is an error, not a fault.
        unsafe { rustix::mm::msync(self.0 as *mut _, PAGE, MsyncFlags::SYNC) }?;
        Ok(())
    }
}
