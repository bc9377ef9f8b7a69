//! The slot of a group in requests without an upstream: `$cutover_slot_of_NAME`, and `cutover_group` for `$cutover_slot`.

use cutover_tests::{Action, TestEdge, client, wait};

use super::{Upload, start};

const MORE: &str = "
    set $early $cutover_slot_of_shop;
    location /files/ { root %%prefix%%/static/$cutover_slot_of_shop; try_files $uri @application; }
    location @application { proxy_pass http://shop; }
    location /said { return 200 $early/$cutover_slot_of_shop/$cutover_slot_of_SHOP/$cutover_slot/; }
    location /named { cutover_group shop; return 200 $cutover_group/$cutover_slot/$cutover_generation; }
    location /if { cutover_group shop; if ($cutover_slot = green) { return 200 green; } return 200 blue; }
    location /both {
        add_header x-said $cutover_slot_of_shop always;
        proxy_set_header X-Said $cutover_slot_of_shop;
        proxy_pass http://shop;
    }
    location /fixed { cutover_slot green; return 200 $cutover_slot_of_shop; }
    location /none { cutover_group ''; return 200 <$cutover_slot>; }
    location /loop { cutover_slot $cutover_slot_of_shop; proxy_pass http://shop; }
    location /rooted {
        root /srv/$cutover_slot_of_shop;
        proxy_set_header X-Request-Id $document_root/index.php;
        proxy_pass http://shop;
    }
    location /other { cutover_group shop; proxy_set_header X-Request-Id $cutover_slot; proxy_pass http://shop_green; }
    location /redirected { cutover_group shop; error_page 404 @application; return 404; }
";

async fn text(edge: &TestEdge, target: &str) -> String {
    String::from_utf8(edge.get(target).await.unwrap().body).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slot_is_named_without_an_upstream() {
    let edge = start(MORE).await;
    for (slot, generation) in [("blue", 0), ("green", 1)] {
        if generation == 1 {
            edge.shop.switch_to("green").await.unwrap();
        }
        let folder = edge.nginx.prefix().join("static").join(slot).join("files");
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("app.js"), slot).unwrap();
        assert_eq!(text(&edge, "/files/app.js").await, slot, "root");
        assert_eq!(edge.get("/files/page").await.unwrap().status_and_slot(), (200, slot), "try_files");
        assert_eq!(text(&edge, "/said").await, format!("{slot}/{slot}/{slot}//"));
        assert_eq!(text(&edge, "/named").await, format!("shop/{slot}/{generation}"));
        assert_eq!(text(&edge, "/if").await, slot);
        assert_eq!(text(&edge, "/none").await, "<>");
        assert_eq!(edge.get("/loop").await.unwrap().status_and_slot(), (200, slot));
        let other = edge.get("/other").await.unwrap();
        assert_eq!((other.slot(), other.head.header("x-request-id")), ("green", Some(slot)));
        assert_eq!(edge.get("/redirected").await.unwrap().status, 404);
    }
    assert_eq!(text(&edge, "/fixed").await, "green", "a location can fix the slot");
    edge.until_idle().await.unwrap();
    let group = edge.group().await.unwrap();
    let requests: u64 = group.slots.iter().map(|slot| slot.counters.requests).sum();
    assert_eq!(requests, 4, "naming a slot does not count a request");
    let previews: u64 = group.slots.iter().map(|slot| slot.previews.requests).sum();
    assert_eq!(previews, 2, "/loop fixes the slot by name");
    // nginx detects a variable that depends on itself.
    edge.nginx.expect_in_log("cycle while evaluating variable");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_named_slot_is_the_one_that_serves_the_request() {
    let edge = start(MORE).await;
    edge.change(r#"{"split":{"blue":50,"green":50}}"#).await.unwrap();
    let mut slots = std::collections::BTreeSet::new();
    for _ in 0..60 {
        let both = edge.get("/both").await.unwrap();
        assert_eq!(both.head.header("x-said"), Some(both.slot()));
        slots.insert(both.slot().to_owned());
        let rooted = edge.get("/rooted").await.unwrap();
        let script = format!("/srv/{}/index.php", rooted.slot());
        assert_eq!(rooted.head.header("x-request-id"), Some(script.as_str()));
        let said = text(&edge, "/said").await;
        assert!(["blue/blue/blue//", "green/green/green//"].contains(&said.as_str()), "{said}");
    }
    assert_eq!(slots.len(), 2);
    edge.until_idle().await.unwrap();
}

/// A request keeps its slot over a switch while its body arrives.
#[tokio::test(flavor = "multi_thread")]
async fn a_request_keeps_the_slot_that_was_named_over_a_switch() {
    let edge = start(MORE).await;
    let upload = Upload::begin(&edge, "/both").await;
    let held = async || edge.slot("blue").await.unwrap().counters.in_flight == 1;
    wait::until_async(wait::PATIENCE, "the slot to be held", held).await.unwrap();
    edge.shop.switch_to("green").await.unwrap();
    let answer = upload.finish().await;
    assert!(answer.contains("x-slot: blue"), "{answer}");
    edge.until_idle().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rescued_request_names_the_fallback() {
    let edge = start(MORE).await;
    edge.green.on("/both", Action::Cut);
    edge.try_out("green", true).await.unwrap();
    let answer = client::get(edge.nginx.address("main").unwrap(), "/both").await.unwrap();
    assert_eq!((answer.slot(), answer.head.header("x-said")), ("blue", Some("blue")));
    edge.until_idle().await.unwrap();
}
