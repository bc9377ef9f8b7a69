//! Waiting for the disk on a thread, so that no request waits for it.

use std::io;
use std::mem::MaybeUninit;
use std::ptr;
use std::thread;

use super::mapping::Page;
use crate::group::Group;

/// Runs `work` on a thread of its own. One for each change: changes are rare, and a pool would be one more thing to shut down.
pub(crate) fn on_a_thread(work: impl FnOnce() + Send + 'static) -> io::Result<()> {
    let thread = thread::Builder::new().name("cutover-flush".to_owned());
    without_signals(|| thread.spawn(work)).map(drop)
}

/// Brings the page of a record to disk when it can: nobody waits for it.
pub(crate) fn in_background(group: &Group, record_offset: usize) {
    let Some(page) = page_of(group, record_offset) else { return };
    // Without a thread the kernel writes the page by itself, a little later.
    let _ = on_a_thread(move || {
        let _ = page.flush();
    });
}

/// The page of the mapped state file that holds a record.
pub(crate) fn page_of(group: &Group, record_offset: usize) -> Option<Page> {
    group.shared()?.routes.page_of(record_offset)
}

/// nginx's signals must arrive at the thread that waits for events: a new thread inherits the mask of this one.
fn without_signals<T>(start: impl FnOnce() -> T) -> T {
    let mut all = MaybeUninit::<libc::sigset_t>::uninit();
    let mut before = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: room for a set.
    unsafe { libc::sigfillset(all.as_mut_ptr()) };
    // SAFETY: the set was just filled, and there is room for the old one.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, all.as_ptr(), before.as_mut_ptr()) };
    let result = start();
    // SAFETY: the old mask was written above.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, before.as_ptr(), ptr::null_mut()) };
    result
}
