//! The mapped state file: opened by the master, one cycle after the other, and inherited by every worker.
//!
//! The descriptor stays open across exec on purpose: the master that a binary upgrade starts finds it among its own and so
//! shares the lock of the old master, while any other nginx is turned away. Workers close it; they have the mapping, and each
//! has an opening of the file of its own to flush it by.

use std::cell::{Cell, OnceCell};
use std::fs::File;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::ptr::NonNull;
use std::sync::atomic::AtomicU16;

use cutover_core::route::SlotId;
use cutover_core::state_file::{
    self, CONFIGURED_OFFSET, Conflict, Damage, Head, NAMES_OFFSET, Names, Plan, RECORD_SIZE, Record, Wanted,
    record_offset,
};
use ngx::ffi::{NGX_LOG_CRIT, NGX_LOG_WARN, ngx_conf_t, ngx_log_t, ngx_worker};

use crate::counters::{CellId, Counters, WantedCell};
use crate::ext::{self, ConfExt, Logged, Place};
use crate::group::Group;
use crate::state::events::Events;
use crate::state::inherited::Origin;
use crate::state::mapping::Mapping;
use crate::trial;

mod commit;
mod events;
mod file;
pub(crate) mod flush;
pub(crate) mod inherited;
pub(crate) mod mapping;

/// What groups point at.
pub(crate) struct Shared {
    pub(crate) routes: Mapping,
    /// What `routes` is a mapping of.
    routes_file: File,
    /// One more opening for each worker.
    for_workers: Cell<Vec<File>>,
    /// That of this worker.
    own: OnceCell<File>,
    pub(crate) counters: Counters,
    pub(crate) events: Events,
}

impl Shared {
    /// The file with the routes, for who brings it to disk. The kernel tells each opening once of what it could not write.
    pub(crate) fn routes_file(&self) -> &File {
        self.own.get().unwrap_or(&self.routes_file)
    }
}

/// The state of one cycle.
pub(crate) struct State {
    path: PathBuf,
    identity: Identity,
    /// Boxed: it stays where it is when the state moves.
    shared: Box<Shared>,
    /// The first state of this nginx: nobody else is at work on the file.
    fresh: bool,
    /// Holds the lock. Taken out by workers.
    descriptor: Cell<Option<OwnedFd>>,
}

impl State {
    /// Begins to count as this process.
    pub(crate) fn enter_worker(&self, groups: &[Box<Group>], log: *mut ngx_log_t) {
        let mut openings = self.shared.for_workers.take();
        // SAFETY: nginx sets it before it calls init_process.
        let worker = unsafe { ngx_worker };
        if worker < openings.len() {
            let _ = self.shared.own.set(openings.swap_remove(worker));
        }
        self.shared.counters.enter_worker(groups, log);
        // The keys come from the system, but before the fork: the id makes them this process's own.
        let keys = RandomState::new();
        for group in groups {
            group.dice.seed(keys.hash_one((std::process::id(), group.record.get())));
        }
    }

    /// Closes what only the master needs, so that a process it leaves behind does not hold the lock.
    pub(crate) fn leave_master(&self) {
        self.descriptor.take();
        self.shared.counters.leave_master();
    }

    /// Where the file is, without symbolic links.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    fn identity(&self) -> Identity {
        self.identity
    }

    fn descriptor_number(&self) -> Option<RawFd> {
        self.with_descriptor(|descriptor| Some(descriptor.as_raw_fd()))
    }

    /// The same lock for the next cycle.
    fn share(&self) -> Option<OwnedFd> {
        self.with_descriptor(|descriptor| descriptor.try_clone().ok())
    }

    /// The counters for the next cycle, if it has the same file.
    pub(crate) fn counters_of(&self, identity: Identity) -> Option<OwnedFd> {
        if identity == self.identity { self.shared.counters.share() } else { None }
    }

    fn uses(&self, fd: RawFd) -> bool {
        self.descriptor_number() == Some(fd) || self.shared.counters.uses(fd)
    }

    fn with_descriptor<T>(&self, use_it: impl FnOnce(&OwnedFd) -> Option<T>) -> Option<T> {
        let descriptor = self.descriptor.take()?;
        let result = use_it(&descriptor);
        self.descriptor.set(Some(descriptor));
        result
    }

    /// Opens the file once more for each worker, which a worker itself may not.
    pub(crate) fn open_for_workers(&self, workers: usize, log: *mut ngx_log_t) {
        let opened: Result<Vec<File>, StateError> =
            (0..workers).map(|_| open_again(&self.path, &self.shared.routes_file)).collect();
        match opened {
            Ok(files) => self.shared.for_workers.set(files),
            // They go by the opening that they have in common.
            Err(error) => ext::log(NGX_LOG_WARN, log, format_args!("cutover_state: {error}")),
        }
    }

    /// The configuration runs from now on: only its slots may be switched to. A switch that an old worker made meanwhile to a
    /// slot that is gone is taken back to where the traffic was.
    pub(crate) fn commit(&self, groups: &[Box<Group>], log: *mut ngx_log_t) {
        self.shared.counters.come_back();
        self.write_or_log(log, |descriptor| commit::write_configured(descriptor, groups));
        let boot = trial::boot();
        for group in groups {
            commit::take_back(group, log);
            trial::begin(group, boot, self.fresh, log);
        }
    }

    /// Whether both go by one file.
    pub(crate) fn is_same_file(&self, other: &Self) -> bool {
        self.identity == other.identity
    }

    /// Another configuration runs from now on. Unless it has the same file, the workers of this one may change nothing more:
    /// nobody else would go by it.
    pub(crate) fn leave_to(
        &self,
        own: &[Box<Group>],
        next: Option<(&Self, &[Box<Group>])>,
        log: *mut ngx_log_t,
    ) {
        if next.is_some_and(|(next, _)| self.is_same_file(next)) {
            return;
        }
        self.shared.counters.leave_behind();
        let (_, groups) = next.unzip();
        commit::carry_over(own, groups.unwrap_or_default(), log);
    }

    /// The master that a binary upgrade has started ends before the old one: the old one's slots may be switched to again.
    pub(crate) fn give_back(&self, log: *mut ngx_log_t) {
        self.write_or_log(log, commit::give_back);
    }

    fn write_or_log(&self, log: *mut ngx_log_t, write: impl FnOnce(&OwnedFd) -> io::Result<()>) {
        if let Some(Err(error)) = self.with_descriptor(|descriptor| Some(write(descriptor))) {
            ext::log(
                NGX_LOG_CRIT,
                log,
                format_args!("cutover_state: writing \"{}\" failed: {error}", self.path.display()),
            );
        }
    }
}

/// Why the state cannot be used. The text follows "cutover_state: ".
#[derive(Debug, thiserror::Error)]
pub(crate) enum StateError {
    #[error(
        "folder \"{}\" cannot be used: {why}; make it with \"install -d -m 0700 {}\" as the user that starts nginx",
        folder.display(), folder.display()
    )]
    Folder { folder: PathBuf, why: String },
    #[error("{action} \"{}\" failed: {error}", path.display())]
    Io { action: &'static str, path: PathBuf, error: io::Error },
    #[error(
        "state file \"{}\" {damage}; traffic must not follow a guess: restore it from a backup, or remove it to begin \
         with \"active\" of the configuration", path.display()
    )]
    Damaged { path: PathBuf, damage: Damage },
    #[error("file \"{}\" {why}; expected a regular file that only the user who starts nginx can write", path.display())]
    Unsafe { path: PathBuf, why: &'static str },
    #[error(
        "state file \"{}\" is in use by another nginx; stop that one, or give this one a folder of its own{hint}",
        path.display()
    )]
    InUse { path: PathBuf, hint: &'static str },
    #[error(
        "state file \"{}\" was removed or replaced while nginx runs on the old one; copy {held} over it to keep \
         the routes, then stop and start nginx", path.display()
    )]
    Replaced { path: PathBuf, held: String },
    #[error("{0}")]
    Conflict(#[from] Conflict),
    #[error("making shared memory for the counters failed: {0}")]
    Counters(io::Error),
}

/// Opens the state for the configuration that is being read; with `nginx -t` only checks that it could.
pub(crate) fn open(
    cf: &mut ngx_conf_t,
    folder: &str,
    place: &Place,
    groups: &[Box<Group>],
    origin: Origin<'_>,
) -> Result<Option<State>, Logged> {
    let folder = Path::new(folder);
    let result = if ext::only_checking() {
        check(folder, groups).map(|()| None)
    } else {
        open_and_map(folder, groups, origin).map(Some)
    };
    result.map_err(|error| cf.refuse_at(place, format_args!("cutover_state: {error}")))
}

fn wanted(groups: &[Box<Group>]) -> Vec<Wanted<'_>> {
    let mut wanted = Vec::with_capacity(groups.len());
    for group in groups {
        let slots = group.slots.iter().map(|slot| slot.name.as_str()).collect();
        wanted.push(Wanted { group: &group.name, slots });
    }
    wanted
}

/// Creates and changes nothing, takes no lock.
fn check(folder: &Path, groups: &[Box<Group>]) -> Result<(), StateError> {
    file::check_folder(folder)?;
    let path = file::path(folder);
    let records = match file::open_existing(&path, file::Access::Read)? {
        Some(file) => {
            file::check_can_write(&path)?;
            read(&path, &file)?
        }
        None => {
            file::check_can_write(folder)?;
            Vec::new()
        }
    };
    state_file::plan(&records, &wanted(groups))?;
    events::check(folder)
}

fn open_and_map(folder: &Path, groups: &[Box<Group>], origin: Origin<'_>) -> Result<State, StateError> {
    file::check_folder(folder)?;
    // Descriptors are recognised by the path that the kernel shows for them, which has no symbolic links.
    let folder = folder.canonicalize().map_err(|error| file::failed("resolving", folder, error))?;
    let path = file::path(&folder);
    let file = file::open_or_create(&path, origin)?;
    let file = inherited::share_or_lock(&path, file, origin)?;

    let mut records = read(&path, &file)?;
    let fresh = matches!(origin, Origin::Exec) && !ext::is_upgrade();
    if fresh {
        // What ran before runs no more: nobody knows its slots.
        records.iter_mut().for_each(|record| record.names = record.names.with_configured(&[]));
    }
    let plan = state_file::plan(&records, &wanted(groups))?;
    write(&path, &file, records.len() as u32, &plan)?;

    let size = state_file::file_size(plan.capacity) as usize;
    let routes_file = open_again(&path, &file)?;
    let routes =
        Mapping::shared(&routes_file, size).map_err(|error| file::failed("mapping", &path, error))?;
    let identity = file::identity(&file).map_err(|error| file::failed("reading", &path, error))?;
    let wanted = wanted_cells(groups, &plan, &records);
    let (counters, cells) = Counters::open(identity, &wanted, origin).map_err(StateError::Counters)?;
    let events = Events::open(&folder)?;
    let shared = Box::new(Shared {
        routes,
        routes_file,
        for_workers: Cell::default(),
        own: OnceCell::new(),
        counters,
        events,
    });
    attach(groups, &plan, &shared, &cells);
    Ok(State { path, identity, shared, fresh, descriptor: Cell::new(Some(file.into())) })
}

/// A cell for each slot of the configuration, in its order.
fn wanted_cells(groups: &[Box<Group>], plan: &Plan, records: &[Record]) -> Vec<WantedCell> {
    let mut wanted = Vec::new();
    for (group, (record, names)) in groups.iter().zip(&plan.groups) {
        let before = records.get(*record as usize).map(|record| &record.names);
        for slot in &group.slots {
            let Some(id) = names.id_of(&slot.name) else { continue };
            let another = |names: &Names| names.slot(id).is_some() && !names.is_slot(id, &slot.name);
            wanted.push(WantedCell { record: *record, id, fresh: before.is_some_and(another) });
        }
    }
    wanted
}

fn read(path: &Path, file: &File) -> Result<Vec<Record>, StateError> {
    let bytes = file::read_all(file).map_err(|error| file::failed("reading", path, error))?;
    let damaged = |damage| StateError::Damaged { path: path.to_owned(), damage };
    let capacity = state_file::decode_header(&bytes, bytes.len() as u64).map_err(damaged)?;
    state_file::decode_records(&bytes, capacity).map_err(damaged)
}

/// Makes the file know the configuration. Each write is one sector, and each order of them leaves a file that can be read.
fn write(path: &Path, file: &File, capacity: u32, plan: &Plan) -> Result<(), StateError> {
    let failed = |error| file::failed("writing", path, error);
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

/// Another opening of the file, for workers: one that outlives its master must not hold the lock, and a mapping keeps open what
/// it was made of.
fn open_again(path: &Path, file: &File) -> Result<File, StateError> {
    let failed = |error| file::failed("opening", path, error);
    let again = file::open_existing(path, file::Access::Write)?;
    let again = again.ok_or_else(|| failed(io::ErrorKind::NotFound.into()))?;
    if file::identity(&again).map_err(failed)? != file::identity(file).map_err(failed)? {
        return Err(StateError::Replaced { path: path.to_owned(), held: "the old file".to_owned() });
    }
    Ok(again)
}

/// Points each group at its record, and each slot at its counters.
fn attach(groups: &[Box<Group>], plan: &Plan, shared: &Shared, cells: &[CellId]) {
    let mut cells = cells.iter();
    for (group, (record, names)) in groups.iter().zip(&plan.groups) {
        group.record.set(*record);
        let offset = record_offset(*record);
        group.head.set(shared.routes.at(offset).map(NonNull::cast::<Head>));
        group.configured.set(shared.routes.at(offset + CONFIGURED_OFFSET).map(NonNull::cast::<AtomicU16>));
        group.shared.set(Some(shared.into()));
        for slot in &group.slots {
            let id: Option<SlotId> = names.id_of(&slot.name);
            slot.id.set(id);
            slot.cell.set(id.and_then(|_| cells.next().copied()));
        }
        group.index_slots();
    }
}

/// What tells one state file from another while both exist: device and inode.
pub(crate) type Identity = (u64, u64);
