//! What all processes of nginx share: the mapped routes, counters in memory, and the files beside them.
//!
//! ```text
//!  mapping      the state file, mapped            routes and trials
//!  memfd        memory without a name             what is where in it
//!    counters   .. a page for each slot and process
//!    words      .. events so far, standby, changes of trials, the master that has left
//!  events       the file with the last events
//!  flush        how a file is brought to disk
//! ```

use std::cell::{Cell, OnceCell};
use std::fs::File;

use ngx::ffi::{ngx_log_t, ngx_worker};

mod counters;
pub(crate) mod descriptors;
pub(crate) mod error;
pub(crate) mod events;
pub(crate) mod file;
pub(crate) mod flush;
pub(crate) mod mapping;
pub(crate) mod memfd;
mod words;

pub(crate) use counters::Living;

use events::Events;
use mapping::Mapping;
use memfd::{CellId, Memfd};

/// What the groups of one cycle share.
pub(crate) struct Memory {
    pub(crate) routes: Mapping,
    /// What `routes` is a mapping of.
    routes_file: File,
    /// One more opening for each worker.
    for_workers: Cell<Vec<File>>,
    /// That of this worker.
    own: OnceCell<File>,
    pub(crate) memfd: Memfd,
    pub(crate) events: Events,
}

impl Memory {
    pub(crate) fn new(routes: Mapping, routes_file: File, memfd: Memfd, events: Events) -> Self {
        Self { routes, routes_file, for_workers: Cell::default(), own: OnceCell::new(), memfd, events }
    }

    /// The file with the routes, to flush it by. The kernel reports a failed write once for each opening.
    pub(crate) fn routes_file(&self) -> &File {
        self.own.get().unwrap_or(&self.routes_file)
    }

    /// The openings that the workers will flush by.
    pub(crate) fn keep_for_workers(&self, openings: Vec<File>) {
        self.for_workers.set(openings);
    }

    /// Begins to count as this process, in these cells.
    pub(crate) fn enter_worker(&self, cells: impl Iterator<Item = CellId>, log: *mut ngx_log_t) {
        let mut openings = self.for_workers.take();
        // SAFETY: nginx sets it before it calls init_process.
        let worker = unsafe { ngx_worker };
        if worker < openings.len() {
            let _ = self.own.set(openings.swap_remove(worker));
        }
        self.memfd.enter_worker(cells, log);
    }
}
