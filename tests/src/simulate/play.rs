//! Runs one of the deployments.

use std::time::Instant;

use anyhow::{Context, Result, ensure};
use cutover_tests::daemon::{Deployed, Deployment};
use cutover_tests::process;
use cutover_tests::site::{GROUP, Release, Schema, Site, Traffic};

use crate::judge::{Observations, ScenarioResult, judge};
use crate::scenario::Scenario;

impl Scenario {
    /// Runs the deployment under load and judges the observations.
    pub(crate) async fn play(&self, site: &mut Site) -> Result<ScenarioResult> {
        Release::new(self.version, self.schema, self.fault).publish(site.prefix()?)?;
        let old = site.active().await?;
        let schema_before = site.schema()?;
        println!("\n{}. {}: {} while {old} has the traffic", self.number, self.title, self.version);
        let traffic = site.traffic().await?;
        let (ended, schema_during) = self.deploy(site, &traffic).await?;
        let seen = traffic.stop().await?;
        let observations = Observations {
            outcome: ended.outcome,
            code: ended.code,
            old,
            active: site.active().await?,
            schema_before,
            schema_during,
            schema_after: site.schema()?,
            seen,
        };
        let result = judge(self, observations);
        print!("{result}");
        Ok(result)
    }

    /// Deploys, prints each event, and reads the schema once the new release has the traffic.
    async fn deploy(&self, site: &mut Site, traffic: &Traffic) -> Result<(Deployed, Option<Schema>)> {
        let start = Instant::now();
        let mut deployment = site.daemon()?.begin_deploy(GROUP, self.version)?;
        let mut schema = None;
        while let Some(event) = deployment.next().await? {
            show(start, &event.phase, &event.message);
            if event.phase == "soaking" && schema.is_none() {
                schema = Some(site.schema()?);
                if self.kill_daemon {
                    traffic.answers(500).await?;
                    return Ok((kill_and_resume(site, deployment, start).await?, schema));
                }
            }
        }
        Ok((deployment.finish().await?, schema))
    }
}

async fn kill_and_resume(site: &mut Site, command: Deployment, start: Instant) -> Result<Deployed> {
    let daemon = site.daemon()?;
    let pid = daemon.pid().context("the daemon does not run")?;
    daemon.kill()?;
    ensure!(!process::alive(pid), "the daemon survived");
    show(start, "", &format!("SIGKILL to the daemon, process {pid}"));
    daemon.resume().await?;
    show(start, "", "the daemon is back");
    let ended = daemon.follow(command).await?;
    show(start, &ended.outcome, "");
    Ok(ended)
}

fn show(start: Instant, phase: &str, message: &str) {
    println!("  {:5.1} s  {phase:<14} {message}", start.elapsed().as_secs_f64());
}
