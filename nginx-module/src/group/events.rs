//! What a group tells others: events in the file, and news for the other processes.

use std::sync::atomic::Ordering;

use cutover_core::event::RouteEvent;
use ngx::ffi::{NGX_LOG_ERR, ngx_log_t};

use super::Group;
use crate::clock;
use crate::ext;
use crate::memory::flush::{in_background, routes_in_background};

impl Group {
    /// Writes an event of the group, with the time of now.
    pub(crate) fn write_event(&self, event: RouteEvent, log: *mut ngx_log_t) {
        let Some((memory, record)) = self.memory().zip(self.record()) else { return };
        let Some(count) = memory.memfd.events(record) else { return };
        let event = RouteEvent { unix_ms: clock::now().wall_ms, ..event };
        if let Err(error) = memory.events.append(record, &self.name, count, event) {
            ext::log(
                NGX_LOG_ERR,
                log,
                format_args!("cutover: an event of group \"{}\" was not written: {error}", self.name),
            );
        }
    }

    /// The last events, oldest first.
    pub(crate) fn events(&self) -> Vec<RouteEvent> {
        let memory = self.memory().zip(self.record());
        memory.map(|(memory, record)| memory.events.read(record, &self.name)).unwrap_or_default()
    }

    /// A trial has begun: makes every worker look at the trials.
    pub(crate) fn announce_trial(&self) {
        if let Some(changes) = self.memory().and_then(|memory| memory.memfd.changes()) {
            changes.fetch_add(1, Ordering::AcqRel);
        }
    }

    /// Flushes route and events. No request has asked for the change, so none waits until it is on disk.
    pub(crate) fn flush_in_background(&self) {
        if let Some(memory) = self.memory() {
            routes_in_background(memory.routes_file());
            in_background(memory.events.file());
        }
    }

    /// Whether nginx has left the state folder that this worker uses.
    pub(crate) fn is_left_behind(&self) -> bool {
        self.memory().is_some_and(|memory| memory.memfd.is_left_behind())
    }
}
