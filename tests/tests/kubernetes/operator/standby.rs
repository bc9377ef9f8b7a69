//! Somebody changes the standby's Deployment in mid-deployment.

use cutover_tests::kubernetes::Cluster;
use cutover_tests::kubernetes::operator::{
    apply_shop, selected, text, until_ended, until_soaking, until_status,
};
use serde_json::{Value, json};

use super::live;

/// What the end of a deployment says when somebody has changed its image.
fn assert_named(status: &Value) {
    let message = text(status, "/history/0/message");
    assert!(message.contains("Deployment \"shop-green\" was changed by \"kubectl-set\" at "), "{status}");
    assert!(message.contains("now with image shop:9"), "{status}");
    assert!(message.contains("write the change into spec.template with a new spec.version"), "{status}");
}

#[test]
fn another_image_before_the_switch_moves_no_traffic_and_more_pods_are_no_matter() {
    Cluster::shared(async |cluster| {
        let namespace = cluster.namespace().await.unwrap();
        let spec = json!({ "promotion": "Manual", "policy": {
            "probe": { "interval": "200ms" },
            "soak": { "duration": "60s", "interval": "200ms" },
            "drain": { "deadline": "1s" },
            "warm": "1s",
        } });
        let (_kubelet, _operator) = live(&namespace, &spec).await;
        apply_shop(&namespace, "2", &spec).await.unwrap();
        let is_paused = |status: &Value| text(status, "/message").contains("paused before");
        let status = until_status(&namespace, "the pause", is_paused).await.unwrap();
        let rollout = text(&status, "/deployment/rollout").to_owned();
        assert!(rollout.contains('/'), "{status}");

        // As an autoscaler does.
        namespace.kubectl().run(&["scale", "deployment", "shop-green", "--replicas=3"]).await.unwrap();
        namespace.until_rolled_out("shop-green").await.unwrap();
        namespace.until_size("shop-green", 3).await.unwrap();
        // The operator has looked again.
        tokio::time::sleep(std::time::Duration::from_secs(3)).await;
        let status = until_status(&namespace, "the pause", |_| true).await.unwrap();
        assert!(is_paused(&status) && text(&status, "/deployment/rollout") == rollout, "{status}");

        namespace.kubectl().run(&["set", "image", "deployment/shop-green", "shop=shop:9"]).await.unwrap();
        let status = until_ended(&namespace, "2", "failed").await.unwrap();
        assert_named(&status);
        assert_eq!(selected(&namespace).await.unwrap(), "blue");
    });
}

#[test]
fn another_image_in_the_soak_brings_the_traffic_back() {
    Cluster::shared(async |cluster| {
        let namespace = cluster.namespace().await.unwrap();
        let spec = json!({ "policy": {
            "probe": { "interval": "200ms", "deadline": "10s" },
            "soak": { "duration": "40s", "interval": "200ms" },
            "drain": { "deadline": "1s" },
            "warm": "1s",
        } });
        let (_kubelet, _operator) = live(&namespace, &spec).await;
        apply_shop(&namespace, "2", &spec).await.unwrap();
        until_soaking(&namespace).await.unwrap();
        assert_eq!(selected(&namespace).await.unwrap(), "green");
        namespace.kubectl().run(&["set", "image", "deployment/shop-green", "shop=shop:9"]).await.unwrap();
        let status = until_ended(&namespace, "2", "rolled_back").await.unwrap();
        assert_named(&status);
        assert_eq!(text(&status, "/activeSlot"), "blue", "{status}");
        assert_eq!(selected(&namespace).await.unwrap(), "blue");
    });
}
