//! Promise 4: a deployment does not touch a slot that has traffic: not a share of a split, not the fallback of a trial, not
//! servers that another group uses. Of several slots it takes one without traffic.

use cutover_tests::nginx::Builder;
use cutover_tests::test_host::GROUP;
use cutover_tests::{Action, Backend, Client, Nginx, TestHost};
use serde_json::json;

/// Commands that append their name and their slot to the file `marks`.
const MARKS: &str = r#"
    [group.shop.provision]
    command = ["/bin/sh", "-c", "echo provision $CUTOVER_SLOT >> %%folder%%/marks"]
    [group.shop.decommission]
    command = ["/bin/sh", "-c", "echo decommission $CUTOVER_SLOT >> %%folder%%/marks"]
"#;

const HTTP: &str = "
    cutover_state %%prefix%%/state;
    upstream shop_blue { server %%blue%%; }
    upstream shop_green { server %%green%%; }
    upstream shop_red { server %%red%%; }
    map $http_upgrade $conn { default ''; websocket upgrade; }
    proxy_http_version 1.1;
    proxy_set_header Upgrade $http_upgrade;
    proxy_set_header Connection $conn;
    server { listen %%admin%%; location / { cutover_api write=on; } }
    server {
        listen %%listen:main%%;
        location / { proxy_pass http://shop; }
        location /preview { cutover_slot standby; proxy_pass http://shop; }
    }
";

const TWO: &str = "cutover shop { slot blue shop_blue; slot green shop_green; active blue; }";
const THREE: &str =
    "cutover shop { slot blue shop_blue; slot green shop_green; slot red shop_red; active blue; }";
const BLOG: &str = "cutover blog { slot blue shop_blue; slot red shop_red; active blue; }";

struct ThreeSlots {
    host: TestHost,
    backends: [Backend; 3],
}

impl ThreeSlots {
    async fn start(groups: &str, more: &str) -> Self {
        Self::start_with(groups, &format!("{GROUP}{more}")).await
    }

    async fn start_with(groups: &str, config: &str) -> Self {
        let mut backends = Vec::new();
        for slot in ["blue", "green", "red"] {
            let backend = Backend::start(slot).await.unwrap();
            backend.on("/call", Action::Upgrade);
            backends.push(backend);
        }
        let backends: [Backend; 3] = backends.try_into().unwrap();
        let [blue, green, red] = &backends;
        let builder: Builder = Nginx::builder().http(&format!("{HTTP}{groups}"));
        let builder =
            builder.set("blue", blue.address()).set("green", green.address()).set("red", red.address());
        let host = TestHost::start(builder, &format!("{MARKS}{config}")).await.unwrap();
        Self { host, backends }
    }

    /// The commands that have run.
    fn marks(&self) -> Vec<String> {
        let marks = std::fs::read_to_string(self.host.path("marks")).unwrap_or_default();
        marks.lines().map(str::to_owned).collect()
    }

    /// Deploys, and asserts that the deployment is refused. Returns the error.
    async fn refused(&self) -> String {
        let deployed = self.host.deploy("2").await.unwrap();
        assert_eq!((deployed.code, deployed.events.len()), (1, 0), "{deployed:#?}");
        assert_eq!(self.marks(), [""; 0]);
        deployed.stderr
    }

    async fn change(&self, group: &str, change: serde_json::Value) {
        self.host.nginx.admin().change(group, &serde_json::from_value(change).unwrap()).await.unwrap();
    }

    async fn preview(&self) -> String {
        let address = self.host.nginx.address("main").unwrap();
        cutover_tests::client::get(address, "/preview").await.unwrap().slot().to_owned()
    }

    async fn call(&self) -> Client {
        let mut client = Client::connect(self.host.nginx.address("main").unwrap()).await.unwrap();
        let upgrade = [("connection", "upgrade"), ("upgrade", "websocket")];
        assert_eq!(client.request("GET", "/call", &upgrade).await.unwrap().status, 101);
        client
    }
}

/// The command line in a refusal's advice.
fn advice(text: &str) -> &str {
    let (_, line) = text.split_at(text.find("cutover switch").unwrap());
    line.split([';', '\n']).next().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slot_with_half_of_the_users_is_not_started_anew() {
    let fixture = ThreeSlots::start(TWO, "").await;
    let users = fixture.host.users().unwrap();
    fixture.change("shop", json!({"split": {"blue": 50, "green": 50}})).await;
    let said = fixture.refused().await;
    assert!(said.contains("slot \"green\" of group \"shop\" has 50 % of the traffic"), "{said}");
    assert_eq!(fixture.preview().await, "green");
    fixture.host.run(advice(&said)).unwrap();
    assert!(fixture.host.nginx.admin().group("shop").await.unwrap().route.is_all_on("blue"));
    assert_eq!(fixture.host.deploy("2").await.unwrap().code, 0);
    assert_eq!(users.answers().1, 0, "no request failed");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_fallback_of_a_trial_is_not_started_anew() {
    let fixture = ThreeSlots::start(TWO, "").await;
    let users = fixture.host.users().unwrap();
    fixture.change("shop", json!({"active": "green", "lease_ms": 60_000})).await;
    let said = fixture.refused().await;
    assert!(said.contains("slot \"blue\" of group \"shop\" takes the traffic back"), "{said}");
    fixture.host.run(advice(&said)).unwrap();
    assert!(fixture.host.nginx.admin().group("shop").await.unwrap().route.is_all_on("green"));
    assert_eq!(fixture.host.deploy("2").await.unwrap().code, 0);
    assert_eq!(fixture.host.active().await.unwrap(), "blue");
    assert_eq!(users.answers().1, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_with_users_of_another_group_are_not_started_anew() {
    let fixture = ThreeSlots::start(
        &format!("{TWO}{}", BLOG.replace("red shop_red", "green shop_green")),
        "[group.blog]\n",
    )
    .await;
    fixture.change("blog", json!({"active": "green"})).await;
    let (lines, _) = fixture.host.check().unwrap();
    let warned = "warning: group.shop, slot \"green\": it shares the upstream shop_green with slot \"green\" of group \"blog\"";
    assert!(lines.iter().any(|line| line.starts_with(warned)), "{lines:#?}");
    let said = fixture.refused().await;
    assert!(
        said.contains(
            "shares the upstream shop_green with slot \"green\" of group \"blog\", which has the traffic"
        ),
        "{said}"
    );
    fixture.host.run(advice(&said)).unwrap();
    let _users = fixture.host.users().unwrap();
    let deployed = fixture.host.deploy("2").await.unwrap();
    assert_eq!(deployed.code, 0, "{deployed:#?}");
    // Group blog now uses blue, so blue is not stopped.
    cutover_tests::wait::until("the end of the deployment", || {
        let status = fixture.host.daemon.status("shop").unwrap();
        status["deployment"]["message"].as_str().is_some_and(|message| message.contains("is left running"))
    })
    .await
    .unwrap();
    assert_eq!(fixture.marks(), ["provision green"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_preview_of_the_standby_reaches_the_slot_of_the_deployment() {
    let fixture = ThreeSlots::start(THREE, "").await;
    assert_eq!(fixture.preview().await, "green");
    fixture.backends[2].on("/health/ready", Action::status(503));
    let mut command = fixture.host.daemon.command(&["deploy", "shop", "--to", "red", "--json"]);
    let deploying = tokio::task::spawn_blocking(move || command.output());
    cutover_tests::wait::until_async(cutover_tests::wait::PATIENCE, "a preview of red", async || {
        fixture.preview().await == "red"
    })
    .await
    .unwrap();
    fixture.host.nginx.reload().await.unwrap();
    assert_eq!(fixture.preview().await, "red", "kept over a reload");
    assert_eq!(deploying.await.unwrap().unwrap().status.code(), Some(3));
    let standby = |status: serde_json::Value| {
        status["slots"].as_array().unwrap().iter().find(|slot| slot["standby"] == true).unwrap()["name"]
            .clone()
    };
    assert_eq!(standby(fixture.host.daemon.status("shop").unwrap()), fixture.preview().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_three_slots_the_one_that_nobody_misses() {
    let fixture = ThreeSlots::start_with(THREE, &GROUP.replace("warm = \"1s\"", "warm = \"1h\"")).await;
    let _users = fixture.host.users().unwrap();
    let mut call = fixture.call().await;
    // Then the next slot in the order of the configuration is blue, which is warm and has the open call.
    fixture.host.run("cutover deploy shop --version 2 --to red").unwrap();
    cutover_tests::wait::until_async(cutover_tests::wait::PATIENCE, "a preview of green", async || {
        fixture.preview().await == "green"
    })
    .await
    .unwrap();
    let deployed = fixture.host.deploy("3").await.unwrap();
    assert_eq!(deployed.code, 0, "{deployed:#?}");
    assert_eq!(fixture.host.active().await.unwrap(), "green", "blue has an open call");
    assert_eq!(fixture.marks(), ["provision red", "provision green"]);
    call.echo(b"still there?").await.unwrap();
    assert_eq!(fixture.backends[0].truth().in_flight, 1);
}
