//! The smoke tests.

use cutover_core::api::{Group, Slot};
use cutover_core::deployment::Event;
use cutover_core::probe::NO_PRIMARY;

use super::Scene;
use crate::config::{Smoke, SmokeKind, SmokeRequest};
use crate::world::World;

impl<W: World> Scene<W> {
    /// Runs them in their order, on every primary of the new slot; the first that fails decides.
    pub(super) async fn smoke(&self) -> Event {
        let group = match self.group_patiently().await {
            Ok(group) => group,
            Err(why) => return Event::SmokeFailed(why),
        };
        for (number, test) in (1..).zip(&self.deployment.config.smoke) {
            if let Err(why) = self.smoke_one(number, test, &group).await {
                return Event::SmokeFailed(format!("smoke \"{}\" failed: {why}", test.name));
            }
            self.note("smoking", &format!("smoke \"{}\" passed", test.name)).await;
        }
        Event::SmokePassed
    }

    async fn smoke_one(&self, number: usize, test: &Smoke, group: &Group) -> Result<(), String> {
        match test.kind() {
            SmokeKind::Command(command) => {
                let name = format!("smoke-{number}");
                self.run("smoking", &name, Some(command)).await.map_err(|failed| failed.reason)
            }
            SmokeKind::Request(request) => {
                let slot = &self.deployment.plan.to;
                let mut asked = false;
                for peer in group.slot(slot).into_iter().flat_map(Slot::primaries) {
                    self.smoke_peer(request, &peer.address)
                        .await
                        .map_err(|why| format!("{}: {why}", peer.address))?;
                    asked = true;
                }
                if asked { Ok(()) } else { Err(format!("slot \"{slot}\": {NO_PRIMARY}")) }
            }
        }
    }

    async fn smoke_peer(&self, test: &SmokeRequest, address: &str) -> Result<(), String> {
        let deployment = &self.deployment;
        let host = deployment.config.host.as_deref().unwrap_or(&deployment.plan.group);
        let mut headers: Vec<(&str, &str)> =
            test.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        for (name, value) in [("host", host), ("user-agent", "cutover-smoke"), ("connection", "close")] {
            if !headers.iter().any(|(given, _)| given.eq_ignore_ascii_case(name)) {
                headers.push((name, value));
            }
        }
        let body = test.body.clone().map(String::into_bytes);
        let request = crate::http::request(&test.method, test.path.as_str(), &headers, body);
        let request = request.map_err(|error| error.to_string())?;
        let answer = self.world.ask(address, request, test.timeout.get()).await?;
        test.expect.check(&answer)
    }
}
