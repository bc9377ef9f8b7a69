//! The edge of stock nginx: a file with one `upstream` block for each group, and a reload.
//!
//! A change writes the file, tests it with nginx, reloads nginx, and waits until only new workers accept connections. Until its
//! last step the change is open on disk: a daemon that dies in between leaves the old file or the new one, and the next reading
//! settles the change. If nginx has loaded the new file, it stays. Otherwise the old file comes back, because nobody has just
//! proven the new slot.
//!
//! Workers that are shutting down keep the file that they were started with. Their requests are not counted, so each slot without
//! all of the traffic is shown with the number of these workers, and nothing there is stopped.

use std::sync::Arc;
use std::time::Duration;

use cutover_core::api::{Group, Peer, RouteState, Slot, kept_reason};
use cutover_core::deployment::Revision;
use cutover_core::fraction::{Percent, Share};
use cutover_engine::edge::{Abilities, Edge, EdgeError, Follow, Look, Partial, Shift, ShiftError};
use tokio::sync::Mutex;
use tokio::time::Instant;

mod change;
mod diff;
mod disk;
mod inspect;
mod log;
mod program;
mod settings;
mod syntax;
mod upstream;
mod workers;

use disk::Disk;
pub use inspect::Fault;
use log::Log;
pub use settings::{FileGroup, FileSlot, Server, Settings};
use upstream::{Cause, FileRoute, UpstreamFile, revision};
use workers::{Worker, Workers};

/// The subject of errors about the processes of nginx.
const NGINX: &str = "nginx";
/// A worker that was started so long after the file was changed has certainly read it. Clocks of files are coarse.
const MARGIN: Duration = Duration::from_secs(1);

/// The edge. Clones share its state.
#[derive(Clone, Debug)]
pub struct FileEdge(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    name: String,
    settings: Settings,
    workers: Workers,
    /// What the access log counts.
    log: Option<Log>,
    /// Held by the change that is under way: nginx is reloaded for one group at a time.
    changing: Arc<Mutex<()>>,
    /// When and why an open change could not be settled last.
    unsettled: parking_lot::Mutex<Option<(Instant, EdgeError)>>,
    only_reads: bool,
}

/// A file that was read.
struct Seen {
    file: UpstreamFile,
    revision: Revision,
}

impl FileEdge {
    /// The edge of the section `[edge.NAME]` of the configuration.
    pub fn new(name: &str, settings: Settings) -> Self {
        Self::with(name, settings, false)
    }

    /// The same for a program that runs beside the daemon: it settles no change that the daemon has begun.
    pub fn only_reading(name: &str, settings: Settings) -> Self {
        Self::with(name, settings, true)
    }

    fn with(name: &str, settings: Settings, only_reads: bool) -> Self {
        let workers = Workers::new(&settings.pid);
        let log = settings.log.as_deref().map(|path| Log::new(path, &settings.groups));
        let (changing, unsettled) = (Arc::default(), parking_lot::Mutex::default());
        Self(Arc::new(Shared {
            name: name.to_owned(),
            settings,
            workers,
            log,
            changing,
            unsettled,
            only_reads,
        }))
    }

    /// Its settings.
    pub fn settings(&self) -> &Settings {
        &self.0.settings
    }

    fn group(&self, name: &str) -> Result<&FileGroup, EdgeError> {
        let group = self.0.settings.groups.iter().find(|group| group.name == name);
        group.ok_or_else(|| EdgeError::Unusable {
            what: format!("edge.{}.group", self.0.name),
            why: format!("it has no group \"{name}\": add [edge.{}.group.{name}]", self.0.name),
        })
    }

    /// Reads a group. Settles a change that was left open.
    async fn read(&self, group: &FileGroup) -> Result<Look, EdgeError> {
        let disk = Disk::of(group);
        let mut is_under_way = false;
        if disk.is_open() {
            match Arc::clone(&self.0.changing).try_lock_owned() {
                Ok(_) if self.0.only_reads => is_under_way = true,
                Ok(guard) => {
                    let (edge, group) = (self.clone(), group.clone());
                    // A caller that stops waiting does not stop it.
                    let settling = tokio::spawn(async move {
                        let settled = edge.settle(&group).await;
                        drop(guard);
                        settled
                    });
                    settling.await.map_err(|error| unusable(&disk, error.to_string()))??;
                }
                Err(_) => is_under_way = disk.is_open(),
            }
        }
        let workers = self.workers()?;
        let bytes = if is_under_way { disk.read_before().or_else(|_| disk.read()) } else { disk.read() };
        let seen = seen(bytes, &disk, group)?;
        let changed = disk.changed().map_err(|error| unusable(&disk, error.to_string()))?;
        let is_old =
            |worker: &&Worker| is_under_way || (!worker.accepts && worker.started <= changed + MARGIN);
        let old: Vec<&Worker> = workers.iter().filter(is_old).collect();
        let for_s = old.iter().map(|worker| self.0.workers.shutting_down_for(worker).as_secs()).max();
        let for_s = u32::try_from(for_s.unwrap_or(0)).unwrap_or(u32::MAX);
        let active = seen.file.route.active;
        let mut look = looked(seen, group);
        if let Some(log) = &self.0.log {
            log.count(&group.name, active, &mut look.group.slots);
        }
        for slot in &mut look.group.slots {
            if !look.group.route.is_all_on(&slot.name) && !old.is_empty() {
                slot.old_workers = u32::try_from(old.len()).unwrap_or(u32::MAX);
                slot.old_workers_for_s = for_s;
            }
        }
        Ok(look)
    }

    fn workers(&self) -> Result<Vec<Worker>, EdgeError> {
        self.0.workers.all().map_err(|why| EdgeError::Unreachable {
            subject: NGINX,
            address: self.0.settings.pid.display().to_string(),
            why,
        })
    }

    /// Reads a group that must have the expected revision.
    async fn expect(&self, group: &FileGroup, expected: &Revision) -> Result<Look, ShiftError> {
        let look = self.read(group).await.map_err(ShiftError::NotSent)?;
        if look.revision == *expected { Ok(look) } else { Err(ShiftError::Moved(Box::new(look))) }
    }
}

fn unusable(disk: &Disk, why: String) -> EdgeError {
    EdgeError::Unusable { what: disk.file.display().to_string(), why }
}

fn seen(bytes: std::io::Result<Vec<u8>>, disk: &Disk, group: &FileGroup) -> Result<Seen, EdgeError> {
    let bytes = bytes.map_err(|error| unusable(disk, error.to_string()))?;
    let file = UpstreamFile::parse(&bytes, group).map_err(|why| unusable(disk, why))?;
    Ok(Seen { file, revision: revision(&bytes) })
}

fn looked(seen: Seen, group: &FileGroup) -> Look {
    let Seen { file: UpstreamFile { route, cause, .. }, revision } = seen;
    let name = |at: usize| group.slots.get(at).map(|slot| slot.name.clone()).unwrap_or_default();
    let split = route.second.map(|(second, percent)| {
        let rest = Share::WHOLE.saturating_sub(percent.parts());
        [(name(second), percent), (name(route.active), Percent::from_parts(rest).unwrap_or(percent))].into()
    });
    let slot = |slot: &FileSlot| Slot {
        name: slot.name.clone(),
        // Each slot is a part of the upstream, so two slots have none in common.
        upstream: format!("{}/{}", group.upstream, slot.name),
        peers: slot.servers.iter().map(peer).collect(),
        ..Slot::default()
    };
    let (active, generation) = (name(route.active), route.generation);
    let group = Group {
        name: group.name.clone(),
        route: RouteState { active, generation, split, trial: None, standby: None },
        slots: group.slots.iter().map(slot).collect(),
        events: Vec::new(),
    };
    Look { group, revision, follows: cause.follows, taken_back: None, reason: cause.reason }
}

fn peer(server: &Server) -> Peer {
    Peer { address: server.address().to_owned(), server: None, backup: false, down: false }
}

/// The route that a shift asks for.
fn route_of(shift: &Shift, now: &FileRoute, weighs: bool, group: &FileGroup) -> Result<FileRoute, String> {
    let position = |slot: &str| {
        group.position(slot).ok_or_else(|| format!("group \"{}\" has no slot \"{slot}\"", group.name))
    };
    let to = position(&shift.to)?;
    let generation = now.generation.saturating_add(1);
    match &shift.share {
        Some(Partial { percent, rest }) if percent.parts() < Share::WHOLE => {
            let rest = position(rest)?;
            if !weighs {
                return Err(
                    "this edge moves all traffic at once: for shares, set shares = \"weight\"".to_owned()
                );
            }
            Ok(FileRoute {
                active: rest,
                second: Some((to, *percent)).filter(|(_, part)| part.parts() > 0),
                generation,
            })
        }
        _ => Ok(FileRoute { active: to, second: None, generation }),
    }
}

impl Edge for FileEdge {
    fn name(&self) -> &str {
        &self.0.name
    }

    fn abilities(&self) -> Abilities {
        Abilities {
            follow: Follow::NewWorkers,
            trials: false,
            counters: self.0.log.is_some(),
            shares: self.0.settings.weighs,
        }
    }

    async fn groups(&self) -> Result<Vec<Group>, EdgeError> {
        let mut groups = Vec::new();
        for group in &self.0.settings.groups {
            groups.push(self.read(group).await?.group);
        }
        Ok(groups)
    }

    async fn look(&self, group: &str) -> Result<Look, EdgeError> {
        self.read(self.group(group)?).await
    }

    /// Stock nginx has no previews.
    async fn stand_by(&self, _: &str, _: &str) -> Result<(), EdgeError> {
        Ok(())
    }

    async fn shift(&self, group: &str, shift: &Shift, expected: &Revision) -> Result<Look, ShiftError> {
        let group = self.group(group).map_err(ShiftError::NotSent)?.clone();
        let (edge, shift, expected) = (self.clone(), shift.clone(), expected.clone());
        let subject = format!("the change of group \"{}\"", group.name);
        // A caller that stops waiting does not stop it halfway.
        let changing = tokio::spawn(async move { edge.change(&group, &shift, &expected).await });
        changing.await.unwrap_or_else(|error| {
            Err(ShiftError::Unknown(EdgeError::Unusable { what: subject, why: error.to_string() }))
        })
    }

    /// There is no trial, so this only reads.
    async fn renew(&self, group: &str, _: Duration, expected: &Revision) -> Result<Look, ShiftError> {
        self.expect(self.group(group).map_err(ShiftError::NotSent)?, expected).await
    }

    /// A change is permanent from its beginning.
    async fn confirm(&self, group: &str, _: &str, expected: &Revision) -> Result<Look, ShiftError> {
        let group = self.group(group).map_err(ShiftError::NotSent)?;
        let look = self.expect(group, expected).await?;
        let disk = Disk::of(group);
        disk.flush().map_err(|error| ShiftError::NotDurable(format!("{}: {error}", disk.file.display())))?;
        Ok(look)
    }
}
