//! Tests that each store must pass.

use cutover_core::deployment::{Cause, CauseKind, Phase, Plan, Retry};
use cutover_core::fraction::Percent;
use cutover_engine::scripted;

use super::*;

pub(super) fn deployment(id: &str, from: &str, to: &str, version: &str) -> Deployment {
    let policy = scripted::policy();
    let plan = Plan {
        steps: cutover_core::deployment::Steps::default(),
        group: "shop".to_owned(),
        from: from.to_owned(),
        to: to.to_owned(),
        migrate: false,
        provision: true,
        revert: false,
        decommission: false,
        probe_deadline: std::time::Duration::from_secs(1),
        soak: std::time::Duration::from_secs(1),
        extend: std::time::Duration::ZERO,
        accept_inconclusive: false,
        drain: std::time::Duration::from_secs(1),
        warm: std::time::Duration::from_secs(1),
        served: Default::default(),
        probes_only: false,
        known: Default::default(),
        excluded: Vec::new(),
        with: Vec::new(),
    };
    Deployment {
        id: id.to_owned(),
        version: version.to_owned(),
        previous: String::new(),
        asked_by: "a test".to_owned(),
        reason: "why".to_owned(),
        started: Time(5),
        plan,
        policy,
    }
}

pub(super) fn state(phase: Phase) -> State {
    State { provisioned: true, ..State::new(phase) }
}

/// Takes a deployment through phases.
pub(super) async fn tell(store: &Store, deployment: Deployment, phases: impl IntoIterator<Item = Phase>) {
    let id = deployment.id.clone();
    store.begin(deployment, &state(Phase::Provisioning), "").await.unwrap();
    store.append(&id, Time(6), &state(Phase::Probing { until: Time(9) }), "").await.unwrap();
    for phase in phases {
        store.append(&id, Time(7), &state(phase), "").await.unwrap();
    }
}

pub(super) fn completed() -> [Phase; 2] {
    [Phase::Decommissioning(Retry::default()), Phase::Completed { note: None }]
}

fn ids(entries: &[Entry]) -> Vec<&str> {
    entries.iter().map(|entry| entry.deployment.id.as_str()).collect()
}

pub(super) async fn what_was_written_is_read_again(store: Store) {
    let begun = deployment("shop-1", "blue", "green", "2");
    tell(&store, begun.clone(), [Phase::Smoking]).await;
    store.note("shop-1", Time(8), "smoking", "a note").await.unwrap();
    let entry = store.open_deployments().await.unwrap().pop().unwrap();
    assert_eq!(entry.deployment, begun);
    assert_eq!(entry.state, state(Phase::Smoking));
    assert_eq!((entry.message.as_str(), entry.updated), ("a note", Time(8)));
    let records = store.records("shop-1", 0).await.unwrap();
    assert_eq!(records.len(), 4);
    assert_eq!(store.records("shop-1", records[1].seq).await.unwrap(), records[2..]);
    assert_eq!(store.free_id("shop-1".to_owned()).await.unwrap(), "shop-1-2");
    assert_eq!(store.entry("shop-9").await.unwrap(), None);
    for phase in completed() {
        store.append("shop-1", Time(9), &state(phase), "the end").await.unwrap();
    }
    store.note("shop-1", Time(10), "completed", "a note after the end").await.unwrap();
    let entry = store.history(Some("shop"), 5).await.unwrap().pop().unwrap();
    assert_eq!(entry.message, "the end", "a note does not hide how it ended");
    assert_eq!(entry.outcome, Some(Outcome::Completed));
    let outcomes: Vec<_> = store.records("shop-1", 0).await.unwrap();
    assert_eq!(outcomes.iter().filter(|record| record.outcome.is_some()).count(), 1);
    assert!(store.open_deployments().await.unwrap().is_empty());
}

pub(super) async fn versions_in_slots(store: Store) {
    let seen = async || {
        let blue = store.version_in("shop", "blue").await.unwrap();
        let green = store.version_in("shop", "green").await.unwrap();
        (blue.unwrap_or_default(), green.unwrap_or_default())
    };
    let two = |blue: &str, green: &str| (blue.to_owned(), green.to_owned());
    assert_eq!(seen().await, two("", ""));
    tell(&store, deployment("a", "blue", "green", "2"), completed()).await;
    assert_eq!(seen().await, two("", "2"));
    tell(&store, deployment("b", "green", "blue", "3"), []).await;
    assert_eq!(seen().await, two("3", "2"), "started, and not at its end");
    for phase in completed() {
        store.append("b", Time(8), &state(phase), "").await.unwrap();
    }
    assert_eq!(seen().await, two("3", ""), "2 was stopped");
    let cause = Cause { kind: CauseKind::Smoke, text: String::new(), blames_version: false };
    tell(&store, deployment("c", "blue", "green", "4"), [Phase::Failed(cause)]).await;
    assert_eq!(seen().await, two("3", ""), "4 was taken back");
    let stuck = Phase::stuck(String::new(), String::new());
    tell(&store, deployment("d", "blue", "green", "5"), [stuck]).await;
    assert_eq!(seen().await, two("3", "5"), "stuck, and left running");
}

pub(super) async fn a_version_that_is_being_started_counts(store: Store) {
    let begun = deployment("a", "blue", "green", "2");
    store.begin(begun, &state(Phase::Provisioning), "").await.unwrap();
    assert_eq!(store.version_in("shop", "green").await.unwrap().as_deref(), Some("2"));
}

pub(super) async fn old_deployments_are_forgotten_and_versions_are_not(store: Store) {
    tell(&store, deployment("red", "blue", "red", "0"), [Phase::Completed { note: None }]).await;
    for number in 1..=6 {
        let (from, to) = if number % 2 == 0 { ("green", "blue") } else { ("blue", "green") };
        let begun = deployment(&number.to_string(), from, to, &number.to_string());
        tell(&store, begun, completed()).await;
    }
    tell(&store, deployment("open", "blue", "green", "7"), []).await;
    assert_eq!(store.prune("shop", 2).await.unwrap(), ["1", "2", "3", "4"]);
    assert_eq!(store.prune("shop", 2).await.unwrap(), [""; 0]);
    for (slot, version) in [("red", Some("0")), ("blue", Some("6")), ("green", Some("7"))] {
        assert_eq!(store.version_in("shop", slot).await.unwrap().as_deref(), version, "{slot}");
    }
    assert_eq!(store.prune("other", 0).await.unwrap(), [""; 0]);
    assert!(store.records("1", 0).await.unwrap().is_empty());
    assert_eq!(ids(&store.history(None, 9).await.unwrap()), ["open", "6", "5", "red"]);
    assert_eq!(ids(&store.history(Some("shop"), 2).await.unwrap()), ["open", "6"]);
}

pub(super) async fn one_deployment_of_a_group_is_open(store: Store) {
    tell(&store, deployment("a", "blue", "green", "2"), []).await;
    let second = deployment("b", "blue", "green", "3");
    let refused = store.begin(second.clone(), &state(Phase::Provisioning), "").await.unwrap_err();
    assert!(matches!(&refused, JournalError::Open(id) if id == "a"), "{refused}");
    let warm = Phase::Warm { until: Time(90) };
    store.append("a", Time(8), &state(warm), "warm").await.unwrap();
    let entry = store.entry("a").await.unwrap().unwrap();
    let superseded = Superseded::of(&entry, Time(9)).unwrap();
    // Its state changes before the next one begins.
    store.append("a", Time(9), &state(Phase::Warm { until: Time(91) }), "warm").await.unwrap();
    let begun = store.begin_after(superseded, second.clone(), &state(Phase::Provisioning), "").await;
    assert!(matches!(&begun, Err(JournalError::Open(id)) if id == "a"), "{begun:?}");
    let entry = store.entry("a").await.unwrap().unwrap();
    let superseded = Superseded::of(&entry, Time(9)).unwrap();
    store.begin_after(superseded, second, &state(Phase::Provisioning), "").await.unwrap();
    assert_eq!(ids(&store.open_deployments().await.unwrap()), ["b"]);
    assert!(store.entry("a").await.unwrap().unwrap().state.phase.is_final());
}

pub(super) async fn switches_by_hand(store: Store) {
    for (at, group, to) in [(1, "shop", "green"), (2, "books", "blue"), (3, "shop", "blue")] {
        let (group, to) = (group.to_owned(), to.to_owned());
        let (from, reason, asked_by) = ("x".to_owned(), "why".to_owned(), "me".to_owned());
        store.switched(Switch { group, at: Time(at), from, to, reason, asked_by }).await.unwrap();
    }
    let times = async |group: Option<&str>, limit| {
        let found = store.switches(group, limit).await.unwrap();
        found.iter().map(|switch| switch.at.0).collect::<Vec<_>>()
    };
    assert_eq!(times(None, 9).await, [3, 2, 1]);
    assert_eq!(times(Some("shop"), 9).await, [3, 1]);
    assert_eq!(times(Some("shop"), 1).await, [3]);
}

pub(super) async fn acts_by_hand(store: Store) {
    for (at, group, what) in
        [(1, Some("shop"), "frozen"), (2, Some("books"), "frozen"), (3, None, "unfrozen")]
    {
        let (group, what) = (group.map(str::to_owned), what.to_owned());
        let (reason, asked_by) = ("the sale".to_owned(), "alice (as root)".to_owned());
        store.acted(Act { group, at: Time(at), what, reason, asked_by }).await.unwrap();
    }
    let times = async |group: Option<&str>, limit| {
        let found = store.acts(group, limit).await.unwrap();
        found.iter().map(|act| act.at.0).collect::<Vec<_>>()
    };
    assert_eq!(times(None, 9).await, [3, 2, 1]);
    assert_eq!(times(Some("shop"), 9).await, [3, 1], "all groups are this one, too");
    assert_eq!(times(Some("shop"), 1).await, [3]);
    let first = store.acts(None, 9).await.unwrap().remove(2);
    assert_eq!(
        (first.group.as_deref(), first.what.as_str(), first.reason.as_str(), first.asked_by.as_str()),
        (Some("shop"), "frozen", "the sale", "alice (as root)")
    );
}

pub(super) async fn what_hooks_were_told(store: Store) {
    assert_eq!(store.told("shop").await.unwrap(), None);
    let told = |at, to: &str, failed: Option<&str>| Told {
        group: "shop".to_owned(),
        at: Time(at),
        from: "blue".to_owned(),
        from_version: "1".to_owned(),
        to: to.to_owned(),
        to_version: String::new(),
        share: Percent::from_parts(10_000).unwrap(),
        reason: "by hand".to_owned(),
        deployment: None,
        is_begun: failed.is_some(),
        failed: failed.map(str::to_owned),
    };
    for told in [told(1, "green", None), told(2, "red", Some("it ended with exit status: 1"))] {
        store.tell(told.clone()).await.unwrap();
        assert_eq!(store.told("shop").await.unwrap(), Some(told), "the last one is kept");
    }
    assert_eq!(store.told("books").await.unwrap(), None);
    // The command of a hook belongs to no deployment.
    let leader = Leader { pid: 1, birth: "boot/1".to_owned() };
    store.command_started("shop.switched", "switched", &leader).await.unwrap();
    assert_eq!(store.deployments_with_commands().await.unwrap(), ["shop.switched"]);
    store.commands_ended("shop.switched", vec![leader]).await.unwrap();
    assert!(store.deployments_with_commands().await.unwrap().is_empty());
}

pub(super) async fn freezes(store: Store) {
    let freeze = |group: Option<&str>, at, until: Option<u64>| Freeze {
        group: group.map(str::to_owned),
        at: Time(at),
        until: until.map(Time),
        who: "alice (as root)".to_owned(),
        reason: "the sale".to_owned(),
    };
    assert_eq!(store.freezes().await.unwrap(), []);
    store.freeze(freeze(Some("shop"), 1, None)).await.unwrap();
    store.freeze(freeze(None, 2, Some(9))).await.unwrap();
    store.freeze(freeze(Some("shop"), 3, Some(4))).await.unwrap();
    let mut found = store.freezes().await.unwrap();
    found.sort_by_key(|freeze| freeze.at);
    assert_eq!(found, [freeze(None, 2, Some(9)), freeze(Some("shop"), 3, Some(4))]);
    assert!(store.unfreeze(None).await.unwrap());
    assert!(!store.unfreeze(None).await.unwrap(), "there is none left");
    assert!(!store.unfreeze(Some("books")).await.unwrap());
    assert_eq!(store.freezes().await.unwrap(), [freeze(Some("shop"), 3, Some(4))]);
}

pub(super) async fn commands_that_have_not_ended(store: Store) {
    tell(&store, deployment("a", "blue", "green", "2"), []).await;
    let leader = |pid| Leader { pid, birth: "boot/1".to_owned() };
    for pid in [1, 2] {
        store.command_started("a", "migrate", &leader(pid)).await.unwrap();
    }
    assert_eq!(store.deployments_with_commands().await.unwrap(), ["a"]);
    store.commands_ended("a", vec![leader(1)]).await.unwrap();
    let left = store.commands("a").await.unwrap();
    assert_eq!(left, [LeftCommand { name: "migrate".to_owned(), leader: leader(2), elsewhere: None }]);
    store.commands_ended("a", vec![leader(2)]).await.unwrap();
    assert!(store.deployments_with_commands().await.unwrap().is_empty());
}
