//! Which deployments run, and how many sites run at the same time.

use std::num::NonZeroUsize;
use std::sync::Arc;

use anyhow::Result;
use cutover_tests::site::EdgeKind;
use cutover_tests::{DatabaseKind, Nginx, Site};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::judge::ScenarioResult;
use crate::play::ScenarioSite;
use crate::scenario::Scenario;
use crate::series::{SERIES, SERIES_OF_EDGES, Series, WITH_DATABASE};
use crate::transcript::Transcript;

/// The most sites that run at the same time. They wait for most of their time.
const SITES: usize = 4;
/// The same for sites with several edges.
const SITES_OF_EDGES: usize = 2;

/// The deployments to run.
#[derive(Debug)]
pub(crate) struct Schedule {
    site_runs: Vec<SiteRun>,
    /// One site runs at a time, and prints each line at once.
    is_serial: bool,
    /// The most sites that run at the same time.
    at_once: usize,
    running: JoinSet<Result<SiteResult>>,
}

/// Which scenarios, and how often each.
#[derive(Clone, Debug)]
pub(crate) struct Choice {
    /// Their numbers. None: all of them, with `runs` those with a limit for the median.
    pub(crate) only: Vec<u8>,
    /// How often each. Absent: once, without medians.
    pub(crate) runs: Option<NonZeroUsize>,
}

impl Choice {
    /// Those of a series, each as often as it is to run.
    pub(crate) fn of(&self, scenarios: &[Scenario]) -> Vec<Scenario> {
        let is_chosen = |scenario: &&Scenario| match self.only.as_slice() {
            [] => self.runs.is_none() || scenario.median_failed.is_some(),
            numbers => numbers.contains(&scenario.number),
        };
        let times = self.runs.map_or(1, NonZeroUsize::get);
        scenarios.iter().filter(is_chosen).flat_map(|one| std::iter::repeat_n(*one, times)).collect()
    }
}

/// The results of all sites.
#[derive(Debug, Default)]
pub(crate) struct Played {
    /// Ordered by the numbers of the scenarios.
    pub(crate) results: Vec<ScenarioResult>,
    /// What nginx's error logs hold and should not, and why deployments could not be run to their end.
    pub(crate) complaints: Vec<String>,
    /// The site that is to be kept.
    pub(crate) kept: Option<Site>,
}

/// The deployments to run on one site.
#[derive(Clone, Debug)]
struct SiteRun {
    series: Series,
    scenarios: Vec<Scenario>,
    keep: bool,
}

/// The results of one site.
#[derive(Debug)]
struct SiteResult {
    results: Vec<ScenarioResult>,
    complaints: Vec<String>,
    kept: Option<Site>,
}

impl Schedule {
    /// The chosen scenarios. With `keep`, the first site is kept.
    pub(crate) fn new(
        choice: &Choice,
        keep: bool,
        (edge, edges): (EdgeKind, u8),
        database: Option<DatabaseKind>,
    ) -> Self {
        let mut site_runs = Vec::new();
        let of_edges = SERIES_OF_EDGES.into_iter().filter(|_| edges > 1);
        let all: Vec<Series> = match database {
            Some(_) => vec![WITH_DATABASE],
            None => of_edges.chain(SERIES).collect(),
        };
        for mut series in all {
            series.settings.database = database.or(series.settings.database);
            series.settings.edge = edge;
            series.settings.edges = edges;
            let mut scenarios = choice.of(series.scenarios);
            if edge == EdgeKind::File {
                scenarios = scenarios.into_iter().filter_map(Scenario::over_stock_nginx).collect();
            }
            if !scenarios.is_empty() {
                let keep = keep && site_runs.is_empty();
                site_runs.push(SiteRun { series, scenarios, keep });
            }
        }
        // Runs for a median have the machine to themselves.
        let is_serial = choice.runs.is_some() || site_runs.len() == 1;
        let at_once = match edges {
            _ if is_serial => 1,
            1 => SITES,
            _ => SITES_OF_EDGES,
        };
        Self { site_runs, is_serial, at_once, running: JoinSet::new() }
    }

    /// Runs everything. The sites share this thread; their users have others. Panics outside of a `LocalSet`.
    pub(crate) async fn play(&mut self) -> Result<Played> {
        let is_live = self.is_serial;
        let places = Arc::new(Semaphore::new(self.at_once));
        for site_run in std::mem::take(&mut self.site_runs) {
            let places = Arc::clone(&places);
            self.running.spawn_local(async move {
                let _place = places.acquire_owned().await?;
                site_run.play(is_live).await
            });
        }
        let mut played = Played::default();
        while let Some(ended) = self.running.join_next().await {
            match ended? {
                Ok(SiteResult { results, complaints, kept }) => {
                    played.results.extend(results);
                    played.complaints.extend(complaints);
                    played.kept = played.kept.or(kept);
                }
                Err(error) => played.complaints.push(format!("{error:#}")),
            }
        }
        played.results.sort_by_key(|result| result.number);
        Ok(played)
    }

    /// Ends all sites.
    pub(crate) async fn abort(&mut self) {
        self.running.shutdown().await;
    }
}

impl SiteRun {
    async fn play(self, is_live: bool) -> Result<SiteResult> {
        let mut place = ScenarioSite::start(self.series.settings, self.series.users).await?;
        if is_live {
            for nginx in place.site.edges() {
                let (address, prefix) = (nginx.address("shop")?, nginx.prefix());
                println!("nginx listens on http://{address}, everything is under {}", prefix.display());
            }
        }
        let mut results = Vec::new();
        for scenario in &self.scenarios {
            results.push(place.play(scenario, Transcript::new(is_live)).await?);
        }
        let complaints = place.site.edges().flat_map(Nginx::complaints);
        let complaints = complaints.map(|line| format!("nginx's error log: {line}")).collect();
        Ok(SiteResult { results, complaints, kept: self.keep.then_some(place.site) })
    }
}
