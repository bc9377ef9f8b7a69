//! For tests: a world in memory. It counts requests, keeps a database and two slots, fails where a test says so, and notes
//! whatever must never happen.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use cutover_core::api::{Group, Groups, Peer, RouteChange, RouteState, Slot};
use cutover_core::counters::Counters;
use cutover_core::smoke::Answer;
use http::Request;
use http_body_util::Full;

use crate::command::{Failed, Job};
use crate::edge::{Edge, EdgeError, SwitchError};
use crate::journal::JournalError;
use crate::world::{Peers, World};

/// For ever, as far as a test goes.
pub(crate) const ALWAYS: u32 = u32::MAX;

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
    /// Both slots have the same server.
    pub(crate) shared_peer: bool,
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
            shared_peer: false,
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
        self.generation += 1;
    }

    /// What was under way all the time arrives now.
    pub(crate) fn deliver(&mut self) {
        for (change, expected) in std::mem::take(&mut self.late) {
            let _ = self.switch(&change, expected);
        }
    }

    fn serve_users(&mut self) {
        let bad = match self.running.get(&self.active) {
            Some(version) => Some(version) == self.bad_version.as_ref(),
            None => true,
        };
        let counters = self.counters.entry(self.active.clone()).or_default();
        counters.requests += self.traffic;
        counters.attempts += self.traffic;
        if bad {
            counters.responses.server_error += self.traffic;
        } else {
            counters.responses.success += self.traffic;
        }
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
        let slot = |name: &str, port: u16| Slot {
            name: name.to_owned(),
            upstream: format!("shop_{name}"),
            peers: vec![Peer { address: format!("127.0.0.1:{port}"), backup: false, down: false }],
            counters: Counters {
                in_flight: if self.active == name { self.traffic } else { self.held },
                ..self.counters.get(name).copied().unwrap_or_default()
            },
            ..Slot::default()
        };
        Group {
            name: "shop".to_owned(),
            route: RouteState {
                active: self.active.clone(),
                generation: self.generation,
                split: None,
                trial: None,
            },
            slots: vec![slot("blue", 1), slot("green", if self.shared_peer { 1 } else { 2 })],
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
        if self.active != to {
            if !self.healthy(to) {
                self.violations.push(format!("traffic was moved to {to}, which is not healthy"));
            }
            self.moves.push(format!("{}->{to}", self.active));
            self.move_route(to);
            if self.active == "green" {
                if let Some(slot) = self.sick_after_switch.take() {
                    self.sick.push(slot);
                }
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
        self.commands.push(format!("{} {slot}", job.name));
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
                if self.active == slot {
                    self.violations.push("the database was reverted under the live version".to_owned());
                }
                self.database.retain(|deployment| *deployment != job.deployment);
            }
            "provision" => {
                if self.active == slot {
                    self.violations.push("the live slot was provisioned".to_owned());
                }
                self.running.insert(slot, version);
            }
            "decommission" | "teardown" => {
                if self.active == slot {
                    self.violations.push(format!("the live slot {slot} was stopped"));
                }
                self.running.remove(&slot);
            }
            _ => {}
        }
        Ok(())
    }
}

fn unreachable() -> EdgeError {
    EdgeError::Unreachable { address: "unix:/nginx".to_owned(), why: "connection refused".to_owned() }
}

impl Edge for Scripted {
    async fn groups(&self) -> Result<Groups, EdgeError> {
        let group = self.group("shop").await?;
        Ok(Groups { module: "0".to_owned(), nginx: "0".to_owned(), groups: vec![group] })
    }

    async fn group(&self, _: &str) -> Result<Group, EdgeError> {
        tokio::time::sleep(Duration::from_millis(1)).await;
        let mut scene = self.scene();
        if scene.fails("group") { Err(unreachable()) } else { Ok(scene.look()) }
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
        let slot = if peer.ends_with(":1") { "blue" } else { "green" };
        if !scene.running.contains_key(slot) {
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
