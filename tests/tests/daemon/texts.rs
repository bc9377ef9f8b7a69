//! Versions and reasons that callers give: very long ones, and ones with control characters.

use std::process::Output;

use cutover_tests::test_edge::{LOCATION, UPSTREAMS};
use cutover_tests::test_host::GROUP_WITHOUT_TRAFFIC;
use cutover_tests::{Daemon, TestEdge};

const COMMANDS: &str = r#"
    [group.shop.provision]
    command = ["/bin/sh", "-c", '''
        printf %s "$CUTOVER_VERSION" | wc -c > %%folder%%/lengths
        printf %s "$CUTOVER_PREVIOUS_VERSION" | wc -c >> %%folder%%/lengths''']
    [group.shop.decommission]
    command = ["/bin/true"]
"#;

/// The longest version. The kernel's MAX_ARG_STRLEN is 128 KiB, and the longest use is `CUTOVER_PREVIOUS_VERSION=..`.
const LONGEST: usize = 131_072 - 1 - "CUTOVER_PREVIOUS_VERSION=".len();

async fn started() -> (TestEdge, Daemon) {
    let edge = TestEdge::start(&TestEdge::http(UPSTREAMS, LOCATION)).await.unwrap();
    let groups = format!("{GROUP_WITHOUT_TRAFFIC}{COMMANDS}");
    let daemon = Daemon::start(edge.nginx.prefix(), &groups).await.unwrap();
    (edge, daemon)
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn succeeds(daemon: &Daemon, arguments: &[&str]) -> String {
    let output = daemon.cli(arguments).unwrap();
    let tail: String = said(&output).chars().rev().take(2000).collect();
    assert!(output.status.success(), "{}", tail.chars().rev().collect::<String>());
    said(&output)
}

fn refused(daemon: &Daemon, arguments: &[&str]) -> String {
    let output = daemon.cli(arguments).unwrap();
    assert_eq!(output.status.code(), Some(1), "{arguments:?}");
    said(&output)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_version_is_deployed_and_rolled_back() {
    let (edge, daemon) = started().await;
    let lengths = || {
        let text = std::fs::read_to_string(edge.nginx.prefix().join("lengths")).unwrap();
        text.lines().map(|line| line.trim().parse().unwrap()).collect::<Vec<usize>>()
    };
    for version in ["x".repeat(70_000), "é".repeat(LONGEST / 2)] {
        succeeds(&daemon, &["deploy", "shop", "--version", &version]);
        assert_eq!(lengths()[0], version.len());
        assert_eq!(edge.group().await.unwrap().route.active, "green");
        succeeds(&daemon, &["rollback", "shop"]);
        assert_eq!(edge.group().await.unwrap().route.active, "blue");
        let status = daemon.status("shop").unwrap();
        assert_eq!(status["deployment"]["version"].as_str(), Some(version.as_str()));
    }
    // The longest version is also passed as the previous one.
    let longest = "y".repeat(LONGEST);
    succeeds(&daemon, &["deploy", "shop", "--version", &longest]);
    succeeds(&daemon, &["deploy", "shop", "--version", "2"]);
    assert_eq!(lengths(), [1, LONGEST]);
    succeeds(&daemon, &["rollback", "shop"]);
    let history = succeeds(&daemon, &["history", "shop", "--json", "--limit", "100"]);
    assert_eq!(history.lines().count(), 4, "a long history can be read");
    let events = edge.group().await.unwrap().events;
    assert!(events.iter().all(|event| event.reason.len() <= 135), "{events:?}");
    let log = edge.nginx.error_log();
    assert!(log.lines().all(|line| line.len() < 2048), "nginx's log has whole lines");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_reason_is_cut_and_names_the_caller() {
    let (edge, daemon) = started().await;
    let reason = "é".repeat(35_000);
    succeeds(&daemon, &["switch", "shop", "--to", "green", "--reason", &reason]);
    let log = edge.nginx.error_log();
    let line = log.lines().find(|line| line.contains("switched from \"blue\" to \"green\"")).unwrap();
    assert!(line.contains("é (by root)"), "{line}");
    let history = succeeds(&daemon, &["history", "shop"]);
    assert!(history.len() < 1000, "{}", history.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn control_characters_are_refused_before_anything_is_begun() {
    let (edge, daemon) = started().await;
    for (text, shown) in [
        ("2\n3", "\"2\\n3\""),
        ("2\u{7f}", "\"2\\u{7f}\""),
        ("\u{1b}[2J", "\"\\u{1b}[2J\""),
        ("2\u{85}", "\"2\\u{85}\""),
        ("\t2", "\"\\t2\""),
    ] {
        let version = refused(&daemon, &["deploy", "shop", "--version", text]);
        assert!(version.contains(&format!("version {shown} contains a control character")), "{version}");
        let reason = refused(&daemon, &["switch", "shop", "--to", "green", "--reason", text]);
        assert!(reason.contains(&format!("reason {shown} contains a control character")), "{reason}");
        let slot = refused(&daemon, &["switch", "shop", "--to", text]);
        assert!(slot.contains(&format!("slot {shown} contains a control character")), "{slot}");
        for verb in ["deploy", "rollback", "abort", "status", "history"] {
            let group = refused(&daemon, &[verb, text]);
            assert!(group.contains(&format!("group {shown} contains a control character")), "{group}");
        }
    }
    let group = refused(&daemon, &["deploy", "my shop"]);
    assert!(group.contains("no group \"my shop\" in the configuration; it has: shop"), "{group}");
    assert_eq!(edge.group().await.unwrap().route.generation, 0);
    assert_eq!(succeeds(&daemon, &["history"]), "");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_is_too_long_for_a_command_is_refused() {
    let (_edge, daemon) = started().await;
    let version = "v".repeat(LONGEST + 1);
    let said = refused(&daemon, &["deploy", "shop", "--version", &version]);
    assert!(said.contains("version \"vvv") && said.contains(&format!("has {} bytes", LONGEST + 1)), "{said}");
    assert!(said.contains(&format!("at most {LONGEST}")) && said.len() < 500, "{said}");
}
