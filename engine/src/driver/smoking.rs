//! The phase smoking: runs the smoke tests.

use cutover_core::api::Slot;
use cutover_core::deployment::Event;
use cutover_core::probe::{NO_PRIMARY, Require};
use cutover_core::smoke::OF_SMOKE;

use super::work::Work;

use crate::journal::Journal;
use crate::peers::{request as request_of, with_usual};
use crate::policy::{Smoke, SmokeKind, SmokeRequest};
use crate::versions::Versions;
use crate::world::World;

impl<W: World, J: Journal> Work<W, J> {
    /// Runs the smoke tests in order on the servers of the new slot. Stops at the first failure.
    pub(super) async fn smoke(&self) -> Event {
        let group = match self.look_patiently().await {
            Ok(look) => look.group,
            Err(error) => return Event::SmokeFailed(error.to_string()),
        };
        self.stand_by(&group).await;
        let servers = match group.slot(&self.deployment.plan.to) {
            Some(slot) => self.servers_to_smoke(slot).await,
            None => Vec::new(),
        };
        for (number, test) in (1..).zip(&self.deployment.policy.smoke) {
            if let Err(why) = self.smoke_one(number, test, &servers).await {
                return Event::SmokeFailed(format!("smoke \"{}\" failed: {why}", test.name));
            }
            self.note("smoking", &format!("smoke \"{}\" passed", test.name)).await;
        }
        Event::SmokePassed
    }

    /// The healthy primaries if they are enough for `probe.require`, otherwise all primaries.
    async fn servers_to_smoke(&self, slot: &Slot) -> Vec<String> {
        let all = || slot.primaries().map(|peer| peer.address.clone()).collect();
        let require = self.deployment.policy.probe.require;
        if require == Require::All {
            return all();
        }
        let round = self.prober().round(slot).await;
        let servers = round.len();
        let healthy: Vec<String> =
            round.into_iter().filter_map(|(address, probed)| probed.is_ok().then_some(address)).collect();
        if require.is_met(healthy.len(), servers) { healthy } else { all() }
    }

    async fn smoke_one(&self, number: usize, test: &Smoke, servers: &[String]) -> Result<(), String> {
        match test.kind() {
            SmokeKind::Command(command) => {
                let name = format!("smoke-{number}");
                self.run("smoking", &name, Some(command)).await.map_err(|failed| failed.reason)
            }
            SmokeKind::Request(_) if servers.is_empty() => {
                Err(format!("slot \"{}\": {NO_PRIMARY}", self.deployment.plan.to))
            }
            SmokeKind::Request(request) => {
                let plan = &self.deployment.plan;
                let request = request.filled(&Versions::of(&self.deployment).values(&plan.to));
                for address in servers {
                    self.smoke_peer(&request, address).await.map_err(|why| format!("{address}: {why}"))?;
                }
                Ok(())
            }
        }
    }

    async fn smoke_peer(&self, test: &SmokeRequest, address: &str) -> Result<(), String> {
        let deployment = &self.deployment;
        let host = deployment.policy.host.as_deref().unwrap_or(&deployment.plan.group);
        let usual = [("host", host), ("user-agent", "cutover-smoke"), ("connection", "close")];
        let headers = with_usual(&test.headers, &usual);
        let body = test.body.clone().map(String::into_bytes);
        let request = request_of(&test.method, test.path.as_str(), &headers, body);
        let request = request.map_err(|error| error.to_string())?;
        let answer = self.world.ask(address, request, test.timeout.get()).await?;
        test.expect.check(&answer, &OF_SMOKE)
    }
}
