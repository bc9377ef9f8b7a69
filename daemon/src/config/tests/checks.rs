//! The keys of probes and smoke tests.

use cutover_engine::policy::{Check, Policy, SmokeKind};

use super::*;

const EDGE: &str = "[edge.nginx]\nadmin = \"unix:/run/nginx.sock\"\n";

fn parse(groups: &str) -> Result<Policy, String> {
    let config = Config::parse(&format!("{EDGE}{groups}")).map_err(|error| error.to_string())?;
    Ok(config.group("shop").unwrap().clone())
}

#[test]
fn every_kind_is_read_and_written_the_same() {
    for (probe, sent) in [
        ("", "/health/ready"),
        (
            "path = \"/up?of={slot}\"\nmethod = \"POST\"\nbody = \"{peer}\"\nhttp2 = true",
            "POST /up?of={slot}",
        ),
        (
            "kind = \"http\"\nexpect = { status = [200, \"301-303\"], body_matches = '^v{version}$' }",
            "/health/ready",
        ),
        ("path = \"/up\"\nport = 9001\ntls = {}", "/up"),
        ("port = { blue = 9001, green = 9002 }\ntls = { ca = \"/ca.pem\", sni = \"a.b\" }", "/health/ready"),
        ("tls = { insecure = true, client_cert = \"/c\", client_key = \"/k\" }", "/health/ready"),
        ("through = \"http://127.0.0.1:8081\"", "/health/ready"),
        ("through = \"https://127.0.0.1:8081\"\ntls = { insecure = true }", "/health/ready"),
        ("through = { blue = \"http://127.0.0.1:1\", green = \"http://127.0.0.1:2\" }", "/health/ready"),
        ("kind = \"tcp\"\nport = 1", "TCP"),
        ("kind = \"tcp\"\ntls = {}", "TLS"),
        ("kind = \"grpc\"", "gRPC health"),
        ("service = \"a.B\"\nheaders = { x = \"{slot}\" }", "gRPC health of \"a.B\""),
        ("command = [\"/bin/check\", \"a b\"]\ncwd = \"/srv\"", "/bin/check 'a b'"),
    ] {
        let policy =
            parse(&format!("[group.shop.probe]\n{probe}\n")).unwrap_or_else(|why| panic!("{probe}: {why}"));
        assert_eq!(policy.probe.check.sent(), sent, "{probe}");
        let written = serde_json::to_value(&policy).unwrap();
        assert_eq!(serde_json::from_value::<Policy>(written).unwrap(), policy, "{probe}");
    }
}

#[test]
fn smoke_tests_are_checks_too() {
    let policy = parse(
        "[[group.shop.smoke]]\nname = \"a\"\npath = \"/a\"\ncapture = { token = { json = \"/t\" }, id = { regex = \"x(.)\" } }\n\
         [[group.shop.smoke]]\nname = \"b\"\nservice = \"{token}\"\n\
         [[group.shop.smoke]]\nname = \"c\"\nkind = \"tcp\"\n\
         [[group.shop.smoke]]\nname = \"d\"\nhurl = \"/srv/{version}/{id}.hurl\"\n\
         [[group.shop.smoke]]\nname = \"e\"\ncommand = [\"/bin/e\"]\n",
    )
    .unwrap();
    let is_command = |test: usize| matches!(policy.smoke[test].kind(), SmokeKind::Command(_));
    assert!(matches!(policy.smoke[1].kind(), SmokeKind::Check { check: Check::Grpc(_), .. }));
    assert!(matches!(policy.smoke[3].kind(), SmokeKind::Hurl(_)) && is_command(4) && !is_command(2));
    let written = serde_json::to_value(&policy).unwrap();
    assert_eq!(serde_json::from_value::<Policy>(written).unwrap(), policy);
    assert_eq!(policy.needs_version().as_deref(), Some("smoke \"d\""));
}

/// What a journal has of a daemon before the kinds.
#[test]
fn a_policy_of_an_older_journal_is_read() {
    let older = serde_json::json!({
        "probe": {
            "path": "/up", "interval": "1s", "timeout": "2s", "healthy": 2, "unhealthy": 3, "deadline": "1m", "require": "all",
            "expect": { "status": 200 },
        },
        "smoke": [
            { "name": "a", "method": "GET", "path": "/", "headers": {}, "timeout": "5s", "expect": { "status": 200 } },
            { "name": "b", "timeout": "60s", "command": ["/bin/b"] },
        ],
    });
    let policy: Policy = serde_json::from_value(older).unwrap();
    assert_eq!((policy.probe.check.sent().as_str(), policy.smoke.len()), ("/up", 2));
}

#[test]
fn wrong_keys_of_a_probe() {
    for (wrong, said) in [
        (
            "kind = \"tcp\"\npath = \"/\"",
            "the probe is of kind \"tcp\", so \"path\" is not allowed; its keys are port, tls",
        ),
        ("kind = \"udp\"", "unknown variant `udp`, expected one of `http`, `tcp`, `grpc`, `command`"),
        ("kind = \"command\"", "the probe is of kind \"command\" and has none: add it, as in command = ["),
        ("command = [\"/bin/a\"]\nport = 1", "the probe has a command, so \"port\" is not allowed"),
        (
            "service = \"a\"\npath = \"/\"",
            "the probe is of kind \"grpc\", so \"path\" is not allowed; its keys are service",
        ),
        ("cwd = \"/\"", "the probe has no command, so \"cwd\" is not allowed"),
        ("port = 0", "0 is not a port from 1 to 65535"),
        (
            "port = \"a\"",
            "expected a port, as in 9001, or one for each slot, as in { blue = 9001, green = 9002 }",
        ),
        ("port = {}", "no slot is named: expected a port, as in 9001"),
        ("tls = true", "expected a table: {}, or as in { ca = "),
        ("tls = { ca = \"ca.pem\" }", "tls.ca \"ca.pem\" is not an absolute path"),
        (
            "tls = { ca = \"/ca.pem\", insecure = true }",
            "tls: insecure = true accepts every certificate, so \"ca\" is not allowed",
        ),
        ("tls = { sni = \"a b\" }", "tls.sni \"a b\" is not a name of a host"),
        ("tls = { client_cert = \"/c\" }", "tls: client_cert needs client_key"),
        ("through = \"127.0.0.1:8081\"", "\"127.0.0.1:8081\" is not a URL"),
        (
            "through = \"http://127.0.0.1:8081/a\"",
            "through \"http://127.0.0.1:8081/a\" has a path: expected where nginx listens",
        ),
        (
            "through = \"http://a\"\nport = 1",
            "the probe goes through nginx, which chooses the server, so \"port\" is not allowed",
        ),
        (
            "through = \"http://a\"\ntls = {}",
            "the probe goes through \"http://a\" without TLS, so \"tls\" is not allowed",
        ),
        (
            "expect = { status = \"2xx\" }",
            "status \"2xx\" is not a status or a range, as in 200, \"200-299\"",
        ),
        ("expect = { body_matches = \"(\" }", "expect.body_matches \"(\" is no regular expression"),
        (
            "headers = { x = \"{version}\" }",
            "\"{version}\": a probe sends no {version}, because it also asks slots",
        ),
        (
            "headers = { x = \"{token}\" }",
            "\"{token}\" is not a placeholder: expected {version} or {slot} or {peer}",
        ),
        ("headers = { \"a b\" = \"c\" }", "\"a b: c\" is not a header"),
        ("method = \"GE T\"", "\"GE T\" is not a method"),
        ("prot = 1", "unknown field `prot`"),
    ] {
        let error = parse(&format!("[group.shop.probe]\n{wrong}\n")).unwrap_err();
        assert!(error.contains(said), "{wrong}: {error}");
    }
}

#[test]
fn wrong_keys_of_a_smoke_test() {
    let login =
        "[[group.shop.smoke]]\nname = \"log in\"\npath = \"/\"\ncapture = { token = { json = \"/t\" } }\n";
    let basket = "[[group.shop.smoke]]\nname = \"basket\"\npath = \"/{token}\"\n";
    assert!(parse(&format!("{login}{basket}")).is_ok());
    for (wrong, said) in [
        (
            format!("{basket}{login}"),
            "smoke \"basket\": \"{token}\" is not a placeholder: expected {version} or {slot} or {peer}; for the text \"{token}\", \
             write {{token}}; smoke \"log in\", which captures it, comes later: put it before this one",
        ),
        (
            format!("{login}{}", basket.replace("{token}", "{tokem}")),
            "\"{tokem}\" is not a placeholder: expected {version} or {slot} or {peer} or {token};",
        ),
        (login.replace("path = \"/\"", "path = \"/{token}\""), "; a test cannot use what it captures itself"),
        (
            login.replace("/t", "t"),
            "smoke \"log in\": capture \"token\": json \"t\" is not a JSON pointer, as in \"/t\"",
        ),
        (
            login.replace("token =", "slot ="),
            "smoke \"log in\": capture \"slot\": {slot} has a meaning already",
        ),
        (
            login.replace("token =", "\"a-b\" ="),
            "smoke \"log in\": capture \"a-b\" is no word of letters and underscores",
        ),
        (login.replace("json", "xml"), "unknown variant `xml`, expected one of `json`, `header`, `regex`"),
        (
            login.replace("path = \"/\"", "kind = \"tcp\""),
            "smoke \"log in\" is no HTTP request, so \"capture\" is not allowed",
        ),
        (
            basket.replace("path = \"/{token}\"", "hurl = \"a.hurl\""),
            "smoke \"basket\": hurl \"a.hurl\" is not an absolute path",
        ),
        (
            basket.replace("/{token}\"", "/\"\nhurl = \"/a\""),
            "smoke \"basket\" has a file of hurl, so \"path\" is not allowed",
        ),
    ] {
        let error = parse(&wrong).unwrap_err();
        assert!(error.contains(said), "{wrong}: {error}");
    }
}

/// Each example of the page, as it is there.
#[test]
fn the_examples_of_the_page_of_checks() {
    let page = include_str!("../../../../docs/checks.md");
    let examples: Vec<&str> =
        page.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    assert!(examples.len() >= 5, "{}", examples.len());
    for example in examples {
        parse(example).unwrap_or_else(|why| panic!("{example}: {why}"));
    }
}

/// Each commented line of the example file, as an operator would take it.
#[test]
fn the_commented_probes_of_the_example_file() {
    let file = include_str!("../../../../host/cutover.toml");
    let after = file.split("# Other kinds of probes, see docs/checks.md:\n").nth(1).unwrap();
    let lines: Vec<&str> = after.lines().take_while(|line| line.starts_with("# ")).collect();
    assert!(lines.len() >= 6, "{lines:?}");
    for line in lines {
        let key = line.trim_start_matches("# ");
        parse(&format!("[group.shop.probe]\n{key}\n")).unwrap_or_else(|why| panic!("{line}: {why}"));
    }
}
