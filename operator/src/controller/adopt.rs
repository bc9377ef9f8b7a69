//! What is live when the operator sees a resource for the first time, and whether the spec asks for something else.

use cutover_core::deployment::Outcome;
use cutover_engine::edge::Edge;
use cutover_engine::policy::Policy;
use kube::ResourceExt;

use super::reverting::is_reverting;
use super::{Context, Driven, Unreconciled, say};
use crate::conditions;
use crate::resource::{BlueGreen, BlueGreenStatus};
use crate::setup::Setup;
use crate::words;
use crate::world::ClusterWorld;

impl Context {
    /// Begins the deployment that the spec asks for, if it asks for one. Returns whether the resource is ready for it; if not, the
    /// condition `Ready` says why.
    pub(super) async fn adopt_or_begin(
        &self,
        resource: &BlueGreen,
        driven: &Driven,
        setup: Setup,
        policy: Policy,
    ) -> Result<bool, Unreconciled> {
        let world = ClusterWorld::new(&self.watched, &setup, &driven.ledger);
        let look = match world.edge().look(&setup.name).await {
            Ok(look) => look,
            Err(error) => return self.not_ready(driven, resource, "NoRoute", &error.to_string()).await,
        };
        let mut status = driven.ledger.status().await;
        if status.live.is_none() {
            let adopted = match self.adopted(&world, &setup, &look.route().active).await {
                Ok(adopted) => adopted,
                Err(why) => return self.not_ready(driven, resource, "NoDeployment", &why).await,
            };
            let at = self.clock.now();
            driven
                .ledger
                .write(|status| {
                    status.observed_generation = resource.metadata.generation;
                    let (live, version) = adopted;
                    status.versions.insert(look.route().active.clone(), version.clone());
                    status.active_slot = Some(look.route().active.clone());
                    let message = format!("version {version} is live in slot \"{}\"", look.route().active);
                    status.version = Some(version);
                    conditions::set(status, "Completed", live == setup.wanted(), "Adopted", &message, at);
                    status.live = Some(live);
                    say(status, "Ready", &message);
                })
                .await?;
            status = driven.ledger.status().await;
        }
        if status.live.as_deref() == Some(&setup.wanted()) {
            return self.settled(resource, driven).await.map(|()| true);
        }
        if let Some(why) = refused(resource, &status, &setup) {
            return self.not_begun(driven, resource, &why).await.map(|()| true);
        }
        self.begin(resource, driven, &look, (setup, policy)).await
    }

    /// What runs in the active slot: what was wanted when it was deployed, and the version.
    async fn adopted(
        &self,
        world: &ClusterWorld,
        setup: &Setup,
        active: &str,
    ) -> Result<(String, String), String> {
        let (image, version) = world.workloads().running(active).await?;
        let wanted_image = setup.template.as_ref().and_then(|template| template.image.as_ref());
        let is_wanted = match (&version, wanted_image) {
            (Some(version), _) => *version == setup.version,
            (None, Some(wanted)) => image.as_ref() == Some(wanted),
            (None, None) => true,
        };
        if is_wanted {
            return Ok((setup.wanted(), setup.version.clone()));
        }
        let tag = || image.as_deref().and_then(|image| image.rsplit_once(':')).map(|(_, tag)| tag.to_owned());
        Ok(("unknown".to_owned(), version.or_else(tag).unwrap_or_else(|| "unknown".to_owned())))
    }

    /// The spec asks for what is live.
    async fn settled(&self, resource: &BlueGreen, driven: &Driven) -> Result<(), Unreconciled> {
        let (at, generation) = (self.clock.now(), resource.metadata.generation);
        driven
            .ledger
            .write(|status| {
                if status.observed_generation == generation
                    && status.conditions.iter().any(|one| one.type_ == "Ready")
                {
                    return;
                }
                status.observed_generation = generation;
                let version = status.version.clone().unwrap_or_default();
                let message = format!("version {version} is live");
                conditions::set(status, "Completed", true, "Live", &message, at);
                conditions::set(status, "Progressing", false, "Live", &message, at);
                if !conditions::is_lagging(status) {
                    conditions::set(status, "Degraded", false, "Live", &message, at);
                }
                if status.deployment.is_none() {
                    say(status, "Ready", &message);
                }
            })
            .await?;
        Ok(())
    }

    /// The spec asks for a version, but no deployment begins.
    async fn not_begun(&self, driven: &Driven, resource: &BlueGreen, why: &str) -> Result<(), Unreconciled> {
        let (at, generation) = (self.clock.now(), resource.metadata.generation);
        driven
            .ledger
            .write(|status| {
                status.observed_generation = generation;
                conditions::set(status, "Completed", false, "NotBegun", why, at);
                conditions::set(status, "Progressing", false, "NotBegun", why, at);
                if status.deployment.is_none() {
                    conditions::say(status, why);
                }
            })
            .await?;
        Ok(())
    }
}

/// Why the version that the spec asks for is not deployed now.
fn refused(resource: &BlueGreen, status: &BlueGreenStatus, setup: &Setup) -> Option<String> {
    if is_reverting(status) {
        return Some(format!("version {} waits: a Job reverts the database", setup.version));
    }
    if resource.spec.suspend {
        return Some(format!("version {} waits: spec.suspend is true", setup.version));
    }
    let last = status.history.first().filter(|last| last.wanted == setup.wanted())?;
    // A version that has ended badly is not tried again by itself.
    let is_bad = last.outcome != Outcome::Completed.as_str();
    (is_bad && status.retry.as_deref() != Some(&last.id)).then(|| {
        let retry = words::verb("retry", &resource.name_any(), &setup.namespace);
        format!(
            "version {} is not tried again: {}; change spec.version, or type: {retry}",
            last.version, last.message
        )
    })
}
