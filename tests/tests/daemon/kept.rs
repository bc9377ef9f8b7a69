//! What is kept of a deployment: one page with its figures, and the output of its commands.

use std::fs;

use cutover_tests::test_host::GROUP;
use cutover_tests::{Action, Backend, Daemon, TestHost, wait};
use serde_json::Value;

const PROVISION: &str = r#"
    [group.shop.provision]
    command = ["/bin/sh", "-c", "echo starting $CUTOVER_VERSION '<b>&'; seq 1 2000"]
"#;

struct Site {
    host: TestHost,
    green: Backend,
    _blue: Backend,
}

impl Site {
    async fn start() -> Self {
        let (host, [blue, green]) = TestHost::with_slots_and(&format!("{GROUP}{PROVISION}")).await.unwrap();
        Self { host, green, _blue: blue }
    }

    fn text(&self, arguments: &[&str]) -> String {
        text(&self.host.daemon, arguments)
    }
}

fn text(daemon: &Daemon, arguments: &[&str]) -> String {
    let output = daemon.cli(arguments).unwrap();
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn one_page_about_a_deployment_that_was_rolled_back() {
    let site = Site::start().await;
    site.green.on("/", Action::status(500));
    site.green.on("/health/ready", Action::status(200));
    let users = site.host.users().unwrap();
    users.more(15).await.unwrap();
    let deployed = site.host.deploy("2").await.unwrap();
    deployed.assert_ended("rolled_back", 4).unwrap();
    let id = deployed.events[0].deployment.clone();

    let json: Value = serde_json::from_str(&site.text(&["report", &id, "--json"])).unwrap();
    let figures = json["figures"].as_array().unwrap();
    let sum =
        |slot: &str, what: &str| figures.iter().filter_map(|point| point[slot][what].as_u64()).sum::<u64>();
    assert!(!figures.is_empty() && figures.len() <= 600, "{}", figures.len());
    assert!(sum("new", "errors") > 0 && sum("new", "errors") <= sum("new", "answers"), "{json:#}");
    assert!(figures.iter().any(|point| point["new"]["p99_us"].as_u64() > Some(0)), "{json:#}");
    assert_eq!(json["deployment"]["outcome"], "rolled_back");
    assert!(json["outputs"][0]["end"].as_str().unwrap().ends_with("2000\n"), "{}", json["outputs"]);

    let page = site.text(&["report", &id]);
    for part in
        ["-> 2", "blue -> green", "rolled back after ", "Timeline", "soaking", "5xx", "p99", "    | 2000"]
    {
        assert!(page.contains(part), "{part}: {page}");
    }
    assert!(page.chars().any(|c| ('▂'..='█').contains(&c)), "{page}");

    let path = site.host.path("report.html");
    site.text(&["report", &id, "--html", path.to_str().unwrap()]);
    let html = fs::read_to_string(&path).unwrap();
    assert_eq!(html, site.text(&["report", &id, "--html", "-"]));
    assert!(html.starts_with("<!doctype html>") && html.contains("<polyline class=\"new\""), "{html}");
    for active in ["<script", "<link", "src=", "http://", "https://", "@import", "onload"] {
        assert!(!html.contains(active), "{active}");
    }
    let bad = site.host.daemon.cli(&["report", &id, "--html", "/nowhere/x.html"]).unwrap();
    assert!(
        String::from_utf8_lossy(&bad.stderr).contains("failed to write \"/nowhere/x.html\": "),
        "{bad:?}"
    );

    // The page names a command for the whole output, and it works.
    let named = page.lines().find_map(|line| line.split_once("all of it: ")).unwrap().1;
    let words: Vec<&str> = named.split_whitespace().skip(1).collect();
    let whole = site.text(&words);
    assert!(whole.starts_with("$ /bin/sh -c ") && whole.contains("starting 2 <b>&\n1\n2\n"), "{whole}");
    assert!(whole.ends_with("1999\n2000\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn output_that_there_is_and_output_that_there_is_not() {
    let site = Site::start().await;
    let users = site.host.users().unwrap();
    users.more(15).await.unwrap();
    let deployed = site.host.deploy("2").await.unwrap();
    let id = deployed.events[0].deployment.clone();
    let list = site.text(&["logs", &id]);
    assert!(
        list.starts_with("provision ") && list.contains(&format!("cutover logs {id} provision")),
        "{list}"
    );
    let failed = |arguments: &[&str]| {
        let output = site.host.daemon.cli(arguments).unwrap();
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        String::from_utf8(output.stderr).unwrap()
    };
    let said = failed(&["logs", &id, "migrate"]);
    assert!(said.contains("has no output \"migrate\" on this host; it has: provision"), "{said}");
    let said = failed(&["logs", &id, "../journal.sqlite"]);
    assert!(said.contains("has no output \"../journal.sqlite\""), "{said}");
    for verb in ["logs", "report"] {
        let said = failed(&[verb, "shop-19990101-000000"]);
        assert!(
            said.contains("it may have been pruned, because the last 50 of each group are kept"),
            "{said}"
        );
    }
    // Without its folder, as on a host whose daemon did not run the commands.
    fs::remove_dir_all(site.host.path("daemon/deployments").join(&id)).unwrap();
    assert!(
        site.text(&["logs", &id])
            .contains("has left output on this host; each host keeps that of its own daemon")
    );
    let page = site.text(&["report", &id]);
    assert!(
        page.contains("another host has them") && page.contains("none has left output on this host"),
        "{page}"
    );
}

/// SIGKILL loses no more than the last point, and what is watched afterwards is added.
#[tokio::test(flavor = "multi_thread")]
async fn figures_outlive_the_daemon() {
    let mut site = Site::start().await;
    let users = site.host.users().unwrap();
    users.more(15).await.unwrap();
    let mut deployment = site.host.daemon.begin_deploy("shop", "2").unwrap();
    deployment.phase("soaking").await.unwrap();
    let folder = site.host.path("daemon/deployments");
    let lines = || {
        let entries = fs::read_dir(&folder).unwrap().flatten();
        let texts =
            entries.map(|entry| fs::read_to_string(entry.path().join("figures.jsonl")).unwrap_or_default());
        texts.map(|text| text.lines().count()).sum::<usize>()
    };
    wait::until("points", || lines() >= 3).await.unwrap();
    site.host.daemon.kill().unwrap();
    let before = lines();
    assert!(before >= 3, "{before}");
    site.host.daemon.resume().await.unwrap();
    let deployed = site.host.daemon.follow(deployment).await.unwrap();
    assert_eq!(deployed.outcome, "completed", "{deployed:?}");
    assert!(lines() > before, "{before}");
}
