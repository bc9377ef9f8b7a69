//! The same deployments on Kubernetes: a shop behind two real controllers of ingress-nginx, which the operator moves together.
//!
//! The Pods run the shop, the first release 1.0.0. The policy is the one of a site.

mod releases;
mod series;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use cutover_tests::kubernetes::front::with_edge;
use cutover_tests::kubernetes::operator::apply_shop;
use cutover_tests::kubernetes::{
    self, Cluster, Front, IngressNginx, Kubelet, Namespace, Snippets, StatusWatch,
};
use cutover_tests::process::Signal;
use cutover_tests::site::{EdgeKind, GROUP, Settings, Traffic, TrafficReport};
use serde_json::{Value, json};

use self::releases::{Releases, Running};
pub(crate) use self::series::NUMBERS;
use self::series::SERIES;
use crate::judge::{EdgeSeen, Ended, Observations, ScenarioResult, judge};
use crate::scenario::{Accident, Scenario};
use crate::schedule::{Choice, Played};
use crate::series::Series;
use crate::transcript::Transcript;

/// The controllers.
const CONTROLLERS: u8 = 2;

/// How long after the last answer nginx may count it.
const COUNTING: Duration = Duration::from_secs(2);

/// Between two looks at the counters.
const PAUSE: Duration = Duration::from_millis(20);

/// Also on answers that nginx makes itself: a 502 names the slot that gave none.
const NAMES_THE_SLOT: &str = "add_header x-cutover-slot $cutover_slot_of_shop always;";

/// Plays the chosen deployments, one after the other.
pub(crate) async fn play(cluster: &Cluster, choice: &Choice) -> Result<Played> {
    println!("the logs are under {}", cluster.machine().folder().display());
    let namespace = cluster.namespace().await?;
    let mut place = Place::start(&namespace).await?;
    let mut played = Played::default();
    for series in SERIES {
        for scenario in choice.of(series.scenarios) {
            match place.play(&series, &scenario).await {
                Ok(result) => played.results.push(result),
                Err(error) => played.complaints.push(format!("scenario {}: {error:#}", scenario.number)),
            }
        }
    }
    played.results.sort_by_key(|result| result.number);
    if let Err(error) = place.front.stop().await {
        played.complaints.push(format!("{error:#}"));
    }
    Ok(played)
}

/// The shop, and all that is in front of it.
struct Place<'a> {
    namespace: &'a Namespace<'a>,
    releases: Releases,
    front: Front<Running>,
}

/// What an edge of the place has counted for each slot.
type Counted = BTreeMap<String, u64>;

impl<'a> Place<'a> {
    async fn start(namespace: &'a Namespace<'a>) -> Result<Self> {
        let releases = Releases::prepare(namespace)?;
        let folder = releases.folder().to_owned();
        let kubelet = Kubelet::start_with(namespace, move |pod| Running::start(folder.clone(), pod));
        let mut snippets = Snippets::of_shop(namespace);
        snippets.location = format!("{} {NAMES_THE_SLOT}", snippets.location);
        let all = vec![snippets; usize::from(CONTROLLERS)];
        let spec = spec(&crate::series::SETTINGS, "shop:1.0.0")?;
        let front = Front::start(namespace, kubelet, &all, ("1.0.0", &spec, "/products")).await?;
        for controller in &front.controllers {
            println!("{} listens on http://{}", controller.class(), controller.address());
        }
        Ok(Self { namespace, releases, front })
    }

    /// Runs the deployment under load and judges the observations.
    async fn play(&mut self, series: &Series, scenario: &Scenario) -> Result<ScenarioResult> {
        let Scenario { number, title, version, .. } = scenario;
        let mut transcript = Transcript::new(true);
        let old = self.front.slots().await?.swap_remove(0);
        transcript.line(format!("\n{number}. {title}: {version} while {old} has the traffic"));
        let image = self.releases.publish(scenario)?;
        let before = self.counted().await?;
        let mut traffic = Vec::new();
        for controller in &self.front.controllers {
            let (api, address) = (controller.api(), controller.address());
            traffic.push(Traffic::of_several(api, address, series.users, CONTROLLERS).await?);
        }
        if scenario.accident == Accident::AgentStopped {
            self.signal_last_agent(Signal::STOP)?;
            transcript.line("           the last agent is stopped");
        }
        let spec = with_edge(self.namespace, &spec(&series.settings, &image)?);
        let deployed = self.deploy(scenario, &spec, &mut transcript).await;
        if scenario.accident == Accident::AgentStopped {
            self.signal_last_agent(Signal::CONT)?;
        }
        let (ended, noticed) = deployed?;
        let agree = async || {
            self.front
                .slots()
                .await
                .is_ok_and(|slots| slots.windows(2).all(|pair| pair.first() == pair.last()))
        };
        kubernetes::until("all controllers to have the same slot active", agree).await?;
        let mut seen = Vec::new();
        for traffic in traffic {
            seen.push(traffic.stop().await?);
        }
        let counted = self.counted_since(&before, &seen).await?;
        let mut edges = Vec::new();
        let names = self.front.controllers.iter().map(IngressNginx::class);
        for (((name, seen), active), counted) in names.zip(seen).zip(self.front.slots().await?).zip(counted) {
            edges.push(EdgeSeen { name: name.to_owned(), seen, active, counted: Some(counted) });
        }
        let result = judge(
            scenario,
            Observations {
                edges,
                ended,
                old,
                schemas: None,
                noticed,
                killed: None,
                edge: EdgeKind::Module,
                lease: series.settings.lease,
            },
        );
        transcript.line(&result);
        Ok(result)
    }

    /// Changes the spec, and prints what the status says until the deployment has ended. Returns also when the operator said that
    /// it goes back.
    async fn deploy(
        &self,
        scenario: &Scenario,
        spec: &Value,
        transcript: &mut Transcript,
    ) -> Result<(Ended, Option<Instant>)> {
        let kubectl = self.namespace.kubectl();
        let mut watch = StatusWatch::begin(kubectl)?;
        let first = watch.next().await?;
        let start = Instant::now();
        apply_shop(self.namespace, scenario.version, spec).await?;
        let (mut id, mut shown, mut noticed) = (String::new(), String::new(), None);
        let (outcome, said) = loop {
            let seen = watch.next().await?;
            if id.is_empty() && seen.id != first.id && seen.version == scenario.version {
                id.clone_from(&seen.id);
            }
            if id.is_empty() {
                continue;
            }
            if seen.message != shown {
                transcript.event(start, &seen.phase, &seen.message);
                shown.clone_from(&seen.message);
            }
            if seen.phase == "RollingBack" {
                noticed.get_or_insert_with(Instant::now);
            }
            if seen.past == id {
                break (seen.outcome, seen.message);
            }
            if seen.phase == "Warm" && seen.id == id {
                break ("completed".to_owned(), seen.message);
            }
        };
        let wait = ["wait", "--for=condition=Completed", "bluegreen/shop", "--timeout=1s"];
        let code = kubectl.code(&wait).await?;
        Ok((Ended { outcome, code, code_expected: scenario.expected.code_of_kubectl(), said }, noticed))
    }

    /// What each nginx has counted, by slot.
    async fn counted(&self) -> Result<Vec<Counted>> {
        let mut all = Vec::new();
        for controller in &self.front.controllers {
            let group = controller.api().group(GROUP).await?;
            all.push(group.slots.into_iter().map(|slot| (slot.name, slot.counters.requests)).collect());
        }
        Ok(all)
    }

    /// What each nginx has counted more than before. It counts a request a moment after the last byte of the answer is out, so it
    /// has some time to come to what users have seen.
    async fn counted_since(&self, before: &[Counted], seen: &[TrafficReport]) -> Result<Vec<Counted>> {
        let begin = Instant::now();
        loop {
            let after = self.counted().await?;
            let counted: Vec<Counted> =
                before.iter().zip(after).map(|(before, after)| difference(before, after)).collect();
            let is_all = counted.iter().zip(seen).all(|(counted, seen)| *counted == seen.report.by_slot);
            if is_all || begin.elapsed() >= COUNTING {
                return Ok(counted);
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    fn signal_last_agent(&mut self, signal: Signal) -> Result<()> {
        self.front.agents.last_mut().context("there is no agent")?.server().signal(signal)
    }
}

/// How much more was counted, of the slots with more.
fn difference(before: &Counted, after: Counted) -> Counted {
    let more = after.into_iter().map(|(slot, requests)| {
        let before = before.get(&slot).copied().unwrap_or_default();
        (slot, requests - before)
    });
    more.filter(|(_, requests)| *requests > 0).collect()
}

fn spec(settings: &Settings, image: &str) -> Result<Value> {
    Ok(json!({
        "template": { "image": image },
        "policy": settings.policy()?,
    }))
}
