//! The API server goes away in mid-deployment.

use std::time::Duration;

use cutover_tests::client;
use cutover_tests::kubernetes::Cluster;
use cutover_tests::kubernetes::operator::{apply_shop, selected, text, until_ended, until_soaking};
use serde_json::json;

use super::live;
use crate::edges;

/// Stops the API server for so long, in a soak that is over meanwhile.
fn away_in_the_soak(away: Duration) {
    Cluster::alone(async |cluster| {
        let namespace = cluster.namespace().await.unwrap();
        let spec = json!({ "policy": edges::policy(&[]) });
        let (_kubelet, mut operator) = live(&namespace, &spec).await;
        apply_shop(&namespace, "2", &spec).await.unwrap();
        until_soaking(&namespace).await.unwrap();
        let pods = namespace.pods("slot=green").await.unwrap();
        cluster.stop_api_server();
        tokio::time::sleep(away).await;
        for pod in &pods {
            let answer = client::get((pod.address, 8080).into(), "/").await.unwrap();
            assert_eq!(answer.status_and_slot(), (200, "2"), "users go on");
        }
        assert!(operator.server().runs());
        cluster.start_api_server().await.unwrap();
        let status = until_ended(&namespace, "2", "completed").await.unwrap();
        assert_eq!((text(&status, "/activeSlot"), text(&status, "/version")), ("green", "2"));
        assert_eq!(selected(&namespace).await.unwrap(), "green");
        let service = namespace.kubectl().get(&["service", "shop"]).await.unwrap();
        assert_eq!(edges::stamp(&service).unwrap().generation, 1, "the traffic has moved once: {service}");
    });
}

#[test]
fn a_good_version_completes_after_the_api_server_was_away_in_its_soak() {
    away_in_the_soak(Duration::from_secs(15));
}

#[test]
#[ignore = "takes minutes: longer than a step waits for an edge"]
fn a_good_version_completes_after_the_api_server_was_away_for_a_minute() {
    away_in_the_soak(Duration::from_secs(60));
}
