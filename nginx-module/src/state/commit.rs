//! The moment when a configuration begins to run.
//!
//! Until then the file says which slots the workers of before may switch to. A switch and a reload that drops its slot may
//! happen at once: each first writes its own word, then looks at the other's, so at least one of them sees both and takes the
//! switch back.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;

use cutover_core::event::Kind;
use cutover_core::route::{Reading, SlotId};
use cutover_core::state_file::{NAMES_OFFSET, NAMES_SIZE, Names, record_offset};
use ngx::ffi::{NGX_LOG_ALERT, ngx_log_t};

use crate::ext;
use crate::group::Group;
use crate::trial;

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
    let known = |id| group.position_of(id).is_some();
    let all_known = known(route.to.active) && route.to.split.is_none_or(|split| known(split.second()));
    let Some(back) = group.known_before(reading).filter(|_| !all_known) else { return };
    // A split whose second slot is gone: the active one takes its share.
    let back = group.position_of(route.to.active).and_then(|at| group.slots.get(at)).unwrap_or(back);
    let Some(id) = back.id.get() else { return };
    // If it is refused, somebody has switched again, to a slot that exists: nothing is left to take back.
    if let Ok(taken) = word.switch(reading, Some(route.to.active), id.into()) {
        let reason = "the configuration dropped the slot at the same time";
        trial::record(group, Kind::TakenBack, "", &back.name, taken.generation, "nginx", reason, None, log);
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
