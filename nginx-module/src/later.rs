//! Work that can wait until the worker has served the requests that are there already: what is written about a switch, so
//! that the first requests of the new slot do not wait for it.

use std::cell::{Cell, RefCell};
use std::mem;
use std::ptr;

use ngx::ffi::{ngx_cycle_t, ngx_event_t, ngx_post_event, ngx_posted_next_events};

use crate::ext;

type Work = Box<dyn FnOnce()>;

struct Later {
    /// Posted while there is work; null where none was started.
    event: Cell<*mut ngx_event_t>,
    work: RefCell<Vec<Work>>,
}

thread_local! {
    /// nginx is single-threaded.
    static LATER: Later = const { Later { event: Cell::new(ptr::null_mut()), work: RefCell::new(Vec::new()) } };
}

/// Makes ready for work, in a worker.
pub(crate) fn start(cycle: &ngx_cycle_t) {
    LATER.with(|later| later.event.set(ext::event(handle, cycle.log)));
}

/// The same process serves another cycle from now on (`master_process off`).
pub(crate) fn follow(cycle: &ngx_cycle_t) {
    // SAFETY: null, or made by `start`.
    if let Some(event) = unsafe { LATER.with(|later| later.event.get()).as_mut() } {
        event.log = cycle.log;
    }
}

/// Does the work after the requests that nginx finds when it asks for events next; sooner if [`catch_up`] is called.
pub(crate) fn run(work: impl FnOnce() + 'static) {
    let posted = LATER.with(|later| {
        later.work.borrow_mut().push(Box::new(work));
        let event = later.event.get();
        if !event.is_null() {
            let queue = &raw mut ngx_posted_next_events;
            // SAFETY: an event and a queue of this process; what is posted already is not posted again.
            unsafe { ngx_post_event(event, queue) };
        }
        !event.is_null()
    });
    if !posted {
        catch_up();
    }
}

/// Does what is left to be done, in the order in which it was given. Called before anything else is told of a group.
pub(crate) fn catch_up() {
    let work = LATER.with(|later| mem::take(&mut *later.work.borrow_mut()));
    work.into_iter().for_each(|work| work());
}

unsafe extern "C" fn handle(_: *mut ngx_event_t) {
    catch_up();
}
