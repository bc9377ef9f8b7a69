//! What a configuration may contain, and what its errors say.

use std::time;

use cutover_engine::policy::{MAX_STRING, SmokeKind};

use super::*;

mod checks;

const WHOLE: &str = r#"
    [daemon]
    socket = "/tmp/c.sock"
    socket_mode = "0660"
    state = "/tmp/state"
    metrics = "127.0.0.1:9119"
    [edge.nginx]
    admin = "unix:/run/cutover/nginx.sock"
    [group.shop]
    warm = "1h"
    env = { DATABASE_URL = "sqlite:shop" }
    host = "shop.example"
    [group.shop.migrate]
    command = ["/bin/migrate", "up"]
    timeout = "5m"
    cwd = "/srv"
    [group.shop.revert]
    command = ["/bin/migrate", "down"]
    [group.shop.provision]
    command = ["/bin/start"]
    [group.shop.decommission]
    command = ["/bin/stop"]
    wait_for_sessions = "2h"
    [group.shop.probe]
    path = "/health/ready"
    interval = "1s"
    timeout = "2s"
    healthy = 2
    unhealthy = 3
    deadline = "60s"
    require = "80%"
    expect = { headers = { x-version = "{version}" } }
    [[group.shop.smoke]]
    name = "catalogue answers"
    path = "/products"
    headers = { accept = "application/json" }
    body = '{"a":{"b":1}}'
    [group.shop.smoke.expect]
    status = 200
    headers = { content-type = "application/json" }
    body_contains = "tea"
    json = { "/0/name" = "tea", "/0/price" = 3 }
    [[group.shop.smoke]]
    name = "external script"
    command = ["/bin/smoke"]
    timeout = "60s"
    [group.shop.soak]
    duration = "60s"
    interval = "1s"
    min_requests = 50
    max_error_ratio = 0.01
    max_failed_attempts_ratio = 0.05
    on_inconclusive = "extend"
    extend_limit = "30m"
    synthetic = { path = "/products?v={version}", interval = "500ms", timeout = "1s", expect = { status = 200 } }
    [[group.shop.signal]]
    name = "checkout errors"
    promql = 'sum(rate(failed{group="{group}",slot="{slot}",version="{version}"}[{window}]))'
    url = "http://127.0.0.1:9090/behind"
    limit = 1
    window = "90s"
    for = "10s"
    interval = "2s"
    timeout = "500ms"
    compare = "old"
    headers = { x-scope-orgid = "shop" }
    token_file = "/etc/cutover/prometheus.token"
    [group.shop.drain]
    deadline = "30s"
"#;

/// A configuration with the usual policy of [`cutover_engine::scripted::policy`].
fn usual() -> Config {
    let policy = toml::Value::try_from(cutover_engine::scripted::policy()).unwrap();
    let group = toml::Table::from_iter([("shop".to_owned(), policy)]);
    let groups = toml::Table::from_iter([("group".to_owned(), toml::Value::Table(group))]);
    Config::parse(&format!("[edge.nginx]\nadmin = \"unix:/nginx\"\n{groups}")).unwrap()
}

/// The usual configuration as read from a file.
pub(crate) fn loaded() -> Loaded {
    let config = usual();
    Loaded { config, path: "/etc/cutover/cutover.toml".into(), digest: Digest::of(""), broken: None }
}

#[test]
fn a_whole_file() {
    let config = Config::parse(WHOLE).unwrap();
    let shop = config.group("shop").unwrap();
    assert_eq!(config.daemon.socket_mode.bits(), 0o660);
    assert_eq!(shop.warm.duration.get(), time::Duration::from_secs(3600));
    assert_eq!(shop.smoke.len(), 2);
    assert!(matches!(shop.smoke[1].kind(), SmokeKind::Command(_)));
    assert_eq!(shop.migrate.as_ref().unwrap().timeout.get(), time::Duration::from_secs(300));
}

#[test]
fn what_is_left_out_has_its_default() {
    let text = "[edge.nginx]\nadmin = \"http://127.0.0.1:8081\"\n[group.shop]\n";
    let config = Config::parse(text).unwrap();
    let shop = config.group("shop").unwrap();
    assert_eq!(config.daemon.socket_mode.bits(), 0o600);
    assert_eq!(shop.probe.check.sent(), "/health/ready");
    assert_eq!(shop.probe.thresholds().healthy, 2);
    assert_eq!(shop.soak.limits(shop.probe.require).min_requests, 50);
    assert!(!shop.soak.accepts_inconclusive());
}

#[test]
fn the_example_of_several_hosts() {
    let page = include_str!("../../../docs/several-hosts.md");
    let example = page.split("```toml\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    let config = Config::parse(example).unwrap();
    assert_eq!(config.edge.keys().map(EdgeName::as_str).collect::<Vec<_>>(), ["lyon", "nice", "paris"]);
    assert!(config.group("shop").unwrap().edges.is_empty());
    assert_eq!(config.group("intern").unwrap().edges, ["paris"]);
    let fleet = &config.group("shop").unwrap().fleet;
    assert!(page.contains(&format!("| `patience` | `\"{}\"` |", fleet.patience)));
    assert!(page.contains("| `on_missing` | `\"refuse\"` |"), "{fleet:?}");
}

#[test]
fn a_group_survives_the_journal() {
    let config = Config::parse(WHOLE).unwrap();
    let shop = config.group("shop").unwrap();
    let json = serde_json::to_string(shop).unwrap();
    let back: Policy = serde_json::from_str(&json).unwrap();
    assert_eq!(&back, shop);
}

#[test]
fn what_no_command_can_be_given() {
    for (room, said) in [(1, None), (0, Some("131072"))] {
        let word = "x".repeat(MAX_STRING - room);
        let value = "x".repeat(MAX_STRING - room - "A=".len());
        for text in [
            format!("[group.shop]\nenv = {{ A = \"{value}\" }}\n"),
            format!("[group.shop.migrate]\ncommand = [\"/bin/true\", \"{word}\"]\n"),
        ] {
            let parsed = Config::parse(&format!("[edge.nginx]\nadmin = \"unix:/a\"\n{text}"));
            let error = parsed.err().map(|error| error.message().to_owned());
            assert_eq!(error.is_some(), said.is_some(), "{error:?}");
            assert!(error.is_none_or(|error| error.contains(said.unwrap()) && error.len() < 200));
        }
    }
}

#[test]
fn errors_quote_the_value_and_say_what_is_right() {
    let minimal = "[edge.nginx]\nadmin = \"unix:/a\"\n";
    for (wrong, said) in [
        ("[daemon]\nsockt = \"/a\"\n", "unknown field `sockt`, expected one of `socket`"),
        ("[daemon]\nsocket_mode = \"abc\"\n", "\"abc\" is not a mode, as in \"0600\""),
        ("[daemon]\nmetrics = \"0.0.0.0:9119\"\n", "\"0.0.0.0:9119\" is not a loopback address"),
        ("[group.shop]\nwarm = \"1 parsec\"\n", "\"1 parsec\" is not a duration, as in \"30s\""),
        ("[group.\"sh/op\"]\n", "group \"sh/op\" must be UTF-8 without control characters and"),
        (
            "[group.shop.revert]\ncommand = [\"/r\"]\nnothing_applied = 10\n",
            "\"nothing_applied\" is allowed in migrate only",
        ),
        (
            "[group.shop.provision]\ncommand = [\"/r\"]\nwait_for_sessions = \"2h\"\n",
            "\"wait_for_sessions\" is allowed in decommission only",
        ),
        (
            "[group.shop.migrate]\ncommand = [\"/r\"]\nwait_for_sessions = \"2h\"\n",
            "\"wait_for_sessions\" is allowed in decommission only",
        ),
        (
            "[group.shop.decommission]\ncommand = [\"/r\"]\nnothing_applied = 10\n",
            "\"nothing_applied\" is allowed in migrate only",
        ),
        ("[group.shop.migrate]\ncommand = []\n", "a command needs at least a program"),
        ("[group.shop.migrate]\ncommand = [\"migrate\"]\n", "\"migrate\" is not an absolute path"),
        ("[group.shop.probe]\npath = \"health\"\n", "\"health\" does not begin with \"/\""),
        ("[group.shop.probe]\ninterval = \"0s\"\n", "\"0s\" is too short"),
        ("[group.shop.probe]\nhealthy = 0\n", "0 is not a number from 1"),
        ("[group.shop.probe]\nrequire = \"most\"\n", "\"most\" is not a number of servers"),
        ("[group.shop.soak]\nmax_error_ratio = 1.5\n", "1.5 is not a ratio from 0 to 1"),
        ("[group.shop.soak]\npatience = \"0s\"\n", "\"0s\" is too short: at least \"1ms\""),
        ("[group.shop.soak.signals]\np99 = { max = 0.3 }\n", "the limit of \"p99\" is a latency"),
        ("[group.shop.soak.signals]\nerrors = { max = \"5s\" }\n", "the limit of \"errors\" is a share"),
        (
            "[group.shop.soak.signals]\np50 = { max = \"1s\", times = 0.5 }\n",
            "times = 0.5 is not a factor from 1",
        ),
        ("[group.shop.soak.signals]\nerrors = { maxx = 0.3 }\n", "a limit is `false`, or as in"),
        ("[group.shop.soak.synthetic]\ninterval = \"0s\"\n", "\"0s\" is too short: at least \"1ms\""),
        ("[group.shop.soak.synthetic]\npath = \"/{versoin}\"\n", "\"{versoin}\" is not a placeholder"),
        (
            "[group.shop.soak.synthetic]\nheaders = { a = \"{versoin}\" }\n",
            "\"{versoin}\" is not a placeholder",
        ),
        ("[group.shop.soak.synthetic]\nheaders = { \"a b\" = \"c\" }\n", "\"a b: c\" is not a header"),
        (
            "[group.shop.soak.synthetic]\nexpect = { status = 1 }\n",
            "expect.status 1 is not a status from 100",
        ),
        (
            "[[group.shop.signal]]\nname = \"x\"\npromql = \"up\"\nurl = \"http://a\"\nlimit = 1\n",
            "group.shop: signal \"x\": with its window of 1m and \"for\" of 15s it proves nothing in a soak of 1m: set \
             soak.duration to at least \"1m 25s\", or shorten the window",
        ),
        (
            "[[group.shop.signal]]\nname = \"x\"\npromql = \"up{{}\"\nurl = \"http://a\"\n",
            "missing field `limit`",
        ),
        (
            "[[group.shop.signal]]\nname = \"x\"\npromql = \"up\"\nurl = \"http://a\"\nlimit = 1\n\
             [[group.shop.signal]]\nname = \"x\"\npromql = \"up\"\nurl = \"http://a\"\nlimit = 1\n",
            "two signals have the name \"x\"",
        ),
        ("[group.shop.soak]\nmin_requests = 0\n", "0 is not a number from 1"),
        (
            "[group.shop.soak]\non_inconclusive = \"pass\"\n",
            "expected one of `extend`, `rollback`, `promote`",
        ),
        (
            "[group.\"a b\".soak]\ninconclusive = \"complete\"\n",
            "inconclusive is now called on_inconclusive; write:\n\n[group.\"a b\".soak]\non_inconclusive = \"promote\"",
        ),
        (
            "[group.shop.soak]\ninconclusive = \"rollback\"\n",
            "[group.shop.soak]\non_inconclusive = \"rollback\"",
        ),
        ("[[group.shop.smoke]]\nname = \"x\"\n", "smoke \"x\" needs a path or a command"),
        (
            "[[group.shop.smoke]]\nname = \"x\"\npath = \"/\"\ncommand = [\"/bin/x\"]\n",
            "smoke \"x\" has a command, so \"path\" is not allowed",
        ),
        ("[[group.shop.smoke]]\nname = \"x\"\npath = \"/\"\nmethod = \"GE T\"\n", "\"GE T\" is not a method"),
        (
            "[[group.shop.smoke]]\nname = \"x\"\npath = \"/\"\ntimeout = \"0s\"\n",
            "smoke \"x\": timeout \"0s\" is too short: at least \"1ms\"",
        ),
        (
            "[[group.shop.smoke]]\nname = \"x\"\npath = \"/\"\nexpect = { status = 600 }\n",
            "smoke \"x\": expect.status 600 is not a status from 100 to 599",
        ),
        (
            "[[group.shop.smoke]]\nname = \"x\"\npath = \"/\"\nexpect = { json = { name = 1 } }\n",
            "smoke \"x\": expect.json \"name\" is not a JSON pointer, as in \"/name\"",
        ),
        (
            "[[group.shop.smoke]]\nname = \"x\"\npath = \"/{versoin}\"\n",
            "smoke \"x\": \"{versoin}\" is not a placeholder: expected {version} or {slot} or {peer}; for the text \
             \"{versoin}\", write {{versoin}}",
        ),
        (
            "[[group.shop.smoke]]\nname = \"x\"\npath = \"/\"\nexpect = { json = { \"/a\" = [\"{versoin}\"] } }\n",
            "smoke \"x\": expect: \"{versoin}\" is not a placeholder: expected {version} or {slot} or {peer}",
        ),
        (
            "[group.shop.probe]\nexpect = { body_contains = \"{Version}\" }\n",
            "expect: \"{Version}\" is not a placeholder",
        ),
        (
            "[group.shop.probe]\nexpect = { status = 20 }\n",
            "expect.status 20 is not a status from 100 to 599",
        ),
        (
            "[group.shop.probe]\npath = \"/{version}\"\n",
            "\"/{version}\": a probe sends no {version}, because it also asks slots whose version is not known; expect the \
             version in the answer, as in probe.expect = { body_contains = \"{version}\" }",
        ),
        ("[group.shop]\nhost = \"\"\n", "host \"\" is not a host, as in \"shop.example\""),
        ("[group.shop]\nhost = \"a\\nb\"\n", "host \"a\\nb\" is not a host"),
        ("[group.shop]\nenv = { CUTOVER_SLOT = \"a\" }\n", "\"CUTOVER_SLOT\" is set by cutover"),
        ("[group.shop]\nenv = { \"A=B\" = \"a\" }\n", "\"A=B\" is not a valid variable name"),
    ] {
        let error = Config::parse(&format!("{minimal}{wrong}")).unwrap_err().to_string();
        assert!(error.contains(said), "{wrong}: {error}");
    }
    for (wrong, said) in [
        (
            "[edge.nginx]\nadmin = \"/run/nginx.sock\"\n",
            "\"/run/nginx.sock\" is none of \"unix:/PATH\", \"http://127.0.0.1:PORT\" and \"https://HOST:PORT\"",
        ),
        (
            "[edge.nginx]\nadmin = \"http://10.0.0.1:80\"\n",
            "\"http://10.0.0.1:80\" is not a loopback address: over plain HTTP the admin API must stay on this host. \
             Use \"https://10.0.0.1:80\"",
        ),
        ("[edge.lyon]\nadmin = \"https://10.0.0.2:9443\"\n", "\"https://10.0.0.2:9443\" needs token_file"),
        (
            "[edge.lyon]\nadmin = \"https://10.0.0.2:9443/v1\"\n",
            "\"https://10.0.0.2:9443/v1\" is not the address of an admin API, as in \"https://10.0.0.2:9443\"",
        ),
        (
            "[edge.lyon]\nadmin = \"https://a:1\"\ntoken_file = \"/t\"\nclient_cert = \"/c\"\n",
            "client_cert needs client_key",
        ),
        (
            "[edge.lyon]\nadmin = \"https://a:1\"\ntoken_file = \"/t\"\nclient_key = \"/c\"\n",
            "client_key needs client_cert",
        ),
        (
            "[edge.lyon]\nadmin = \"https://a:1\"\ntoken_file = \"/t\"\nca = \"ca.pem\"\n",
            "\"ca.pem\" is not an absolute path",
        ),
        (
            "[edge.lyon]\nadmin = \"https://a:1\"\ntoken_file = \"/t\"\nserver_name = \"a b\"\n",
            "\"a b\" is not a name of a host",
        ),
        (
            "[edge.lyon]\nadmin = \"unix:/a\"\nca = \"/ca.pem\"\n",
            "ca is for \"https://HOST:PORT\", but admin is \"unix:/a\"",
        ),
        ("[edge.lyon]\nadmin = \"unix:/a\"\nclient = 1\n", "unknown field `client`"),
        ("[edge.nginx]\n", "missing field `admin`"),
        ("", "there is no [edge.NAME]: expected one, as in [edge.nginx]"),
        ("[edge]\n", "there is no [edge.NAME]: expected one, as in [edge.nginx]"),
        (
            "[edge.a]\nadmin = \"unix:/a\"\n[edge.b]\nadmin = \"unix:/b\"\n[group.shop]\nedges = [\"a\", \"c\"]\n",
            "group.shop.edges: there is no [edge.c]; there is: a, b",
        ),
        (
            "[edge.a]\nadmin = \"unix:/a\"\n[edge.b]\nadmin = \"unix:/b\"\n\
             [group.shop.fleet]\npatience = \"30s\"\n",
            "group.shop.fleet.patience \"30s\" is not less than trial.lease \"30s\"",
        ),
        ("[edge.synthetic]\nadmin = \"unix:/a\"\n", "edge \"synthetic\" has a reserved name"),
        ("[edge.\"a b\"]\nadmin = \"unix:/a\"\n", "edge \"a b\" is not a name, as in \"nginx\""),
        (
            "[nginx]\nadmin = \"unix:/a\"\n",
            "[nginx] is now called [edge.NAME]; write:\n\n[edge.nginx]\nadmin = \"unix:/a\"",
        ),
        (
            "[edge.nginx]\nadmin = \"unix:/a\"\ntoken_file = \"token\"\n",
            "\"token\" is not an absolute path, as in \"/etc/nginx/cutover.token\"",
        ),
    ] {
        let error = Config::parse(wrong).unwrap_err().to_string();
        assert!(error.contains(said), "{wrong}: {error}");
    }
}
