//! For tests: a world in memory. It counts requests, keeps a database and two slots, fails where a test says so, and records what
//! must never happen.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use cutover_core::api::{Group, Peer, RouteState, Slot, TrialState};
use cutover_core::counters::Counters;
use cutover_core::deployment::{Plan, Revision, TakenBackBy, Time};
use cutover_core::fraction::Percent;
use cutover_core::smoke::Answer;
use http::Request;
use http_body_util::Full;

use crate::commands::{Commands, Failed, Job};
use crate::edge::{Abilities, Edge, EdgeError, Look, Shift, ShiftError};
use crate::journal::Deployment;
use crate::peers::Peers;
use crate::policy::Policy;

mod journal;
mod suite;

pub use journal::{Cut, MemoryJournal};
pub use suite::{
    Place, everything_fails_in_turn, killed_again_and_again, killed_at_every_record, moved_by_somebody_else,
};

/// For ever, as far as a test goes.
pub const ALWAYS: u32 = u32::MAX;

/// Something that a test does to the scene.
pub struct Happening(
    /// What is done.
    pub Box<dyn FnOnce(&mut Scene) + Send>,
);

impl std::fmt::Debug for Happening {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Happening")
    }
}

/// What goes wrong with a switch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
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
pub struct Scene {
    /// The slot that has the traffic.
    pub active: String,
    /// How often the route was moved.
    pub generation: u32,
    /// Slots that run, and the version in each.
    pub running: BTreeMap<String, String>,
    /// Slots that run and answer 503 to probes.
    pub sick: Vec<String>,
    /// Versions that answer 500 to users.
    pub bad_version: Option<String>,
    /// Versions that answer 500 to smoke tests.
    pub bad_smoke: bool,
    /// A smoke test makes the new slot sick.
    pub sick_after_smoke: bool,
    /// Requests that arrive between two looks at the counters.
    pub traffic: u64,
    /// Deployments whose migration is in the database, in order.
    pub database: Vec<String>,
    /// Moves of the route.
    pub moves: Vec<String>,
    /// Commands, in order.
    pub commands: Vec<String>,
    /// How often a command, or reading the group, fails from now on.
    pub faults: BTreeMap<String, u32>,
    /// What a command exits with the next time.
    pub exit_code: BTreeMap<String, i32>,
    /// What goes wrong with the next switches.
    pub switch_faults: Vec<Fault>,
    /// Requests that a slot never gets rid of.
    pub held: u64,
    /// When this slot gets the traffic, that one becomes sick.
    pub sick_after_switch: Option<String>,
    /// Reads of the group until somebody else moves the route to this slot.
    pub meddler: Option<(u32, String)>,
    /// Reads of the group fail from the moment the new slot has the traffic, so often.
    pub blind_after_switch: u32,
    /// Servers of each slot, in the order of the configuration.
    pub slots: Vec<(String, Vec<Peer>)>,
    /// Servers that nobody listens at.
    pub dead: Vec<String>,
    /// A slot that has a share, and how much.
    pub split: Option<(String, Percent)>,
    /// The trial of the last change.
    pub trial: Option<TrialState>,
    /// The slot that was chosen to stand by.
    pub standby: Option<String>,
    /// Requests and upgraded connections that slots hold without having the traffic.
    pub holds: BTreeMap<String, (u64, u64)>,
    /// Other groups of this nginx.
    pub others: Vec<Group>,
    /// A version that answers 500 to so many of a hundred users.
    pub errors: Option<(String, u64)>,
    /// A version that answers 500 to all users once it has answered so many.
    pub bad_after: Option<(String, u64)>,
    /// Servers that die when green gets the traffic.
    pub dead_after_switch: Vec<String>,
    /// Reads of the group until the edge takes the traffic back to blue.
    pub taken_back_after: Option<u32>,
    /// What made the last move of the route, if it was the edge.
    pub taken_back: Option<TakenBackBy>,
    /// Whether the edge counts answers.
    pub counts: bool,
    /// What happens when a command has run.
    pub after_command: Option<(String, Happening)>,
    /// Switches that are still under way, and the generations that they expect.
    late: Vec<(Shift, u32)>,
    counters: BTreeMap<String, Counters>,
    /// What must never happen.
    pub violations: Vec<String>,
}

/// The world.
#[derive(Debug)]
pub struct Scripted(Mutex<Scene>);

impl Default for Scripted {
    fn default() -> Self {
        Self::new()
    }
}

impl Scripted {
    /// Version 1 runs in blue, which has the traffic.
    pub fn new() -> Self {
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
            taken_back_after: None,
            taken_back: None,
            counts: true,
            after_command: None,
            late: Vec::new(),
            counters: BTreeMap::new(),
            violations: Vec::new(),
        }))
    }

    /// The scene, to look at and to change.
    pub fn scene(&self) -> MutexGuard<'_, Scene> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Scene {
    /// A command, or reading the group, fails so often from now on.
    pub fn fail(&mut self, what: &str, times: u32) {
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

    /// Somebody moves the route.
    pub fn move_route(&mut self, to: &str) {
        self.active = to.to_owned();
        self.taken_back = None;
        self.split = None;
        self.trial = None;
        self.generation += 1;
    }

    /// What was under way all the time arrives now.
    pub fn deliver(&mut self) {
        for (change, expected) in std::mem::take(&mut self.late) {
            let _ = self.shift(&change, expected);
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

    fn look(&mut self) -> Look {
        let group = self.group();
        let revision = |generation: u32| Revision::new(format!("generation {generation}"));
        Look {
            revision: revision(group.route.generation),
            follows: Some(revision(group.route.generation - 1)),
            taken_back: self.taken_back,
            group,
        }
    }

    fn group(&mut self) -> Group {
        if let Some((reads, to)) = &mut self.meddler {
            *reads = reads.saturating_sub(1);
            if *reads == 0 {
                let to = to.clone();
                self.move_route(&to);
                self.meddler = None;
            }
        }
        if let Some(reads) = self.taken_back_after.as_mut().filter(|_| self.active == "green") {
            *reads = reads.saturating_sub(1);
            if *reads == 0 {
                self.taken_back_after = None;
                self.move_route("blue");
                self.taken_back = Some(TakenBackBy::Guard);
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

    fn shift(&mut self, change: &Shift, expected: u32) -> Result<Look, ShiftError> {
        let to = change.to.as_str();
        let fault = if self.switch_faults.is_empty() { None } else { Some(self.switch_faults.remove(0)) };
        match fault {
            Some(Fault::NotSent) => return Err(ShiftError::NotSent(unreachable())),
            Some(Fault::LostUndone) => return Err(ShiftError::Unknown(unreachable())),
            Some(Fault::Late) => {
                self.late.push((change.clone(), expected));
                return Err(ShiftError::Unknown(unreachable()));
            }
            Some(Fault::Refused) => {
                return Err(ShiftError::Refused("the scripted edge refuses: read only".to_owned()));
            }
            Some(Fault::Beaten) => {
                self.move_route("green");
                self.move_route("blue");
            }
            _ => {}
        }
        if expected != self.generation {
            return Err(ShiftError::Moved(Box::new(self.look())));
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
            Some(Fault::LostDone) => Err(ShiftError::Unknown(unreachable())),
            Some(Fault::NotDurable) => {
                Err(ShiftError::NotDurable("the scripted edge could not write it: disk full".to_owned()))
            }
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
pub fn peer(port: u16) -> Peer {
    Peer { address: format!("127.0.0.1:{port}"), server: None, backup: false, down: false }
}

fn unreachable() -> EdgeError {
    EdgeError::Unreachable {
        subject: "the scripted edge",
        address: "unix:/edge".to_owned(),
        why: "connection refused".to_owned(),
    }
}

/// The policy of the usual deployment.
pub fn policy() -> Policy {
    let policy = serde_json::json!({
        "warm": "20s",
        "migrate": { "command": ["/bin/migrate"], "nothing_applied": 10 },
        "revert": { "command": ["/bin/revert"] },
        "provision": { "command": ["/bin/start"] },
        "decommission": { "command": ["/bin/stop"] },
        "probe": { "deadline": "10s" },
        "smoke": [{ "name": "products", "path": "/products" }],
        "soak": { "duration": "10s" },
        "drain": { "deadline": "5s" },
    });
    serde_json::from_value(policy).unwrap()
}

/// The usual deployment: `shop-1`, of version 2 from blue to green.
pub fn deployment() -> Deployment {
    let policy = policy();
    let plan = Plan {
        group: "shop".to_owned(),
        from: "blue".to_owned(),
        to: "green".to_owned(),
        migrate: true,
        provision: true,
        revert: true,
        decommission: true,
        probe_deadline: policy.probe.deadline.get(),
        soak: policy.soak.duration.get(),
        accept_inconclusive: false,
        drain: policy.drain.deadline.get(),
        warm: policy.warm.get(),
        served: Counters::default(),
    };
    Deployment {
        id: "shop-1".to_owned(),
        version: "2".to_owned(),
        previous: "1".to_owned(),
        asked_by: "a test".to_owned(),
        started: Time(1_000),
        plan,
        policy,
    }
}

impl Edge for Scripted {
    fn name(&self) -> &str {
        "nginx"
    }

    fn abilities(&self) -> Abilities {
        Abilities { exact: true, shares: true, trials: true, counters: self.scene().counts }
    }

    async fn groups(&self) -> Result<Vec<Group>, EdgeError> {
        let look = self.look("shop").await?;
        Ok([look.group].into_iter().chain(self.scene().others.clone()).collect())
    }

    async fn look(&self, _: &str) -> Result<Look, EdgeError> {
        tokio::time::sleep(Duration::from_millis(1)).await;
        let mut scene = self.scene();
        if scene.fails("group") { Err(unreachable()) } else { Ok(scene.look()) }
    }

    async fn stand_by(&self, _: &str, slot: &str) -> Result<(), EdgeError> {
        self.scene().standby = Some(slot.to_owned());
        Ok(())
    }

    async fn shift(&self, _: &str, shift: &Shift, expected: &Revision) -> Result<Look, ShiftError> {
        tokio::time::sleep(Duration::from_millis(1)).await;
        let generation = expected.as_str().trim_start_matches("generation ").parse().unwrap();
        self.scene().shift(shift, generation)
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

impl Commands for Scripted {
    async fn run(&self, job: &Job) -> Result<(), Failed> {
        tokio::time::sleep(Duration::from_secs(1)).await;
        self.scene().run(job)
    }

    async fn end(&self, _: &str) -> Result<(), String> {
        Ok(())
    }
}
