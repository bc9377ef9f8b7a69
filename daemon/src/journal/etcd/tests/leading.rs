//! Who leads, and who can write.

use super::*;

#[tokio::test]
async fn one_leads_and_the_next_one_has_a_later_epoch() {
    let (etcd, prefix) = (Etcd::get(), prefix());
    let (one, two) = (etcd.journal(&prefix, "one", 2), etcd.journal(&prefix, "two", 2));
    let first = one.campaign().await;
    assert!(first.is_certain());
    let campaign = two.campaign();
    tokio::pin!(campaign);
    tokio::select! {
        _ = &mut campaign => panic!("two lead"),
        // It renews the lease for longer than it lives.
        () = one.keep(&first) => panic!("the lease was lost"),
        () = tokio::time::sleep(Duration::from_secs(4)) => {}
    }
    assert_eq!(two.leads().unwrap().who, identity("one"));
    // One does not renew it any more.
    let second = campaign.await;
    assert!(second.epoch() > first.epoch());
    assert!(!first.is_certain(), "it knows by its own clock");
    assert_eq!(two.leads().unwrap().who, identity("two"));
}

#[tokio::test]
async fn a_leader_that_slept_cannot_write() {
    let (etcd, prefix) = (Etcd::get(), prefix());
    let (one, two) = (etcd.journal(&prefix, "one", 2), etcd.journal(&prefix, "two", 2));
    one.campaign().await;
    let store: Store = one.clone().into();
    tell(&store, deployment("a", "blue", "green", "2"), []).await;
    let pinned = one.pinned();
    two.campaign().await;
    let smoking = state(Phase::Smoking);
    let closed = Journal::append(&Store::from(pinned.clone()), "a", Time(8), &smoking, "").await.unwrap_err();
    assert!(matches!(closed, EngineError::Closed(_)), "{closed:?}");
    let begun = one.begin(deployment("b", "blue", "green", "3"), &smoking, "").await;
    assert!(matches!(begun, Err(JournalError::NotLeading)), "{begun:?}");
    for refused in [
        one.note("a", Time(8), "smoking", "").await,
        one.moving("shop").await,
        one.command_started("a", "migrate", &crate::command::Leader { pid: 1, birth: "b/1".to_owned() })
            .await,
    ] {
        assert!(matches!(refused, Err(JournalError::NotLeading)), "{refused:?}");
    }
    assert_eq!(two.entry("a").await.unwrap().unwrap().state.phase.name(), "probing");
    two.append("a", Time(9), &smoking, "").await.unwrap();
    // It leads again, and what began in its first term still cannot write.
    two.end_term();
    one.end_term();
    one.campaign().await;
    one.append("a", Time(10), &state(Phase::Provisioning), "").await.unwrap();
    let late = pinned.append("a", Time(11), &smoking, "").await;
    assert!(matches!(late, Err(JournalError::NotLeading)), "{late:?}");
}

#[tokio::test]
async fn commands_of_another_host_are_named_and_not_ended() {
    let (etcd, prefix) = (Etcd::get(), prefix());
    let (one, two) = (etcd.journal(&prefix, "one", 2), etcd.journal(&prefix, "two", 2));
    one.campaign().await;
    tell(&one.clone().into(), deployment("a", "blue", "green", "2"), []).await;
    let leader = crate::command::Leader { pid: 7, birth: "boot/1".to_owned() };
    one.command_started("a", "migrate", &leader).await.unwrap();
    two.campaign().await;
    let left = two.commands("a").await.unwrap();
    assert_eq!(left[0].elsewhere.as_deref(), Some("host-of-one"));
    two.commands_ended("a", vec![leader]).await.unwrap();
    assert_eq!(two.commands("a").await.unwrap().len(), 1, "only its own are over");
    two.command_elsewhere_over("a", &left[0]).await.unwrap();
    assert!(two.commands("a").await.unwrap().is_empty());
}

#[tokio::test]
async fn a_switch_by_hand_that_has_not_ended_is_known_to_the_next_leader() {
    let (etcd, prefix) = (Etcd::get(), prefix());
    let (one, two) = (etcd.journal(&prefix, "one", 2), etcd.journal(&prefix, "two", 2));
    one.campaign().await;
    for group in ["shop", "books"] {
        one.moving(group).await.unwrap();
    }
    one.moved("books").await.unwrap();
    two.campaign().await;
    assert_eq!(two.all_moving().await.unwrap(), ["shop"]);
    two.moved("shop").await.unwrap();
    assert!(two.all_moving().await.unwrap().is_empty());
}
