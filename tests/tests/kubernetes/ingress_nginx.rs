//! The module in the real controller of ingress-nginx.

use cutover_core::api::{Group, RouteChange};
use cutover_tests::kubernetes::{self, Cluster, IngressNginx, Shop, Snippets};
use cutover_tests::load::Plan;
use cutover_tests::{Action, Client, Load, SlotOracle};

mod agents;
mod features;
mod lingering;
mod secrets;

/// Waits until all workers answer so: those of the configuration before take connections for a moment after a reload.
pub(crate) async fn until_answered_by(controller: &IngressNginx, host: &str, slot: &str) {
    kubernetes::until(&format!("{host} to be answered by {slot}"), async || {
        for _ in 0..20 {
            let answer = controller.get(host, "/").await;
            if !answer.is_ok_and(|answer| answer.status_and_slot() == (200, slot)) {
                return false;
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        true
    })
    .await
    .unwrap();
}

/// Opens a WebSocket. Returns the slot too.
async fn chat(controller: &IngressNginx) -> (String, Client) {
    let mut client = Client::connect(controller.address()).await.unwrap();
    let headers = [("connection", "upgrade"), ("upgrade", "echo")];
    let answer = client.request("GET", "/chat", &headers).await.unwrap();
    assert_eq!(answer.status, 101, "{}", String::from_utf8_lossy(&answer.body));
    (answer.slot().to_owned(), client)
}

#[test]
fn a_call_moves_the_traffic_of_an_ingress() {
    Cluster::shared(async |cluster| {
        let namespace = cluster.namespace().await.unwrap();
        let shop = Shop::start(&namespace, 2).await.unwrap();
        let controller = IngressNginx::start(&namespace, &Snippets::of_shop(&namespace)).await.unwrap();
        shop.add_ingress(&namespace, controller.class()).await.unwrap();
        for (host, slot) in
            [(Shop::HOST, "blue"), ("blue.shop.internal", "blue"), ("green.shop.internal", "green")]
        {
            until_answered_by(&controller, host, slot).await;
        }

        for backend in ["blue", "green"].into_iter().flat_map(|slot| shop.backends(slot)) {
            backend.on("/chat", Action::Upgrade);
        }
        let mut chats = Vec::new();
        let oracle = SlotOracle::new("blue");
        let load = Load::start(Plan::new(controller.address()), &oracle);
        load.answers(50).await.unwrap();
        for slot in ["green", "blue"].into_iter().cycle().take(20) {
            let call = oracle.announce(slot);
            let change = serde_json::to_string(&RouteChange::to(slot, "a test")).unwrap();
            let answer = controller.call("PUT", "/v1/groups/shop/route", &change).await.unwrap();
            assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.body));
            call.acknowledge();
            load.answers(50).await.unwrap();
            let (began, client) = chat(&controller).await;
            assert_eq!(began, slot, "a new WebSocket goes to the new slot");
            chats.push(client);
            for client in &mut chats {
                assert_eq!(client.echo(b"hello").await.unwrap(), b"hello", "after the switch to {slot}");
            }
        }
        let report = load.stop().await;
        assert_eq!((report.failed(), report.stale), (0, 0), "{report}");
        let answer = controller.call("GET", "/v1/groups/shop", "").await.unwrap();
        let group: Group = serde_json::from_slice(&answer.body).unwrap();
        assert_eq!((group.route.active.as_str(), group.route.generation), ("blue", 20));
        let open = |slot| group.slot(slot).map(|slot| slot.upgraded);
        assert_eq!(
            (open("blue"), open("green")),
            (Some(10), Some(10)),
            "each stays with the slot where it began"
        );
        drop(chats);
        controller.stop().await.unwrap();
    });
}
