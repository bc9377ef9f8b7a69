//! The daemon is killed in a deployment of two groups, and started again. Both groups have one outcome, and it agrees with the
//! slots that have the traffic.

use std::time::Duration;

use cutover_core::deployment::Phase;
use cutover_tests::daemon::Deployment;
use cutover_tests::{Action, wait};

use super::Both;
use super::users::{GROUPS, longest, moments};

/// Commands for all phases.
const COMMANDS: &str = r#"
    [group.shop.migrate]
    command = ["/bin/true"]
    [group.shop.revert]
    command = ["/bin/true"]
    [group.shop.provision]
    command = ["/bin/true"]
    [group.shop.decommission]
    command = ["/bin/sleep", "0.3"]
    [[group.shop.smoke]]
    name = "answers"
    path = "/shop"
"#;

/// The daemon may be killed between two switches. Then users have two versions until it runs again.
const RESTART: Duration = Duration::from_secs(5);

/// What is wrong with the new version of one group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    Good,
    /// Its smoke test fails.
    Broken,
    /// Its users get errors.
    Bad,
}

impl Version {
    fn outcome(self) -> &'static str {
        match self {
            Self::Good => "completed",
            Self::Broken => "failed",
            Self::Bad => "rolled_back",
        }
    }
}

/// Waits until a group is in a phase. The command follows a deployment until the old version is kept warm.
async fn until(both: &Both, deployment: &mut Deployment, group: &str, phase: &str) {
    if phase == "decommissioning" {
        let at = GROUPS.iter().position(|one| *one == group).unwrap();
        return wait::until(phase, || both.phases()[at] == phase).await.unwrap();
    }
    let begin = format!("{group}-");
    while let Some(event) = deployment.next().await.unwrap() {
        if event.phase == phase && event.deployment.starts_with(&begin) {
            return;
        }
    }
    panic!("group {group:?} was never {phase}");
}

/// Deploys both groups, kills the daemon when one of them has come to a phase, and starts it again.
async fn kill_in(phase: &str, group: &str, version: Version) {
    let mut both = Both::start(|group| {
        let name = if group.contains("[group.api]") { "api" } else { "shop" };
        let short = group.replace("duration = \"1500ms\"", "duration = \"700ms\"");
        format!("{short}{}", COMMANDS.replace("group.shop", &format!("group.{name}")))
    })
    .await;
    // Only users go to /api; the smoke tests ask for /shop.
    match version {
        Version::Good => {}
        Version::Broken => both.api_green.on("/shop", Action::status(500)),
        Version::Bad => both.api_green.on("/api", Action::status(500)),
    }
    let users = both.users();
    users.have(20).await;
    let mut deployment = both.deploy();
    until(&both, &mut deployment, group, phase).await;
    both.host.daemon.kill().unwrap();
    both.host.daemon.resume().await.unwrap();
    let what = format!("killed when {group:?} was {phase}, {version:?}");
    let outcomes = || -> Vec<String> {
        let statuses = GROUPS.map(|group| both.host.daemon.status(group).unwrap());
        statuses
            .iter()
            .map(|status| status["deployment"]["outcome"].as_str().unwrap_or_default().to_owned())
            .collect()
    };
    let ended = async || outcomes().iter().all(|outcome| !outcome.is_empty());
    let waited = wait::until_async(Duration::from_secs(60), "both deployments to end", ended).await;
    waited.unwrap_or_else(|error| panic!("{what}: {error}: {:?}", outcomes()));
    assert_eq!(outcomes(), [version.outcome(); 2], "{what}");
    let is_new = version == Version::Good;
    assert_eq!(both.active().await, [if is_new { "green" } else { "blue" }; 2], "{what}");
    let all = users.stop().await;
    let failed = all.iter().filter(|seen| seen.status != 200);
    let foreign = failed.filter(|seen| is_new || seen.slot != "green").count();
    assert_eq!(foreign, 0, "{what}: only a bad version fails");
    let moments = moments(&all);
    assert!(longest(&moments) < RESTART, "{what}: {moments:?}");
    println!("| {phase} | {group} | {version:?} | {} | {moments:?} |", version.outcome());
}

#[tokio::test(flavor = "multi_thread")]
async fn at_the_switch_of_the_first() {
    kill_in("switching", "shop", Version::Good).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn at_the_commit_of_the_second() {
    kill_in("confirming", "api", Version::Good).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn on_the_way_back_of_the_good_one() {
    kill_in("rolling_back", "shop", Version::Bad).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes: each phase of each group"]
async fn in_each_phase_of_each_group() {
    for group in GROUPS {
        for phase in &Phase::NAMES[..=9] {
            kill_in(phase, group, Version::Good).await;
        }
        for phase in ["migrating", "provisioning", "probing", "smoking", "tearing_down"] {
            kill_in(phase, group, Version::Broken).await;
        }
        for phase in ["smoking", "switching", "soaking", "rolling_back"] {
            kill_in(phase, group, Version::Bad).await;
        }
    }
}
