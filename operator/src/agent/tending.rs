//! The work on one group: nginx gets the route that the API server tells, and says whether it could make a pending change.

use std::time::Duration;

use cutover_core::api::Group;
use cutover_engine::edge::{Edge, Look, Shift, ShiftError};
use kube::ResourceExt;

use super::Agent;
use super::backends::is_of_backends;
use super::claims::Claim;
use super::decision::{Check, Step, check, next};
use super::report::AgentReport;
use super::standing::{Standing, marked};
use crate::resource::{AgentStatus, PendingRoute, RouteStatus};

/// Most acts in one round: a change of another one's split, and a confirmation.
const MOST: usize = 4;

/// How long nginx may take to write down what has moved a route.
const SETTLING: Duration = Duration::from_millis(300);

/// What an agent remembers of a group between two rounds. After a restart it begins anew.
#[derive(Clone, Debug, Default)]
pub(super) struct Memory {
    /// The last change that it has seen.
    newest: i64,
    /// The last renewal that it has made.
    renewed: Option<i64>,
    seen: Option<i64>,
    refused: Option<i64>,
    without_group: bool,
    error: Option<String>,
}

/// What came of a round.
#[derive(Clone, Debug)]
pub(super) struct Tended {
    /// What the agent says about itself.
    pub(super) status: AgentStatus,
    /// Whether nginx has the route, as far as it can have it.
    pub(super) is_settled: bool,
    /// Whether a pending change waits for nginx.
    pub(super) waits: bool,
}

impl Agent {
    /// Brings nginx to what the API server says about one group.
    pub(super) async fn tend(&self, claim: &Claim, groups: &Result<Vec<String>, String>) -> Tended {
        let mut memory = self.memory_of(claim);
        memory.without_group = groups.as_ref().is_ok_and(|groups| !groups.contains(&claim.group));
        let (standing, waits, is_settled, error) = match groups {
            Err(error) => (None, false, false, Some(error.clone())),
            // nginx cannot send it anywhere, so nothing is settled by waiting for it.
            Ok(_) if memory.without_group => (None, false, true, Some(unknown(claim))),
            Ok(_) => match self.bring(claim, &mut memory).await {
                Ok((standing, check)) => {
                    let waits = matches!(check, Some(Check::NotYet(_)));
                    let error = match check {
                        Some(Check::NotYet(why) | Check::Unable(why)) => Some(why),
                        Some(Check::Able) | None => None,
                    };
                    (Some(standing), waits, true, error)
                }
                Err((why, is_settled)) => (None, false, is_settled, Some(why)),
            },
        };
        if is_settled && standing.is_none() {
            // Nothing to wait for: this nginx cannot make any change of the group.
            let pending = claim.resource.status.as_ref().and_then(|status| status.pending.as_ref());
            memory.refused = pending.map(|pending| pending.route.seq);
        }
        memory.error = error;
        if let Some(error) = &memory.error {
            tracing::debug!(
                resource = claim.resource.name_any(),
                group = claim.group,
                error,
                "not as it should be"
            );
        }
        let status = self.status(&memory, standing);
        self.memory.lock().insert(claim.uid.clone(), memory);
        Tended { status, is_settled, waits }
    }

    /// What the agent says now about one group.
    pub(super) async fn show(&self, claim: &Claim) -> AgentReport {
        // One after the other, so that a later reading has a later number.
        let mut number = self.readings.lock().await;
        number.number += 1;
        let (reading, looked) = (*number, self.look(claim).await);
        drop(number);
        let mut memory = self.memory_of(claim);
        match looked {
            Ok(mut look) => {
                if let Err(why) = self.fill(claim, &mut look.group).await {
                    memory.error.get_or_insert(why);
                }
                let standing = Standing::of(&look.group, &claim.uid);
                AgentReport { agent: self.status(&memory, Some(standing)), group: Some(look.group), reading }
            }
            Err(error) => {
                let error = memory.error.clone().or(Some(error));
                let memory = Memory { error, ..memory };
                AgentReport { agent: self.status(&memory, None), group: None, reading }
            }
        }
    }

    /// Does what is to do. Returns how the group stands then, and whether nginx could make a pending change. The error is one line,
    /// with whether there is no sense in waiting for it to go away.
    async fn bring(
        &self,
        claim: &Claim,
        memory: &mut Memory,
    ) -> Result<(Standing, Option<Check>), (String, bool)> {
        let status = claim.resource.status.as_ref();
        let route = status.and_then(|status| status.route.as_ref());
        let mut look = self.look(claim).await.map_err(|error| (error, false))?;
        if let Some(why) = claim.objection(&look.group) {
            return Err((why, true));
        }
        if let Some(route) = route {
            look = self.apply(claim, route, look, memory).await.map_err(|why| (why, false))?;
        }
        let standing = Standing::of(&look.group, &claim.uid);
        let pending = status.and_then(|status| status.pending.as_ref());
        let Some(pending) = pending else { return Ok((standing, None)) };
        let checked = match self.fill(claim, &mut look.group).await {
            Ok(None) => verify(claim, pending, route, (&look.group, standing), memory),
            Ok(Some(backend)) => unable(claim, pending, memory, canary(claim, &backend)),
            // The controller may be starting.
            Err(why) => Check::NotYet(why),
        };
        Ok((standing, Some(checked)))
    }

    /// Makes the changes that lead to a route.
    async fn apply(
        &self,
        claim: &Claim,
        route: &RouteStatus,
        mut look: Look,
        memory: &mut Memory,
    ) -> Result<Look, String> {
        let mut is_patient = true;
        for _ in 0..MOST {
            memory.newest = memory.newest.max(route.seq);
            let mut standing = Standing::of(&look.group, &claim.uid);
            if standing == Standing::Unsettled && !is_patient {
                standing = Standing::Other;
            }
            let asked = match next(route, &look.group, standing, memory.newest, memory.renewed) {
                Step::Nothing => return Ok(look),
                Step::Wait => {
                    is_patient = false;
                    tokio::time::sleep(SETTLING).await;
                    look = self.look(claim).await?;
                    continue;
                }
                Step::Apply => {
                    memory.renewed = Some(route.renewals);
                    self.module
                        .shift(&claim.group, &change(route, &look.group, &claim.uid), &look.revision)
                        .await
                }
                Step::Renew => {
                    memory.renewed = Some(route.renewals);
                    let lease =
                        route.trial.as_ref().and_then(|trial| trial.terms().lease).unwrap_or_default();
                    self.module.renew(&claim.group, lease, &look.revision).await
                }
                Step::Confirm => {
                    self.module
                        .confirm(&claim.group, &marked(route.seq, &claim.uid, "confirmed"), &look.revision)
                        .await
                }
            };
            match asked {
                // The next reading sees what nginx has now.
                Ok(_) | Err(ShiftError::Moved(_)) => {}
                Err(ShiftError::NotDurable(why)) => {
                    tracing::warn!(group = claim.group, why, "the route is not on disk")
                }
                Err(error) => return Err(error.to_string()),
            }
            look = self.look(claim).await?;
        }
        Ok(look)
    }

    /// Reads the group from nginx.
    async fn look(&self, claim: &Claim) -> Result<Look, String> {
        self.module.look(&claim.group).await.map_err(|error| error.to_string())
    }

    /// Gives the slots the servers that the controller knows. Returns a backend whose traffic goes past the route.
    async fn fill(&self, claim: &Claim, group: &mut Group) -> Result<Option<String>, String> {
        if !is_of_backends(group) {
            return Ok(None);
        }
        let backends = self.controller.backends().await?;
        backends.fill(group);
        let namespace = claim.resource.namespace().unwrap_or_default();
        Ok(backends.canary(&format!("{namespace}-{}-", claim.resource.spec.service)))
    }

    fn memory_of(&self, claim: &Claim) -> Memory {
        self.memory.lock().get(&claim.uid).cloned().unwrap_or_default()
    }

    fn status(&self, memory: &Memory, standing: Option<Standing>) -> AgentStatus {
        let taken_back = match standing {
            Some(Standing::TakenBack(_, by)) => Some(by),
            _ => None,
        };
        AgentStatus {
            pod: self.settings.pod.clone(),
            seen: memory.seen,
            refused: memory.refused,
            applied: standing.and_then(Standing::seq),
            taken_back,
            without_group: memory.without_group,
            error: memory.error.clone(),
        }
    }
}

/// Checks a pending change, once it can be answered for good.
fn verify(
    claim: &Claim,
    pending: &PendingRoute,
    route: Option<&RouteStatus>,
    (group, standing): (&Group, Standing),
    memory: &mut Memory,
) -> Check {
    let seq = pending.route.seq;
    if memory.seen == Some(seq) {
        return Check::Able;
    }
    if memory.refused == Some(seq) {
        return Check::Unable(memory.error.clone().unwrap_or_default());
    }
    let checked = check(pending, route, group, standing);
    match checked {
        Check::Able => {
            memory.seen = Some(seq);
            Check::Able
        }
        Check::NotYet(why) => Check::NotYet(why),
        Check::Unable(why) => unable(claim, pending, memory, why),
    }
}

fn unable(claim: &Claim, pending: &PendingRoute, memory: &mut Memory, why: String) -> Check {
    let seq = pending.route.seq;
    tracing::warn!(group = claim.group, seq, why, "a pending change is refused");
    memory.refused = Some(seq);
    Check::Unable(why)
}

fn canary(claim: &Claim, backend: &str) -> String {
    format!(
        "backend {backend} gives requests to a canary Ingress, past the route of group \"{}\": delete that Ingress",
        claim.group
    )
}

/// The change that leads from what nginx has to a route.
fn change(route: &RouteStatus, now: &Group, uid: &str) -> Shift {
    let (to, share) = route.given();
    let of = |reason: &str| marked(route.seq, uid, reason);
    // A fence: the mark is written also where the traffic is right already.
    let plain = |slot: &str, reason: String| Shift {
        to: slot.to_owned(),
        share: None,
        reason,
        trial: None,
        fence: true,
    };
    if share.is_some() && now.route.active != route.active {
        // A share is given beside the slot that is active. The mark comes with the change after this one.
        return plain(&route.active, format!("before change {}", route.seq));
    }
    // nginx has nothing to go back to, so there is no trial.
    let is_there = share.is_none() && now.route.is_all_on(to) && now.route.trial.is_none();
    let trial = route.trial.as_ref().filter(|_| !is_there).map(crate::resource::TrialStatus::terms);
    Shift { to: to.to_owned(), share, trial, ..plain(to, of(&route.reason)) }
}

fn unknown(claim: &Claim) -> String {
    let (group, spec) = (&claim.group, &claim.resource.spec);
    let namespace = claim.resource.namespace().unwrap_or_default();
    let slots: Vec<String> = spec
        .slots
        .iter()
        .map(|(name, slot)| format!("slot {name} {namespace}-{}-PORT;", slot.service))
        .collect();
    let active = spec.slots.keys().next().map(String::as_str).unwrap_or_default();
    format!(
        "nginx has no group \"{group}\": write \"cutover {group} {{ backend {namespace}-{}-PORT; {} active {active}; }}\" in \
         http-snippet of the controller's ConfigMap",
        spec.service,
        slots.join(" ")
    )
}
