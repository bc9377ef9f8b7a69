//! `proxy_cache` with the slot in its key: after a switch no answer of the old slot comes from the cache.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::time::Instant;

use cutover_tests::client::Client;
use cutover_tests::test_edge::{TestEdge, UPSTREAMS};
use cutover_tests::{SlotOracle, wait};

const LOCATIONS: &str = "
    location / {
        proxy_cache answers;
        proxy_cache_key $request_uri$cutover_slot;
        proxy_cache_valid 200 1s;
        proxy_cache_lock on;
        proxy_cache_use_stale updating error;
        proxy_cache_background_update on;
        proxy_pass http://shop;
        add_header x-cache $upstream_cache_status always;
    }
";

const PAGES: u64 = 40;

#[tokio::test(flavor = "multi_thread")]
async fn a_cache_with_the_slot_in_its_key_is_exact() {
    let cache = "proxy_cache_path %%prefix%%/cache levels=1:2 keys_zone=answers:1m inactive=1m;";
    let edge = TestEdge::start(&(TestEdge::http(UPSTREAMS, LOCATIONS) + cache)).await.unwrap();
    let address = edge.nginx.address("main").unwrap();
    let counts = Arc::new(Counts::default());
    let mut readers = tokio::task::JoinSet::new();
    for _ in 0..4 {
        readers.spawn(read(address, Arc::clone(edge.oracle()), Arc::clone(&counts)));
    }
    for number in 0..40 {
        edge.shop.switch().await.unwrap();
        let goal = counts.answers.load(SeqCst) + 50;
        let more = || counts.answers.load(SeqCst) >= goal || readers.is_empty();
        wait::until("more answers", more).await.unwrap();
        if number % 10 == 9 {
            edge.nginx.reload().await.unwrap();
        }
    }
    counts.stop.store(true, SeqCst);
    while let Some(reader) = readers.join_next().await {
        reader.unwrap();
    }
    let (answers, hits) = (counts.answers.load(SeqCst), counts.hits.load(SeqCst));
    let passed_on = edge.blue.truth().requests + edge.green.truth().requests;
    println!("{answers} answers, {hits} from the cache, {passed_on} passed on, on {}", edge.nginx.flavour());
    assert!(hits > answers / 2, "of {answers} answers only {hits} came from the cache");
    // An answer from the cache does not count as a request of a slot.
    super::counted(&edge, passed_on).await;
}

#[derive(Debug, Default)]
struct Counts {
    answers: AtomicU64,
    hits: AtomicU64,
    stop: AtomicBool,
}

/// Requests pages on its own connections, and asserts that each answer comes from an allowed slot.
async fn read(address: SocketAddr, expected: Arc<SlotOracle>, counts: Arc<Counts>) {
    let mut kept = None;
    while !counts.stop.load(SeqCst) {
        let fresh = kept.is_none();
        let mut client: Client = match kept.take() {
            Some(client) => client,
            None => Client::connect(address).await.unwrap(),
        };
        let target = format!("/page-{}", counts.answers.load(SeqCst) % PAGES);
        let sent = Instant::now();
        let answer = match client.request("GET", &target, &[]).await {
            Ok(answer) => answer,
            // A reload closes idle connections.
            Err(_) if !fresh => continue,
            Err(error) => panic!("{target}: {error:#}"),
        };
        let slot = answer.head.header("x-slot").unwrap_or_default();
        assert_eq!(answer.status, 200);
        assert!(expected.allows(slot, sent, Instant::now()), "{slot:?} answered; allowed: {expected:?}");
        let text = String::from_utf8_lossy(&answer.body);
        assert!(text.contains(&format!("\"slot\":\"{slot}\"")) && text.contains(&target), "{text}");
        let status = answer.head.header("x-cache").unwrap_or_default();
        counts.hits.fetch_add(u64::from(["HIT", "STALE", "UPDATING"].contains(&status)), SeqCst);
        counts.answers.fetch_add(1, SeqCst);
        kept = Some(client);
    }
}
