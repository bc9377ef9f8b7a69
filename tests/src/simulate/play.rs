//! Runs one of the deployments.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use cutover_tests::daemon::{Deployed, Deployment};
use cutover_tests::site::{EdgeKind, GROUP, Release, Schema, Settings, Site, Traffic, Users};
use cutover_tests::{process, wait};

use crate::judge::{Observations, ScenarioResult, judge};
use crate::scenario::{Accident, Scenario};
use crate::transcript::Transcript;

/// How long nginx may take to move the traffic back. The scenario itself says when that is too long.
const LIMIT: Duration = Duration::from_secs(20);

/// A site, and how its users behave.
#[derive(Debug)]
pub(crate) struct ScenarioSite {
    pub(crate) site: Site,
    pub(crate) users: Users,
    takes_ms: u64,
    edge: EdgeKind,
}

/// A deployment in progress.
#[derive(Debug)]
struct Play<'a> {
    scenario: &'a Scenario,
    traffic: &'a Traffic,
    old: &'a str,
    start: Instant,
    transcript: Transcript,
    schema: Option<Schema>,
    killed: Option<Instant>,
}

impl ScenarioSite {
    pub(crate) async fn start(settings: Settings, users: Users) -> Result<Self> {
        Ok(Self {
            site: Site::start(settings).await?,
            users,
            takes_ms: settings.takes_ms,
            edge: settings.edge,
        })
    }

    /// Runs the deployment under load and judges the observations.
    pub(crate) async fn play(
        &mut self,
        scenario: &Scenario,
        mut transcript: Transcript,
    ) -> Result<ScenarioResult> {
        let site = &mut self.site;
        let release = Release::new(scenario.version, scenario.schema, scenario.fault);
        release.taking(self.takes_ms).publish(site.prefix()?)?;
        let old = site.active().await?;
        let schema_before = site.schema()?;
        let Scenario { number, title, version, .. } = scenario;
        transcript.line(format!("\n{number}. {title}: {version} while {old} has the traffic"));
        let traffic = site.traffic_of(self.users).await?;
        let mut play = Play {
            scenario,
            traffic: &traffic,
            old: &old,
            start: Instant::now(),
            transcript,
            schema: None,
            killed: None,
        };
        let deployed = play.deploy(site).await.with_context(|| format!("scenario {number}"))?;
        let Play { schema: schema_during, killed, mut transcript, .. } = play;
        let observations = Observations {
            seen: traffic.stop().await?,
            deployed,
            active: site.active().await?,
            old,
            schema_before,
            schema_during,
            schema_after: site.schema()?,
            killed,
            edge: self.edge,
        };
        let result = judge(scenario, observations);
        transcript.line(&result);
        Ok(result)
    }
}

impl Play<'_> {
    /// Deploys, prints each event, and reads the schema once the new release has the traffic.
    async fn deploy(&mut self, site: &mut Site) -> Result<Deployed> {
        let mut deployment = site.daemon()?.begin_deploy(GROUP, self.scenario.version)?;
        while let Some(event) = deployment.next().await? {
            self.show(&event.phase, &event.message);
            if event.phase == "soaking" && self.schema.is_none() {
                self.schema = Some(site.schema()?);
                if self.scenario.accident != Accident::None {
                    self.traffic.answers(200).await?;
                    return self.kill_and_resume(site, deployment).await;
                }
            }
        }
        deployment.finish().await
    }

    async fn kill_and_resume(&mut self, site: &mut Site, command: Deployment) -> Result<Deployed> {
        let daemon = site.daemon()?;
        let pid = daemon.pid().context("the daemon does not run")?;
        self.killed = Some(Instant::now());
        daemon.kill()?;
        ensure!(!process::alive(pid), "the daemon survived");
        self.show("", &format!("SIGKILL to the daemon, process {pid}"));
        if let Accident::DaemonGone { .. } = self.scenario.accident {
            let is_back = async || site.active().await.is_ok_and(|active| active == self.old);
            wait::until_async(LIMIT, "nginx to move the traffic back", is_back).await?;
            self.show("", &format!("nginx has moved the traffic back to {}", self.old));
            self.traffic.answers(200).await?;
        }
        let daemon = site.daemon()?;
        daemon.resume().await?;
        self.show("", "the daemon is back");
        let ended = daemon.follow(command).await?;
        let last = ended.events.last().map(|event| event.message.clone()).unwrap_or_default();
        self.show(&ended.outcome, &last);
        Ok(ended)
    }

    fn show(&mut self, phase: &str, message: &str) {
        let seconds = self.start.elapsed().as_secs_f64();
        self.transcript.line(format!("  {seconds:5.1} s  {phase:<14} {message}"));
    }
}
