//! The moment when a configuration begins to run.
//!
//! Until then the file says which slots the workers of before may switch to. A switch and a reload that drops its slot may
//! happen at once: each first writes its own word, then looks at the other's, so at least one of them sees both and takes the
//! switch back.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;

use cutover_core::route::{Reading, SlotId};
use cutover_core::state_file::{NAMES_OFFSET, NAMES_SIZE, Names, record_offset};
use ngx::ffi::{NGX_LOG_ALERT, ngx_log_t};

use crate::ext;
use crate::group::Group;

/// Writes into each group's record which slots it has.
pub(super) fn write_configured(descriptor: &OwnedFd, groups: &[Box<Group>]) -> io::Result<()> {
    let file = File::from(descriptor.try_clone()?);
    let mut written = false;
    for group in groups {
        let place = (record_offset(group.record.get()) + NAMES_OFFSET) as u64;
        let mut stored = [0; NAMES_SIZE];
        file.read_exact_at(&mut stored, place)?;
        let Some(names) = Names::decode(&stored) else { continue };
        let ids: Vec<SlotId> = group.slots.iter().filter_map(|slot| slot.id.get()).collect();
        let now = names.with_configured(&ids);
        if now != names {
            file.write_all_at(&now.encode(), place)?;
            written = true;
        }
    }
    if written { file.sync_all() } else { Ok(()) }
}

/// Takes back a switch to a slot that this configuration does not have.
pub(super) fn take_back(group: &Group, log: *mut ngx_log_t) {
    let Some(word) = group.word() else { return };
    let reading = word.load();
    let Reading::Set(route) = reading else { return };
    let known = group.slots.iter().any(|slot| slot.id.get() == Some(route.active));
    let Some(back) = group.known_before(reading).filter(|_| !known) else { return };
    let Some(id) = back.id.get() else { return };
    // If it is refused, somebody has switched again, to a slot that exists: nothing is left to take back.
    if word.switch(reading, Some(route.active), id).is_ok() {
        ext::log(
            NGX_LOG_ALERT,
            log,
            format_args!(
                "cutover: group \"{}\" was switched to a slot that this configuration drops; it is back on \"{}\"",
                group.name, back.name
            ),
        );
    }
}
