//! Names of the maximal length, with every kind of character, and other names that an upstream may have. They are the same in
//! the configuration, in the API, in the state file, in metrics and in the log, and their last character distinguishes them.

use cutover_core::api::{ErrorCode, Group, RouteChange};
use cutover_core::event::Kind;
use cutover_core::name::MAX_NAME;
use cutover_tests::{Action, Backend, Nginx, client, wait};

/// Two groups, and two slots of each.
const A: &str = "_Shop-of_the.2nd.floor-behind_the.stairs-1234567890-1234567890-1234567890-1234567890-\
    1234567890-1234567890-1234567890-1234567890-1234567890-1234567890-1234567890-1234567890-1234567890-\
    1234567890-1234567890-1234567890-1234567890-1234567890-1234567890-123_a";
const B: &str = "_Shop-of_the.2nd.floor-behind_the.stairs-1234567890-1234567890-1234567890-1234567890-\
    1234567890-1234567890-1234567890-1234567890-1234567890-1234567890-1234567890-1234567890-1234567890-\
    1234567890-1234567890-1234567890-1234567890-1234567890-1234567890-123_b";
const ONE: &str = "*-Slot_of.the_release-1234567890-1234567890-1234567890-1234567890-1234567890-\
    1234567890-1234567890-1234567890-1234567890-1234567890-1234567890-1234567890-1234567890-1234567890-\
    1234567890-1234567890-1234567890-1234567890-1234567890-1234567890-1234567890--1";
const TWO: &str = "*-Slot_of.the_release-1234567890-1234567890-1234567890-1234567890-1234567890-\
    1234567890-1234567890-1234567890-1234567890-1234567890-1234567890-1234567890-1234567890-1234567890-\
    1234567890-1234567890-1234567890-1234567890-1234567890-1234567890-1234567890--2";

const HTTP: &str = "
    cutover_state %%prefix%%/state;
    upstream b { server %%blue%%; }
    upstream g { server %%green%%; }
    cutover %%group a%% { slot %%slot 1%% b; slot %%slot 2%% g; active %%slot 1%%; }
    cutover %%group b%% { slot %%slot 1%% b; slot %%slot 2%% g; active %%slot 1%%; }
    add_header x-names $cutover_group/$cutover_slot always;
    server {
        listen %%listen:main%%;
        location /a { proxy_pass http://%%group a%%; }
        location /b { set $group %%group b%%; proxy_pass http://$group; }
        location /a/fixed { cutover_slot %%slot 2%%; proxy_pass http://%%group a%%; }
        location /a/named { cutover_slot $arg_slot; proxy_pass http://%%group a%%; }
        location = /metrics { cutover_metrics; }
    }
    server { listen %%admin%%; location / { cutover_api write=on; } }
";

/// nginx with groups [`A`] and [`B`] over the same two servers.
struct LongNames {
    #[expect(dead_code, reason = "lives as long as nginx")]
    blue: Backend,
    green: Backend,
    nginx: Nginx,
}

impl LongNames {
    async fn start() -> Self {
        let blue = Backend::start("blue").await.unwrap();
        let green = Backend::start("green").await.unwrap();
        let builder = Nginx::builder().set("blue", blue.address()).set("green", green.address());
        let builder = builder.set("group a", A).set("group b", B);
        let builder = builder.set("slot 1", ONE).set("slot 2", TWO);
        let nginx = builder.http(HTTP).start().await.unwrap();
        Self { blue, green, nginx }
    }

    async fn group(&self, group: &str) -> Group {
        self.nginx.admin().group(group).await.unwrap()
    }

    async fn change(&self, group: &str, json: &str) -> Group {
        self.nginx.admin().change_json(group, json).await.unwrap()
    }

    /// Asserts that this slot of this group answers the target.
    async fn assert_answered(&self, target: &str, group: &str, slot: &str) {
        let answer = client::get(self.nginx.address("main").unwrap(), target).await.unwrap();
        let names = format!("{group}/{slot}");
        assert_eq!(answer.head.header("x-names"), Some(names.as_str()), "{target}");
        assert_eq!(answer.slot(), if slot == ONE { "blue" } else { "green" }, "{target}");
    }

    async fn shares(&self) -> Vec<String> {
        let answer = client::get(self.nginx.address("main").unwrap(), "/metrics").await.unwrap();
        let page = String::from_utf8(answer.body).unwrap();
        let shares = page.lines().filter_map(|line| line.strip_prefix("cutover_slot_share_ratio"));
        shares.map(str::to_owned).collect()
    }
}

fn share(group: &str, slot: &str, share: &str) -> String {
    format!("{{group=\"{group}\",slot=\"{slot}\"}} {share}")
}

#[tokio::test]
async fn the_longest_names_are_switched_shown_and_remembered() {
    assert_eq!([A, B, ONE, TWO].map(str::len), [MAX_NAME; 4]);
    let edge = LongNames::start().await;
    let group = edge.change(A, &format!(r#"{{"active":"{}","reason":"v2"}}"#, TWO)).await;
    assert_eq!((group.name.as_str(), group.route.active.as_str()), (A, TWO));
    let groups = edge.nginx.admin().groups().await.unwrap().groups;
    assert_eq!(groups.iter().map(|group| group.name.as_str()).collect::<Vec<_>>(), [A, B]);
    for _ in 0..2 {
        edge.assert_answered("/a", A, TWO).await;
        edge.assert_answered("/b", B, ONE).await;
        edge.assert_answered("/a/fixed", A, TWO).await;
        edge.assert_answered(&format!("/a/named?slot={}", ONE), A, ONE).await;
        // A name that is one character short or has another last character names no slot: the route decides.
        edge.assert_answered(&format!("/a/named?slot={}", &ONE[..MAX_NAME - 1]), A, TWO).await;
        edge.assert_answered(&format!("/a/named?slot={}3", &ONE[..MAX_NAME - 1]), A, TWO).await;
        let event = edge.group(A).await.events.pop().unwrap();
        assert_eq!((event.from.as_str(), event.to.as_str()), (ONE, TWO));
        assert_eq!(edge.group(B).await.events, []);
        let shares = [share(A, ONE, "0"), share(A, TWO, "1"), share(B, ONE, "1"), share(B, TWO, "0")];
        assert_eq!(edge.shares().await, shares);
        edge.nginx.kill_all().await.unwrap();
        edge.nginx.start().await.unwrap();
    }
    let line = format!("group \"{}\" switched from \"{}\" to \"{}\", generation 1", A, ONE, TWO);
    assert!(edge.nginx.error_log().contains(&line));
}

#[tokio::test]
async fn the_longest_names_split_the_traffic_and_go_back_from_a_trial() {
    let edge = LongNames::start().await;
    let split = format!(r#"{{"split":{{"{}":25,"{}":75}}}}"#, ONE, TWO);
    edge.change(A, &split).await;
    let terms = r#""lease_ms":600000,"guard":{"min_requests":3,"max_error_ratio":0.5,"window_ms":600000}"#;
    edge.change(B, &format!(r#"{{"active":"{}",{terms}}}"#, TWO)).await;
    edge.nginx.kill_all().await.unwrap();
    edge.nginx.start().await.unwrap();
    let shares = [share(A, ONE, "0.25"), share(A, TWO, "0.75"), share(B, ONE, "0"), share(B, TWO, "1")];
    assert_eq!(edge.shares().await, shares);
    let parts: Vec<_> = edge.group(A).await.route.split.unwrap().into_iter().collect();
    let parts: Vec<_> = parts.iter().map(|(slot, percent)| (slot.as_str(), percent.parts())).collect();
    assert_eq!(parts, [(ONE, 2_500), (TWO, 7_500)]);
    let trial = edge.group(B).await.route.trial.unwrap();
    assert_eq!((trial.slot.as_str(), trial.fallback.as_str()), (TWO, ONE));

    edge.green.on("/b", Action::status(500));
    let went_back = async || {
        client::get(edge.nginx.address("main").unwrap(), "/b").await.unwrap();
        edge.group(B).await.route.active == ONE
    };
    wait::until_async(wait::PATIENCE, "the guard to go back", went_back).await.unwrap();
    let event = edge.group(B).await.events.pop().unwrap();
    assert_eq!((event.kind, event.from.as_str(), event.to.as_str()), (Kind::Guard, TWO, ONE));
    let line = format!("group \"{}\" went back from \"{}\" to \"{}\"", B, TWO, ONE);
    assert!(edge.nginx.error_log().contains(&line));
}

#[tokio::test]
async fn one_character_more_is_refused() {
    let edge = LongNames::start().await;
    edge.nginx.admin().switch(A, TWO).await.unwrap();
    let (long_group, long_slot) = (format!("{}x", A), format!("{}x", ONE));
    let of_group = format!("the name of group \"{long_group}\" is longer than 255 bytes");
    let of_slot = format!("the name of slot \"{long_slot}\" of group \"{}\" is longer than 255 bytes", A);
    let of_fixed = format!("\"cutover_slot {long_slot}\": no group has a slot of that name");
    for (from, to, why) in [
        ("cutover %%group a%%", format!("cutover {long_group}"), of_group),
        ("slot %%slot 1%% b", format!("slot {long_slot} b"), of_slot),
        ("cutover_slot %%slot 2%%", format!("cutover_slot {long_slot}"), of_fixed),
    ] {
        edge.nginx.write_http(&HTTP.replacen(from, &to, 1)).unwrap();
        edge.nginx.expect_in_log(&why);
        let answer = edge.nginx.check().unwrap();
        assert!(!answer.ok && answer.output.contains(&why), "{}", answer.output);
        assert!(answer.output.contains("nginx.conf:"), "no file and line in: {}", answer.output);
        assert!(edge.nginx.reload().await.unwrap_err().to_string().contains(&why));
    }
    let admin = edge.nginx.admin();
    let change = RouteChange::to(&long_slot, "a test");
    let reply = admin.try_change(A, &change, None).await.unwrap();
    assert_eq!((reply.status, reply.failure().unwrap().error.code), (422, ErrorCode::UnknownSlot));
    let reply = admin.try_change(&long_group, &change, None).await.unwrap();
    assert_eq!((reply.status, reply.failure().unwrap().error.code), (404, ErrorCode::UnknownGroup));
    edge.assert_answered("/a", A, TWO).await;
}

/// Names of real upstreams.
const ODD: [&str; 7] = [
    "_Test_Site_A",
    "*.example.com",
    "production-portal-ingress-www.portal.example.com-portal-frontend-svc-443",
    "~shop",
    "a%b#café",
    "two words",
    "say 'hello'",
];

/// Each group replaces an upstream of its name; the rest of the configuration is unchanged.
#[tokio::test]
async fn a_group_may_have_any_name_that_an_upstream_has() {
    let blue = Backend::start("blue").await.unwrap();
    let green = Backend::start("green").await.unwrap();
    let mut http = "cutover_state %%prefix%%/state;
        upstream b { server %%blue%%; }
        upstream g { server %%green%%; }
        server { listen %%admin%%; location / { cutover_api write=on; } }
        proxy_set_header X-Request-Id $cutover_group;
    "
    .to_owned();
    let mut locations = "location = /metrics { cutover_metrics; }".to_owned();
    for (at, name) in ODD.iter().enumerate() {
        let slots = format!("slot \"{name}\" b; slot \"{name}2\" g; active \"{name}\";");
        http.push_str(&format!("cutover \"{name}\" {{ {slots} }}\n"));
        locations.push_str(&format!(
            "location /{at} {{ set $group \"{name}\"; proxy_pass http://$group; }}
            location /{at}/named {{ cutover_group \"{name}\"; return 200 $cutover_slot; }}\n"
        ));
    }
    let builder = Nginx::builder().set("blue", blue.address()).set("green", green.address());
    let http = format!("{http} server {{ listen %%listen:main%%; {locations} }}");
    let nginx = builder.http(&http).start().await.unwrap();
    let address = nginx.address("main").unwrap();
    let get = async |target: &str| client::get(address, target).await.unwrap();
    for (at, name) in ODD.iter().enumerate() {
        let other = format!("{name}2");
        let before = get(&format!("/{at}")).await;
        assert_eq!(before.status_and_slot(), (200, "blue"), "{name}");
        assert_eq!(before.head.header("x-request-id"), Some(*name));
        let group = nginx.admin().switch(name, &other).await.unwrap();
        assert_eq!((group.name.as_str(), group.route.active.as_str()), (*name, other.as_str()));
        assert_eq!(get(&format!("/{at}")).await.slot(), "green");
        assert_eq!(get(&format!("/{at}/named")).await.body, other.as_bytes());
        let event = nginx.admin().group(name).await.unwrap().events.pop().unwrap();
        assert_eq!((event.from.as_str(), event.to.as_str()), (*name, other.as_str()));
        let reply = nginx.admin().confirm(name).await.unwrap();
        assert_eq!(reply.failure().unwrap().error.code, ErrorCode::NotArmed, "{name}");
    }
    let page = String::from_utf8(get("/metrics").await.body).unwrap();
    for name in ODD {
        assert!(page.contains(&format!("cutover_route_generation{{group=\"{name}\"}} 1")), "{page}");
    }
    nginx.kill_all().await.unwrap();
    nginx.start().await.unwrap();
    for (at, name) in ODD.iter().enumerate() {
        assert_eq!(get(&format!("/{at}")).await.slot(), "green", "{name}");
    }
}

/// Dropping the active slot is refused also when its name does not fit into the state file.
#[tokio::test]
async fn a_long_slot_that_has_the_traffic_cannot_be_dropped() {
    let edge = LongNames::start().await;
    edge.nginx.admin().switch(A, TWO).await.unwrap();
    let without = HTTP.replacen("slot %%slot 2%% g;", "", 1);
    edge.nginx.write_http(&without).unwrap();
    let why = "has no slot \"*-Slot..\", which is active now";
    edge.nginx.expect_in_log(why);
    assert!(edge.nginx.reload().await.unwrap_err().to_string().contains(why));
    edge.assert_answered("/a", A, TWO).await;
}
