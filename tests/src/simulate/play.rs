//! Runs one of the deployments.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use cutover_tests::daemon::{Deployed, Deployment};
use cutover_tests::site::{EdgeKind, GROUP, Release, Schema, Settings, Site, Traffic, Users, edge_name};
use cutover_tests::{Client, process, wait};

use crate::judge::{EdgeSeen, Ended, Observations, ScenarioResult, Schemas, judge};
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
    lease: Option<Duration>,
}

/// A deployment in progress.
#[derive(Debug)]
struct Play<'a> {
    scenario: &'a Scenario,
    traffic: &'a [Traffic],
    old: &'a str,
    start: Instant,
    transcript: Transcript,
    schema: Option<Schema>,
    noticed: Option<Instant>,
    killed: Option<Instant>,
}

impl ScenarioSite {
    pub(crate) async fn start(settings: Settings, users: Users) -> Result<Self> {
        Ok(Self {
            site: Site::start(settings).await?,
            users,
            takes_ms: settings.takes_ms,
            edge: settings.edge,
            lease: settings.lease,
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
        let traffic = site.traffic_at_edges(self.users).await?;
        let mut play = Play {
            scenario,
            traffic: &traffic,
            old: &old,
            start: Instant::now(),
            transcript,
            schema: None,
            noticed: None,
            killed: None,
        };
        let deployed = play.deploy(site).await.with_context(|| format!("scenario {number}"))?;
        let Play { schema: during, noticed, killed, mut transcript, .. } = play;
        agree(site).await?;
        let mut edges = Vec::new();
        for (number, (traffic, active)) in traffic.into_iter().zip(site.actives().await?).enumerate() {
            let (name, seen) = (edge_name(number), traffic.stop().await?);
            edges.push(EdgeSeen { name, seen, active, counted: None });
        }
        let observations = Observations {
            edges,
            ended: Ended {
                code: deployed.code,
                code_expected: scenario.expected.code_of_deploy(),
                said: deployed.events.last().map(|event| event.message.clone()).unwrap_or_default(),
                outcome: deployed.outcome,
            },
            old,
            schemas: Some(Schemas { before: schema_before, during, after: site.schema()? }),
            noticed,
            killed,
            edge: self.edge,
            lease: self.lease,
        };
        let result = judge(scenario, observations);
        transcript.line(&result);
        Ok(result)
    }
}

/// Waits until all edges have the same slot active.
async fn agree(site: &Site) -> Result<()> {
    let agree = async || {
        site.actives().await.is_ok_and(|actives| actives.windows(2).all(|pair| pair.first() == pair.last()))
    };
    wait::until_async(LIMIT, "all edges to have the same slot active", agree).await
}

impl Play<'_> {
    /// Deploys, prints each event, and reads the schema once the new release has the traffic.
    async fn deploy(&mut self, site: &mut Site) -> Result<Deployed> {
        let mut deployment = site.daemon()?.begin_deploy(GROUP, self.scenario.version)?;
        while let Some(event) = deployment.next().await? {
            self.show(&event.phase, &event.message);
            if event.phase == "rolling_back" {
                self.noticed.get_or_insert_with(Instant::now);
            }
            if event.phase == "soaking" && self.schema.is_none() {
                self.schema = Some(site.schema()?);
                match self.scenario.accident {
                    Accident::None | Accident::AgentStopped => {}
                    Accident::DaemonKilled | Accident::DaemonGone { .. } => {
                        self.answers(200).await?;
                        return self.kill_and_resume(site, deployment).await;
                    }
                    Accident::EdgeKilled => self.kill_edge(site).await?,
                    Accident::EdgeMoved => self.move_edge(site).await?,
                    Accident::GiftsOrdered => self.order_gifts(site).await?,
                }
            }
        }
        let ended = deployment.finish().await?;
        if self.scenario.accident == Accident::GiftsOrdered {
            self.consent(site, &ended)?;
        }
        Ok(ended)
    }

    /// Orders gifts until the new release has taken some.
    async fn order_gifts(&mut self, site: &Site) -> Result<()> {
        let mut client = Client::connect(site.address()?).await?;
        let order = r#"{"product_id":1,"quantity":1,"gift_note":"for you"}"#;
        for _ in 0..3 {
            let headers = [("content-type", "application/json")];
            let answer = client.request_with("POST", "/orders", &headers, order).await?;
            ensure!(answer.status == 201, "an order of a gift got {}", answer.status);
        }
        self.show("", "users have ordered 3 gifts");
        Ok(())
    }

    /// Types the command that the daemon recommends. Until then the gifts are in the database.
    fn consent(&mut self, site: &mut Site, ended: &Deployed) -> Result<()> {
        ensure!(Some(site.schema()?) == self.schema, "the database was reverted without an operator");
        let said = ended.events.last().map(|event| event.message.as_str()).unwrap_or_default();
        let (_, command) = said.rsplit_once("type: ").context("no command is recommended")?;
        let words: Vec<&str> = command.split_whitespace().skip(1).collect();
        let done = site.daemon()?.cli(&words)?;
        ensure!(done.status.success(), "{command}: {done:?}");
        self.show(
            "",
            &format!("an operator types {command}: {}", String::from_utf8_lossy(&done.stdout).trim()),
        );
        Ok(())
    }

    async fn kill_and_resume(&mut self, site: &mut Site, command: Deployment) -> Result<Deployed> {
        let daemon = site.daemon()?;
        let pid = daemon.pid().context("the daemon does not run")?;
        self.killed = Some(Instant::now());
        daemon.kill()?;
        ensure!(!process::alive(pid), "the daemon survived");
        self.show("", &format!("SIGKILL to the daemon, process {pid}"));
        if let Accident::DaemonGone { .. } = self.scenario.accident {
            let is_back =
                async || site.actives().await.is_ok_and(|actives| actives.iter().all(|one| one == self.old));
            wait::until_async(LIMIT, "nginx to move the traffic back", is_back).await?;
            self.show("", &format!("nginx has moved the traffic back to {}", self.old));
            self.answers(200).await?;
        }
        let daemon = site.daemon()?;
        daemon.resume().await?;
        self.show("", "the daemon is back");
        let ended = daemon.follow(command).await?;
        let last = ended.events.last().map(|event| event.message.clone()).unwrap_or_default();
        self.show(&ended.outcome, &last);
        Ok(ended)
    }

    /// Kills the last edge, and starts it again when the traffic of the others is back.
    async fn kill_edge(&mut self, site: &Site) -> Result<()> {
        self.answers(200).await?;
        let nginx = site.last_edge()?;
        process::kill_now(&nginx.pids());
        self.show("", &format!("SIGKILL to nginx at {}", nginx.prefix().display()));
        let others: Vec<_> = site.edges().filter(|one| one.prefix() != nginx.prefix()).collect();
        let are_back = async || {
            for other in &others {
                let group = other.admin().group(GROUP).await;
                if group.map_or(true, |group| group.route.active != self.old) {
                    return false;
                }
            }
            true
        };
        wait::until_async(LIMIT, "the traffic of the other edges to be back", are_back).await?;
        self.show("", "the traffic of the other edges is back");
        nginx.start().await?;
        self.show("", "nginx is started again");
        Ok(())
    }

    /// Moves the last edge back.
    async fn move_edge(&mut self, site: &Site) -> Result<()> {
        self.answers(200).await?;
        let nginx = site.last_edge()?;
        nginx.admin().switch(GROUP, self.old).await?;
        self.show("", &format!("{} is active by hand in nginx at {}", self.old, nginx.prefix().display()));
        Ok(())
    }

    /// Waits for this many more answers, spread over the edges.
    async fn answers(&self, more: u64) -> Result<()> {
        let each = more.div_ceil(self.traffic.len().max(1) as u64);
        for traffic in self.traffic {
            traffic.answers(each).await?;
        }
        Ok(())
    }

    fn show(&mut self, phase: &str, message: &str) {
        self.transcript.event(self.start, phase, message);
    }
}
