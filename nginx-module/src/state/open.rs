//! Opening the state for a configuration that is being read.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use cutover_core::state_file::{
    self, ConfiguredGroup, NAMES_OFFSET, Names, Plan, RECORD_SIZE, Record, record_offset,
};
use ngx::ffi::ngx_conf_t;

use super::State;
use super::lock::{self, LockedFile, Origin};
use crate::ext::{self, ConfExt, Logged, Place};
use crate::group::Group;
use crate::memory::Memory;
use crate::memory::descriptors;
use crate::memory::error::{StateError, failed};
use crate::memory::events::{self, Events};
use crate::memory::file::{self, Access, Identity};
use crate::memory::mapping::Mapping;
use crate::memory::memfd::{self, Memfd, SlotKey};

/// Opens the state for the configuration that is being read; with `nginx -t` only checks that it could.
pub(crate) fn open(
    cf: &mut ngx_conf_t,
    folder: &str,
    place: &Place,
    groups: &[Box<Group>],
    origin: Origin<&State>,
) -> Result<Option<State>, Logged> {
    let folder = Path::new(folder);
    let result = if ext::only_checking() {
        check(folder, groups).map(|()| None)
    } else {
        open_and_map(folder, groups, origin).map(Some)
    };
    result.map_err(|error| cf.refuse_at(place, format_args!("cutover_state: {error}")))
}

/// Creates and changes nothing, takes no lock.
fn check(folder: &Path, groups: &[Box<Group>]) -> Result<(), StateError> {
    file::check_folder(folder)?;
    let path = file::path(folder);
    let records = match file::open_existing(&path, Access::Read)? {
        Some(file) => {
            file::check_can_write(&path)?;
            read(&path, &file)?
        }
        None => {
            file::check_can_write(folder)?;
            Vec::new()
        }
    };
    state_file::plan(&records, &configured(groups))?;
    events::check(folder)
}

fn open_and_map(folder: &Path, groups: &[Box<Group>], origin: Origin<&State>) -> Result<State, StateError> {
    file::check_folder(folder)?;
    // Descriptors are recognised by the path that the kernel shows for them, which has no symbolic links.
    let folder = folder.canonicalize().map_err(|error| failed("resolving", folder, error))?;
    let path = file::path(&folder);
    let file = open_and_lock(&path, origin.map(|state| &state.file))?;

    let mut records = read(&path, &file)?;
    let fresh = matches!(origin, Origin::Exec) && !ext::is_upgrade();
    if fresh {
        // What ran before runs no more: no process knows its slots.
        records.iter_mut().for_each(|record| record.names = record.names.with_configured(&[]));
    }
    let plan = state_file::plan(&records, &configured(groups))?;
    write(&path, &file, records.len() as u32, &plan)?;

    let routes_file = file::open_again(&path, &file)?;
    let size = state_file::file_size(plan.capacity) as usize;
    let routes = Mapping::shared(&routes_file, size).map_err(|error| failed("mapping", &path, error))?;
    let identity = file::identity(&file).map_err(|error| failed("reading", &path, error))?;
    let (name, slots) = (memfd::name(identity), slot_keys(groups, &plan, &records));
    let before = memory_before(&name, identity, origin);
    let (memfd, cells) = Memfd::open(&name, before, &slots).map_err(StateError::Counters)?;
    let memory = Box::new(Memory::new(routes, routes_file, memfd, Events::open(&folder)?));
    let mut cells = cells.into_iter();
    for (group, (record, names)) in groups.iter().zip(&plan.groups) {
        group.attach(*record, names, &memory, &mut cells);
    }
    Ok(State { file: LockedFile::new(path, identity, file.into()), memory, fresh })
}

fn open_and_lock(path: &Path, origin: Origin<&LockedFile>) -> Result<File, StateError> {
    let file = match file::open_existing(path, Access::Write)? {
        Some(file) => file,
        None => {
            lock::refuse_if_held(path, origin)?;
            file::create(path)?
        }
    };
    lock::share_or_lock(path, file, origin)
}

/// The memory that the counters of this file are in already.
fn memory_before(name: &str, identity: Identity, origin: Origin<&State>) -> Option<OwnedFd> {
    match origin {
        Origin::Cycle(Some(state)) => state.counters_of(identity),
        Origin::Cycle(None) | Origin::Exec => {
            let found = lock::find(&PathBuf::from(format!("/memfd:{name} (deleted)")), origin)?;
            descriptors::keep_over_exec(&found).ok()?;
            Some(found)
        }
    }
}

fn configured(groups: &[Box<Group>]) -> Vec<ConfiguredGroup<'_>> {
    let mut configured = Vec::with_capacity(groups.len());
    for group in groups {
        let slots = group.slots.iter().map(|slot| slot.name.as_str()).collect();
        configured.push(ConfiguredGroup { group: &group.name, slots });
    }
    configured
}

/// The slots of the configuration, in its order.
fn slot_keys(groups: &[Box<Group>], plan: &Plan, records: &[Record]) -> Vec<SlotKey> {
    let mut keys = Vec::new();
    for (group, (record, names)) in groups.iter().zip(&plan.groups) {
        let before = records.get(*record as usize).map(|record| &record.names);
        for slot in &group.slots {
            let Some(id) = names.id_of(&slot.name) else { continue };
            let another = |names: &Names| names.slot(id).is_some() && !names.is_slot(id, &slot.name);
            keys.push(SlotKey { record: *record, id, reassigned: before.is_some_and(another) });
        }
    }
    keys
}

fn read(path: &Path, file: &File) -> Result<Vec<Record>, StateError> {
    let bytes = file::read_all(file).map_err(|error| failed("reading", path, error))?;
    let damaged = |damage| StateError::Damaged { path: path.to_owned(), damage };
    let capacity = state_file::decode_header(&bytes, bytes.len() as u64).map_err(damaged)?;
    state_file::decode_records(&bytes, capacity).map_err(damaged)
}

/// Makes the file know the configuration. Each write is one sector, and each order of them leaves a file that can be read.
fn write(path: &Path, file: &File, capacity: u32, plan: &Plan) -> Result<(), StateError> {
    let failed = |error| failed("writing", path, error);
    if plan.capacity > capacity {
        let room = vec![0; (plan.capacity - capacity) as usize * RECORD_SIZE];
        file.write_all_at(&room, state_file::file_size(capacity)).map_err(failed)?;
        file.sync_all().map_err(failed)?;
        file.write_all_at(&state_file::encode_header(plan.capacity), 0).map_err(failed)?;
    }
    for (index, names) in &plan.writes {
        let offset = record_offset(*index) + NAMES_OFFSET;
        file.write_all_at(&names.encode(), offset as u64).map_err(failed)?;
    }
    if plan.capacity > capacity || !plan.writes.is_empty() {
        file.sync_all().map_err(failed)?;
    }
    Ok(())
}
