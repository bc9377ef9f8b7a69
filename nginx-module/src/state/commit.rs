//! The moment when a configuration begins to run.
//!
//! Until then the file says which slots the workers of before may switch to. A switch and a reload that drops its slot may
//! happen at once: each first writes its own word, then looks at the other's, so at least one of them sees both and takes the
//! switch back.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::sync::OnceLock;

use cutover_core::event::{Kind, RouteEvent};
use cutover_core::route::Reading;
use cutover_core::slot::SlotId;
use cutover_core::state_file::{HEADER_SIZE, NAMES_OFFSET, NAMES_SIZE, Names, RECORD_SIZE, record_offset};
use ngx::ffi::{NGX_LOG_ALERT, NGX_LOG_WARN, ngx_log_t};

use crate::ext;
use crate::group::Group;
use crate::memory::file::{self, Identity};

/// What the records of a file said when this process, started by a binary upgrade, began: the old master's configuration.
static BEFORE_UPGRADE: OnceLock<(Identity, Vec<Configured>)> = OnceLock::new();

/// Which slots of a record the configuration that runs has.
type Configured = (u32, Vec<SlotId>);

/// Writes into each group's record which slots it has.
pub(super) fn write_configured(descriptor: &OwnedFd, groups: &[Box<Group>]) -> io::Result<()> {
    let file = File::from(descriptor.try_clone()?);
    if ext::is_upgrade() && BEFORE_UPGRADE.get().is_none() {
        let _ = BEFORE_UPGRADE.set((file::identity(&file)?, read_configured(&file)?));
    }
    let configured = groups.iter().filter_map(|group| {
        Some((group.record()?, group.slots.iter().filter_map(|slot| slot.id.get()).collect::<Vec<_>>()))
    });
    write(&file, configured)
}

/// Makes the records say again what they said before the binary upgrade.
pub(super) fn give_back(descriptor: &OwnedFd) -> io::Result<()> {
    let file = File::from(descriptor.try_clone()?);
    match BEFORE_UPGRADE.get() {
        Some((identity, before)) if *identity == file::identity(&file)? => {
            write(&file, before.iter().cloned())
        }
        // A reload has moved the new master to another file.
        _ => Ok(()),
    }
}

fn read_configured(file: &File) -> io::Result<Vec<Configured>> {
    let capacity = (file.metadata()?.len().saturating_sub(HEADER_SIZE as u64)) / RECORD_SIZE as u64;
    let mut all = Vec::new();
    for record in 0..u32::try_from(capacity).unwrap_or(u32::MAX) {
        match read_names(file, record)? {
            Some(names) if !names.group.is_empty() => all.push((record, names.configured())),
            _ => {}
        }
    }
    Ok(all)
}

fn write(file: &File, configured: impl Iterator<Item = Configured>) -> io::Result<()> {
    let mut written = false;
    for (record, ids) in configured {
        let Some(names) = read_names(file, record)? else { continue };
        let now = names.with_configured(&ids);
        if now != names {
            file.write_all_at(&now.encode(), names_offset(record))?;
            written = true;
        }
    }
    if written { file.sync_all() } else { Ok(()) }
}

fn read_names(file: &File, record: u32) -> io::Result<Option<Names>> {
    let mut stored = [0; NAMES_SIZE];
    file.read_exact_at(&mut stored, names_offset(record))?;
    Ok(Names::decode(&stored))
}

fn names_offset(record: u32) -> u64 {
    (record_offset(record) + NAMES_OFFSET) as u64
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
    // If it is refused, the route was switched again, to a slot that exists: nothing is left to take back.
    if let Ok(taken) = word.switch(reading, Some(route.to.active), id.into()) {
        let reason = "the configuration dropped the slot at the same time";
        let event = RouteEvent::new(Kind::TakenBack, "", &back.name, taken.generation);
        group.write_event(event.by("nginx", reason), log);
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

/// Another folder takes over, whose routes were compared with these when the configuration was read. A worker may have switched
/// since: then the traffic stays where it is. A worker that switches from now on sees that the folder is left, or its switch is
/// seen here.
pub(super) fn carry_over(left: &[Box<Group>], next: &[Box<Group>], log: *mut ngx_log_t) {
    let active: HashMap<_, _> = left.iter().map(|group| (group.name.as_str(), group.active_name())).collect();
    for group in next {
        let Some(was) = active.get(group.name.as_str()).copied() else { continue };
        let (reading, word) = (group.reading(), group.word());
        let from = group.name_in(reading);
        let to = group.slots.iter().find(|slot| slot.name == was).and_then(|slot| slot.id.get());
        let (Some(word), Some(to)) = (word.filter(|_| was != from), to) else { continue };
        if let Ok(route) = word.switch(reading, group.active_id(reading), to.into()) {
            let reason = "switched in the folder that nginx leaves, while it read the configuration";
            let event = RouteEvent::new(Kind::Switch, from, was, route.generation);
            group.write_event(event.by("nginx", reason), log);
            ext::log(
                NGX_LOG_WARN,
                log,
                format_args!(
                    "cutover: group \"{}\" was switched to \"{was}\" in the folder that nginx leaves, while it read \
                     the configuration; it goes along",
                    group.name
                ),
            );
            group.flush_in_background();
        }
    }
}
