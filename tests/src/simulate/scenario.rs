//! The six deployments, and how each is played.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use cutover_tests::daemon::{Deployed, Deployment};
use cutover_tests::load::Request;
use cutover_tests::{Expected, Load, Plan, process};

use crate::database::Schema;
use crate::judge::{Facts, Verdict, judge};
use crate::operator::database;
use crate::release::Release;
use crate::watch::Watch;
use crate::world::{GROUP, World};

/// One deployment to play, and how it must end.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scenario {
    pub(crate) number: u8,
    pub(crate) title: &'static str,
    pub(crate) version: &'static str,
    schema: u32,
    fault: Option<&'static str>,
    pub(crate) ending: Ending,
    kill_daemon: bool,
}

/// How a deployment ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// The new release has the traffic.
    Completed,
    /// No traffic was moved.
    Failed,
    /// The old release has the traffic again.
    RolledBack,
}

impl Ending {
    /// The word and the exit code with which `cutover deploy` ends.
    pub(crate) fn word_and_code(self) -> (&'static str, i32) {
        match self {
            Self::Completed => ("completed", 0),
            Self::Failed => ("failed", 3),
            Self::RolledBack => ("rolled_back", 4),
        }
    }
}

pub(crate) const SCENARIOS: [Scenario; 6] = [
    Scenario {
        number: 1,
        title: "a good release",
        version: "2.0.0",
        schema: 2,
        fault: None,
        ending: Ending::Completed,
        kill_daemon: false,
    },
    Scenario {
        number: 2,
        title: "never gets ready",
        version: "2.1.0",
        schema: 2,
        fault: Some("never-ready"),
        ending: Ending::Failed,
        kill_daemon: false,
    },
    Scenario {
        number: 3,
        title: "fails its smoke test",
        version: "2.2.0",
        schema: 2,
        fault: Some("bad-catalogue"),
        ending: Ending::Failed,
        kill_daemon: false,
    },
    Scenario {
        number: 4,
        title: "5xx to real traffic, with a migration",
        version: "3.0.0",
        schema: 3,
        fault: Some("errors-after=40"),
        ending: Ending::RolledBack,
        kill_daemon: false,
    },
    Scenario {
        number: 5,
        title: "dies right after the switch",
        version: "3.1.0",
        schema: 2,
        fault: Some("exit-after=40"),
        ending: Ending::RolledBack,
        kill_daemon: false,
    },
    Scenario {
        number: 6,
        title: "a good release; the daemon is killed",
        version: "3.2.0",
        schema: 3,
        fault: None,
        ending: Ending::Completed,
        kill_daemon: true,
    },
];

impl Scenario {
    /// Plays it under load and judges what happened.
    pub(crate) async fn play(&self, world: &mut World) -> Result<Verdict> {
        let prefix = world.nginx()?.prefix().to_owned();
        let database = database(&prefix);
        Release::new(self.version, self.schema, self.fault).publish(&prefix)?;
        let admin = world.nginx()?.admin();
        let group = admin.group(GROUP).await?;
        let old = group.route.active.clone();
        let schema_before = Schema::read(&database)?;
        println!("\n{}. {}: {} while {old} has the traffic", self.number, self.title, self.version);

        let expected = Expected::new(&old);
        let watch = Watch::start(admin.clone(), group, expected.clone());
        let load = Load::start(plan(world)?, &expected);
        load.answers(300).await?;
        let start = Instant::now();
        let (ended, schema_amid) = self.deploy(world, &load, start).await?;
        load.answers(300).await?;
        let report = load.stop().await;
        let watched = watch.stop().await?;
        let facts = Facts {
            outcome: ended.outcome,
            code: ended.code,
            old,
            active: admin.group(GROUP).await?.route.active,
            schema_before,
            schema_amid,
            schema_after: Schema::read(&database)?,
            report,
            watched,
        };
        let verdict = judge(self, facts);
        print!("{verdict}");
        Ok(verdict)
    }

    /// Deploys, shows each event, and looks at the schema once the new release has the traffic.
    async fn deploy(
        &self,
        world: &mut World,
        load: &Load,
        start: Instant,
    ) -> Result<(Deployed, Option<Schema>)> {
        let database = database(world.nginx()?.prefix());
        let mut deployment = world.daemon()?.begin_deploy(GROUP, self.version)?;
        let mut schema = None;
        while let Some(event) = deployment.next().await? {
            show(start, &event.phase, &event.message);
            if event.phase == "soaking" && schema.is_none() {
                schema = Some(Schema::read(&database)?);
                if self.kill_daemon {
                    load.answers(500).await?;
                    return Ok((self.kill_and_resume(world, deployment, start).await?, schema));
                }
            }
        }
        Ok((deployment.finish().await?, schema))
    }

    async fn kill_and_resume(
        &self,
        world: &mut World,
        command: Deployment,
        start: Instant,
    ) -> Result<Deployed> {
        let daemon = world.daemon()?;
        let pid = daemon.pid().context("the daemon does not run")?;
        daemon.kill()?;
        show(start, "", &format!("SIGKILL to the daemon, process {pid}"));
        anyhow::ensure!(!process::alive(pid), "the daemon survived");
        daemon.resume().await?;
        show(start, "", "the daemon is back");
        daemon.follow(command).await
    }
}

fn show(start: Instant, phase: &str, message: &str) {
    println!("  {:5.1} s  {phase:<14} {message}", start.elapsed().as_secs_f64());
}

/// Some hundred requests a second over eight kept-alive connections and four that are fresh each time; they read the catalogue and
/// place orders.
fn plan(world: &World) -> Result<Plan> {
    Ok(Plan::new(world.shop()?).connections(8, 4).pause(Duration::from_millis(8)).requests(vec![
        Request::get("/products"),
        Request::get("/products/1"),
        Request::get("/products/2"),
        Request::post("/orders", r#"{"product_id":1,"quantity":2}"#),
    ]))
}
