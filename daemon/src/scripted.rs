//! For tests: a world in memory. It counts requests, keeps a database and two slots, fails where a test says so, and notes
//! whatever must never happen.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use cutover_core::api::{Group, Groups, Peer, RouteChange, RouteState, Slot, TrialState};
use cutover_core::counters::Counters;
use cutover_core::smoke::Answer;
use cutover_core::split::Percent;
use http::Request;
use http_body_util::Full;

use crate::command::{Failed, Job};
use crate::edge::{Edge, EdgeError, SwitchError};
use crate::journal::JournalError;
use crate::world::{Peers, World};

/// For ever, as far as a test goes.
pub(crate) const ALWAYS: u32 = u32::MAX;

/// Something that a test does to the scene.
pub(crate) struct Happening(pub(crate) Box<dyn FnOnce(&mut Scene) + Send>);

impl std::fmt::Debug for Happening {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Happening")
    }
}

/// What goes wrong with a switch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Done, and the reply is lost.
    LostDone,
    /// Not done, and the reply is lost.
    LostUndone,
    /// Not done yet, and the reply is lost: see [`Scene::deliver`].
    Late,
    /// Done in memory, not on disk.
    NotDurable,
    /// Nobody listens.
    NotSent,
    /// nginx says no.
    Refused,
    /// Somebody else was first and moved the traffic to and fro.
    Beaten,
}

/// All that can be seen and set.
#[derive(Debug)]
pub(crate) struct Scene {
    pub(crate) active: String,
    pub(crate) generation: u32,
    /// Slots that run, and the version in each.
    pub(crate) running: BTreeMap<String, String>,
    /// Slots that run and answer 503 to probes.
    pub(crate) sick: Vec<String>,
    /// Versions that answer 500 to users.
    pub(crate) bad_version: Option<String>,
    /// Versions that answer 500 to smoke tests.
    pub(crate) bad_smoke: bool,
    /// A smoke test makes the new slot sick.
    pub(crate) sick_after_smoke: bool,
    /// Requests that arrive between two looks at the counters.
    pub(crate) traffic: u64,
    /// Deployments whose migration is in the database, in order.
    pub(crate) database: Vec<String>,
    /// Moves of the route.
    pub(crate) moves: Vec<String>,
    /// Commands, in order.
    pub(crate) commands: Vec<String>,
    /// How often a command, or reading the group, fails from now on.
    pub(crate) faults: BTreeMap<String, u32>,
    /// What a command exits with the next time.
    pub(crate) exit_code: BTreeMap<String, i32>,
    /// What goes wrong with the next switches.
    pub(crate) switch_faults: Vec<Fault>,
    /// Requests that a slot never gets rid of.
    pub(crate) held: u64,
    /// When this slot gets the traffic, that one becomes sick.
    pub(crate) sick_after_switch: Option<String>,
    /// Reads of the group until somebody else moves the route to this slot.
    pub(crate) meddler: Option<(u32, String)>,
    /// Reads of the group fail from the moment the new slot has the traffic, so often.
    pub(crate) blind_after_switch: u32,
    /// Servers of each slot, in the order of the configuration.
    pub(crate) slots: Vec<(String, Vec<Peer>)>,
    /// Servers that nobody listens at.
    pub(crate) dead: Vec<String>,
    /// A slot that has a share, and how much.
    pub(crate) split: Option<(String, Percent)>,
    /// The trial of the last change.
    pub(crate) trial: Option<TrialState>,
    /// The slot that was chosen to stand by.
    pub(crate) standby: Option<String>,
    /// Requests and upgraded connections that slots hold without having the traffic.
    pub(crate) holds: BTreeMap<String, (u64, u64)>,
    /// Other groups of this nginx.
    pub(crate) others: Vec<Group>,
    /// A version that answers 500 to so many of a hundred users.
    pub(crate) errors: Option<(String, u64)>,
    /// A version that answers 500 to all users once it has answered so many.
    pub(crate) bad_after: Option<(String, u64)>,
    /// Servers that die when green gets the traffic.
    pub(crate) dead_after_switch: Vec<String>,
    /// What happens when a command has run.
    pub(crate) after_command: Option<(String, Happening)>,
    /// Switches that are still under way, and the generations that they expect.
    late: Vec<(RouteChange, u32)>,
    counters: BTreeMap<String, Counters>,
    /// What must never happen.
    pub(crate) violations: Vec<String>,
}

/// The world.
#[derive(Debug)]
pub(crate) struct Scripted(Mutex<Scene>);

impl Scripted {
    /// Version 1 runs in blue, which has the traffic.
    pub(crate) fn new() -> Self {
        Self(Mutex::new(Scene {
            active: "blue".to_owned(),
            generation: 4,
            running: [("blue".to_owned(), "1".to_owned())].into(),
            sick: Vec::new(),
            bad_version: None,
            bad_smoke: false,
            sick_after_smoke: false,
            traffic: 100,
            database: Vec::new(),
            moves: Vec::new(),
            commands: Vec::new(),
            faults: BTreeMap::new(),
            exit_code: BTreeMap::new(),
            switch_faults: Vec::new(),
            held: 0,
            sick_after_switch: None,
            meddler: None,
            blind_after_switch: 0,
            slots: [("blue", 1), ("green", 2)].map(|(name, port)| (name.to_owned(), vec![peer(port)])).into(),
            dead: Vec::new(),
            split: None,
            trial: None,
            standby: None,
            holds: BTreeMap::new(),
            others: Vec::new(),
            errors: None,
            bad_after: None,
            dead_after_switch: Vec::new(),
            after_command: None,
            late: Vec::new(),
            counters: BTreeMap::new(),
            violations: Vec::new(),
        }))
    }

    pub(crate) fn scene(&self) -> MutexGuard<'_, Scene> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Scene {
    pub(crate) fn fail(&mut self, what: &str, times: u32) {
        self.faults.insert(what.to_owned(), times);
    }

    fn fails(&mut self, what: &str) -> bool {
        match self.faults.get_mut(what) {
            Some(0) | None => false,
            Some(left) => {
                *left -= 1;
                true
            }
        }
    }

    fn healthy(&self, slot: &str) -> bool {
        self.running.contains_key(slot) && !self.sick.iter().any(|sick| sick == slot)
    }

    pub(crate) fn move_route(&mut self, to: &str) {
        self.active = to.to_owned();
        self.split = None;
        self.trial = None;
        self.generation += 1;
    }

    /// What was under way all the time arrives now.
    pub(crate) fn deliver(&mut self) {
        for (change, expected) in std::mem::take(&mut self.late) {
            let _ = self.switch(&change, expected);
        }
    }

    /// Whether users' requests go to a slot, or may at any moment.
    fn has_users(&self, slot: &str) -> bool {
        self.active == slot
            || self.split.as_ref().is_some_and(|(second, _)| second == slot)
            || self.trial.as_ref().is_some_and(|trial| trial.fallback == slot)
    }

    /// Requests and upgraded connections that a slot without traffic holds. One that is stopped holds nothing.
    fn held_by(&self, slot: &str) -> (u64, u64) {
        let holds = self.holds.get(slot).copied().unwrap_or((self.held, 0));
        if self.running.contains_key(slot) { holds } else { (0, 0) }
    }

    fn serve_users(&mut self) {
        let bad = match self.running.get(&self.active) {
            Some(version) => Some(version) == self.bad_version.as_ref(),
            None => true,
        };
        let counters = self.counters.entry(self.active.clone()).or_default();
        let turned = self.bad_after.as_ref().is_some_and(|(version, answers)| {
            self.running.get(&self.active) == Some(version) && counters.requests >= *answers
        });
        let bad = bad || turned;
        counters.requests += self.traffic;
        counters.attempts += self.traffic;
        let percent =
            self.errors.as_ref().filter(|(version, _)| self.running.get(&self.active) == Some(version));
        let percent = if bad { 100 } else { percent.map_or(0, |(_, percent)| *percent) };
        let errors = self.traffic * percent / 100;
        counters.responses.server_error += errors;
        counters.responses.success += self.traffic - errors;
    }

    fn look(&mut self) -> Group {
        if let Some((reads, to)) = &mut self.meddler {
            *reads = reads.saturating_sub(1);
            if *reads == 0 {
                let to = to.clone();
                self.move_route(&to);
                self.meddler = None;
            }
        }
        self.serve_users();
        let slot = |(name, peers): &(String, Vec<Peer>)| {
            let (held, upgraded) = self.held_by(name);
            Slot {
                name: name.clone(),
                upstream: format!("shop_{name}"),
                peers: peers.clone(),
                counters: Counters {
                    in_flight: if self.active == *name { self.traffic } else { held },
                    ..self.counters.get(name).copied().unwrap_or_default()
                },
                upgraded,
                ..Slot::default()
            }
        };
        let split = self.split.as_ref().map(|(second, percent)| {
            let rest = Percent::from_parts(10_000 - percent.parts()).unwrap();
            [(self.active.clone(), rest), (second.clone(), *percent)].into()
        });
        Group {
            name: "shop".to_owned(),
            route: RouteState {
                active: self.active.clone(),
                generation: self.generation,
                split,
                trial: self.trial.clone(),
                standby: self.standby.clone().filter(|slot| *slot != self.active),
            },
            slots: self.slots.iter().map(slot).collect(),
            events: Vec::new(),
        }
    }

    fn switch(&mut self, change: &RouteChange, expected: u32) -> Result<Group, SwitchError> {
        let to = change.active.as_deref().unwrap_or_default();
        let fault = if self.switch_faults.is_empty() { None } else { Some(self.switch_faults.remove(0)) };
        match fault {
            Some(Fault::NotSent) => return Err(SwitchError::NotSent(unreachable())),
            Some(Fault::LostUndone) => return Err(SwitchError::Unknown(unreachable())),
            Some(Fault::Late) => {
                self.late.push((change.clone(), expected));
                return Err(SwitchError::Unknown(unreachable()));
            }
            Some(Fault::Refused) => return Err(SwitchError::Refused("read only".to_owned())),
            Some(Fault::Beaten) => {
                self.move_route("green");
                self.move_route("blue");
            }
            _ => {}
        }
        if expected != self.generation {
            return Err(SwitchError::Moved(Box::new(self.look())));
        }
        if self.active == to && (self.split.is_some() || self.trial.is_some()) {
            self.move_route(to);
        } else if self.active != to {
            if !self.healthy(to) {
                self.violations.push(format!("traffic was moved to {to}, which is not healthy"));
            }
            self.moves.push(format!("{}->{to}", self.active));
            self.move_route(to);
            if self.active == "green" {
                if let Some(slot) = self.sick_after_switch.take() {
                    self.sick.push(slot);
                }
                self.dead.append(&mut self.dead_after_switch);
                let blind = std::mem::take(&mut self.blind_after_switch);
                self.fail("group", blind);
            }
        } else if change.fence {
            self.generation += 1;
        }
        match fault {
            Some(Fault::LostDone) => Err(SwitchError::Unknown(unreachable())),
            Some(Fault::NotDurable) => Err(SwitchError::NotDurable("disk full".to_owned())),
            _ => Ok(self.look()),
        }
    }

    fn run(&mut self, job: &Job) -> Result<(), Failed> {
        let slot = job.environment.get("CUTOVER_SLOT").cloned().unwrap_or_default();
        let version = job.environment.get("CUTOVER_VERSION").cloned().unwrap_or_default();
        let command = format!("{} {slot}", job.name);
        self.commands.push(command.clone());
        assert!(!self.fails("panic"), "a bug, as a test wants it");
        if let Some(code) = self.exit_code.remove(&job.name) {
            let failed = Failed::early(format!("{} ended with exit status: {code}", job.name));
            return Err(Failed { code: Some(code), ..failed });
        }
        if self.fails(&job.name) {
            return Err(Failed::early(format!("{} ended with exit status: 1", job.name)));
        }
        match job.name.as_str() {
            "migrate" if !self.database.contains(&job.deployment) => {
                self.database.push(job.deployment.clone());
            }
            "revert" => {
                if self.has_users(&slot) || self.held_by(&slot).0 > 0 {
                    self.violations.push("the database was reverted under a version in use".to_owned());
                }
                self.database.retain(|deployment| *deployment != job.deployment);
            }
            "provision" => {
                if self.has_users(&slot) {
                    self.violations.push(format!("slot {slot} was started anew under its users"));
                }
                self.running.insert(slot, version);
            }
            "decommission" | "teardown" => {
                if self.has_users(&slot) {
                    self.violations.push(format!("slot {slot} was stopped under its users"));
                }
                self.running.remove(&slot);
            }
            _ => {}
        }
        if let Some((_, Happening(happen))) = self.after_command.take_if(|(after, _)| *after == command) {
            happen(self);
        }
        Ok(())
    }
}

/// A server on loopback.
pub(crate) fn peer(port: u16) -> Peer {
    Peer { address: format!("127.0.0.1:{port}"), server: None, backup: false, down: false }
}

fn unreachable() -> EdgeError {
    EdgeError::Unreachable { address: "unix:/nginx".to_owned(), why: "connection refused".to_owned() }
}

impl Edge for Scripted {
    async fn groups(&self) -> Result<Groups, EdgeError> {
        let group = self.group("shop").await?;
        let groups = [group].into_iter().chain(self.scene().others.clone()).collect();
        Ok(Groups { module: "0".to_owned(), nginx: "0".to_owned(), groups })
    }

    async fn group(&self, _: &str) -> Result<Group, EdgeError> {
        tokio::time::sleep(Duration::from_millis(1)).await;
        let mut scene = self.scene();
        if scene.fails("group") { Err(unreachable()) } else { Ok(scene.look()) }
    }

    async fn stand_by(&self, _: &str, slot: &str) -> Result<(), EdgeError> {
        self.scene().standby = Some(slot.to_owned());
        Ok(())
    }

    async fn switch(&self, _: &str, change: &RouteChange, expected: u32) -> Result<Group, SwitchError> {
        tokio::time::sleep(Duration::from_millis(1)).await;
        self.scene().switch(change, expected)
    }
}

impl Peers for Scripted {
    async fn ask(&self, peer: &str, request: Request<Full<Bytes>>, _: Duration) -> Result<Answer, String> {
        tokio::time::sleep(Duration::from_millis(1)).await;
        let mut scene = self.scene();
        let owner = scene.slots.iter().find(|(_, peers)| peers.iter().any(|one| one.address == peer));
        let slot = &*owner.map(|(name, _)| name.clone()).unwrap_or_default();
        if !scene.running.contains_key(slot) || scene.dead.iter().any(|dead| dead == peer) {
            return Err("no connection: connection refused".to_owned());
        }
        let status = match request.uri().path() {
            "/health/ready" if scene.healthy(slot) => 200,
            "/health/ready" => 503,
            _ if scene.bad_smoke => 500,
            _ => {
                if scene.sick_after_smoke {
                    scene.sick.push(slot.to_owned());
                }
                200
            }
        };
        Ok(Answer { status, ..Answer::default() })
    }
}

impl World for Scripted {
    async fn run(&self, job: &Job) -> Result<(), Failed> {
        tokio::time::sleep(Duration::from_secs(1)).await;
        self.scene().run(job)
    }

    async fn end_commands(&self, _: &str) -> Result<(), JournalError> {
        Ok(())
    }
}
