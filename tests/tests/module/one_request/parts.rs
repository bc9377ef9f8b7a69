//! All cases, under a random split and under switches to and fro.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use cutover_tests::{Backend, Nginx, client, wait};

use super::{CASES, FILE, LOCATIONS, by_id, set_actions, start, write_static};

const TIMES: u64 = 12;

/// The same with stock nginx: the upstream is the value of a variable, which nginx computes once for each request.
const STOCK: &str = "
    upstream shop_blue { server %%blue%%; keepalive 32; }
    upstream shop_green { server %%green%%; keepalive 32; }
    split_clients $request_id $slot { 50% shop_blue; * shop_green; }
";

/// Sends `times` requests for each case. Asserts that answers are complete, that all parts reached the slots, and that the
/// parts of each request went to one slot. Returns how many each slot has got.
async fn send_all(address: SocketAddr, blue: &Backend, green: &Backend, times: u64) -> [u64; 2] {
    let mut slots = [0, 0];
    for (target, parts) in CASES {
        let before = by_id(blue, green);
        for _ in 0..times {
            let answer = client::get(address, target).await.unwrap();
            assert_eq!(answer.status, 200, "{target}");
            if target == "/sliced" {
                assert_eq!(answer.body.len(), FILE, "{target}");
                assert!(answer.body.iter().all(|byte| *byte == answer.body[0]), "one version");
            }
        }
        let new = || -> BTreeMap<String, (u64, u64)> {
            by_id(blue, green).into_iter().filter(|(id, _)| !before.contains_key(id)).collect()
        };
        let all = || new().values().map(|(blue, green)| blue + green).sum::<u64>() == times * parts;
        // A mirrored part can arrive after the client has its answer.
        wait::until(&format!("{times} times {parts} parts of {target}"), all).await.unwrap();
        let new = new();
        assert_eq!(new.len() as u64, times, "{target}");
        for (id, (blue, green)) in new {
            assert!(blue == 0 || green == 0, "{target} {id}: {blue} parts from blue, {green} from green");
            slots[0] += u64::from(blue > 0);
            slots[1] += u64::from(green > 0);
        }
    }
    slots
}

fn assert_both(slots: [u64; 2]) {
    assert!(slots.iter().all(|count| *count > 0), "{slots:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn stock_nginx_keeps_a_request_together() {
    let (blue, green) = (Backend::start("blue").await.unwrap(), Backend::start("green").await.unwrap());
    set_actions(&blue);
    set_actions(&green);
    let server =
        format!("server {{ listen %%listen:main%%; {} }}", LOCATIONS.replace("PASS", "http://$slot"));
    let nginx = Nginx::builder()
        .without_module()
        .set("blue", blue.address())
        .set("green", green.address())
        .http(&format!("{STOCK}{server}"))
        .start()
        .await
        .unwrap();
    write_static(&nginx);
    assert_both(send_all(nginx.address("main").unwrap(), &blue, &green, TIMES).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_split_keeps_a_request_together() {
    let edge = start("").await;
    edge.change(r#"{"split":{"blue":50,"green":50}}"#).await.unwrap();
    assert_both(send_all(edge.nginx.address("main").unwrap(), &edge.blue, &edge.green, TIMES).await);
    assert_no_failure(&edge).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn switches_keep_a_request_together() {
    let edge = Arc::new(start("").await);
    let address = edge.nginx.address("main").unwrap();
    let asking = tokio::spawn({
        let edge = Arc::clone(&edge);
        async move {
            // A switch that waits for the disk may outlast one round.
            let mut both = [0, 0];
            for _ in 0..3 {
                let [blue, green] = send_all(address, &edge.blue, &edge.green, TIMES).await;
                both = [both[0] + blue, both[1] + green];
            }
            assert_both(both);
        }
    });
    let mut switches = 0;
    while !asking.is_finished() {
        edge.shop.switch().await.unwrap();
        switches += 1;
    }
    asking.await.unwrap();
    println!("{switches} switches");
    assert!(switches > 50, "{switches} switches");
    assert_no_failure(&edge).await;
}

/// Asserts that no part has failed and that none is left in flight.
async fn assert_no_failure(edge: &cutover_tests::TestEdge) {
    let group = edge.until_idle().await.unwrap();
    let requests: u64 = group.slots.iter().map(|slot| slot.counters.requests).sum();
    assert_eq!(requests, edge.blue.truth().requests + edge.green.truth().requests);
    for slot in &group.slots {
        let responses = slot.counters.responses;
        // The only failures are the 503 answers of /broken and /moved.
        assert_eq!(responses.server_error, slot.server_errors.unavailable, "{}", slot.name);
        assert_eq!((responses.aborted, slot.counters.attempts_failed), (0, 0), "{}", slot.name);
    }
}
