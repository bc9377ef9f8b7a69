//! A switch by hand while the daemon is away.

use std::fs::File;
use std::io::{self, Write};

use crate::command::Checker;
use crate::peers::HostPeers;
use cutover_core::api::{Group as Seen, reason_with};
use cutover_engine::clock::Clock;
use cutover_engine::edge::{Look, Shift};
use cutover_engine::policy::Policy;
use cutover_engine::prober::Prober;
use cutover_engine::shifting::Fit;
use cutover_engine::versions::Versions;

use super::{DirectError, Host};
use crate::api::SwitchRequest;
use crate::cli::myself::myself;
use crate::cli::{CliError, Place};
use crate::control::{FreezeStatus, Refusal, Text, move_route};
use crate::journal::{Peeked, peek};
use crate::serve::{self, ServeError};

/// Checks before each try that the slot is still healthy. Without a policy there is no check.
struct Healthy<'a> {
    slot: &'a str,
    policy: Option<&'a Policy>,
}

impl Fit for Healthy<'_> {
    async fn check(&self, look: &Look) -> Result<(), String> {
        match self.policy {
            Some(policy) => probe(&look.group, self.slot, policy).await,
            None => Ok(()),
        }
    }
}

/// Moves the traffic of a group, if no daemon runs. Returns the group after the switch.
pub(in crate::cli) async fn switch(
    place: &Place,
    group: &str,
    request: &SwitchRequest,
) -> Result<Seen, CliError> {
    let host = Host::of(place, false)?;
    let groups = &host.loaded.config.group;
    let Some((_, policy)) = groups.iter().find(|(name, _)| name.as_str() == group) else {
        let known = groups.keys().map(|name| name.as_str().to_owned()).collect();
        return Err(CliError::Refused(Refusal::UnknownGroup { group: group.to_owned(), known }));
    };
    let reason = Text::Reason.check(request.reason.clone().unwrap_or_default()).map_err(Refusal::BadText)?;
    let _lock = lock(&host)?;
    may_move(&host, group, request.force)?;
    let fleet = host.fleet(&policy.edges);
    let look = fleet.look(group).await.and_then(cutover_engine::fleet::View::whole).map_err(Refusal::Edge)?;
    if look.group.slot(&request.to).is_none() {
        return Err(Refusal::no_such_slot(&look.group, &request.to).into());
    }
    if let Err(why) = probe(&look.group, &request.to, policy).await
        && !request.force
    {
        return Err(Refusal::Sick { slot: request.to.clone(), group: group.to_owned(), why }.into());
    }
    let by = format!(" (by {}, without the daemon)", myself());
    let shift = Shift {
        to: request.to.clone(),
        reason: reason_with(&reason, &by),
        share: None,
        trial: None,
        fence: false,
    };
    let fit = Healthy { slot: &request.to, policy: Some(policy).filter(|_| !request.force) };
    Ok(move_route(&fleet, &look, &shift, &fit).await?)
}

/// The lock of the state folder. While it is held, no daemon of this host runs.
fn lock(host: &Host) -> Result<File, DirectError> {
    let config = &host.loaded.config;
    if config.etcd().is_some() {
        return Err(DirectError::Etcd);
    }
    serve::lock(&config.daemon.state).map_err(|error| match error {
        ServeError::InUse(folder) => DirectError::Locked(folder),
        error => DirectError::NoLock(error),
    })
}

/// Fails if the journal has something that the switch would disturb, unless it is forced.
fn may_move(host: &Host, group: &str, force: bool) -> Result<(), DirectError> {
    match in_the_way(host, group) {
        Some(error) if force => {
            let _ = writeln!(io::stderr(), "cutover: warning: --force: {error}");
            Ok(())
        }
        Some(error) => Err(error),
        None => Ok(()),
    }
}

fn in_the_way(host: &Host, group: &str) -> Option<DirectError> {
    let Peeked { open, with_commands, freezes } = match peek(&host.loaded.config.daemon.state, group) {
        Ok(peeked) => peeked,
        Err(error) => return Some(DirectError::Journal(error)),
    };
    if let Some(open) = open.filter(|open| !open.deployment.plan.may_be_superseded(&open.state)) {
        return Some(DirectError::Open { id: open.deployment.id, phase: open.state.phase.name() });
    }
    if let Some(id) = with_commands.into_iter().next() {
        return Some(DirectError::Busy(id));
    }
    let now = Clock::start().now();
    let freeze = freezes.into_iter().find(|freeze| freeze.lasts(now) && freeze.is_of(group))?;
    Some(DirectError::Frozen(FreezeStatus::from(freeze).in_words()))
}

async fn probe(seen: &Seen, slot: &str, policy: &Policy) -> Result<(), String> {
    let prober = Prober {
        world: &HostPeers::new(Checker::default()),
        group: &seen.name,
        policy,
        versions: Versions::default(),
    };
    prober.verify(seen, slot).await
}
