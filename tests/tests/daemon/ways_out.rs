//! Every verb with `--json` ends with JSON, whichever way it ends, and the code in it is that of the process.

use std::process::Output;

use cutover_tests::test_edge::{LOCATION, UPSTREAMS};
use cutover_tests::test_host::GROUP_WITHOUT_TRAFFIC;
use cutover_tests::{Backend, Nginx, TestEdge, TestHost};
use serde_json::Value;

/// Every verb that has `--json`, with what it needs.
const VERBS: [&str; 16] = [
    "deploy shop --version 2",
    "watch shop",
    "status shop",
    "rollback shop",
    "abort shop",
    "pause shop",
    "resume shop",
    "promote shop",
    "switch shop --to green",
    "run shop decommission",
    "freeze shop",
    "unfreeze shop",
    "history shop",
    "report shop-1",
    "logs shop-1",
    "logs shop-1 provision",
];

async fn host() -> (TestHost, [Backend; 2]) {
    let slots = [Backend::start("blue").await.unwrap(), Backend::start("green").await.unwrap()];
    let nginx = Nginx::builder()
        .http(&TestEdge::http(UPSTREAMS, LOCATION))
        .set("blue", slots[0].address())
        .set("green", slots[1].address());
    (TestHost::start(nginx, GROUP_WITHOUT_TRAFFIC).await.unwrap(), slots)
}

fn words(line: &str) -> Vec<&str> {
    line.split_whitespace().chain(["--json"]).collect()
}

/// The last line of a command that failed. It has an error, a next step, and the code of the process.
fn failure(what: &str, output: &Output) -> Value {
    let text = String::from_utf8_lossy(&output.stdout);
    let last =
        text.lines().last().unwrap_or_else(|| panic!("{what}: nothing on standard output: {output:?}"));
    let failure: Value = serde_json::from_str(last).unwrap_or_else(|error| panic!("{what}: {error}: {last}"));
    assert!(failure["error"].as_str().is_some_and(|error| !error.is_empty()), "{what}: {failure}");
    assert!(failure["next"].as_str().is_some_and(|next| next.starts_with("cutover ")), "{what}: {failure}");
    assert_eq!(failure["exit_code"].as_i64(), output.status.code().map(i64::from), "{what}: {failure}");
    failure
}

#[tokio::test(flavor = "multi_thread")]
async fn every_verb_fails_in_json_whatever_the_reason() {
    let (mut host, _slots) = host().await;
    for line in VERBS {
        let run = |words: &[&str]| host.daemon.cli(words).unwrap();
        // The command line is wrong.
        let output = run(&[&words(line)[..], &["--no-such-option"]].concat());
        assert_eq!(failure(line, &output)["exit_code"], 2, "{line}");
        // The daemon refuses: it does not know the group or the deployment.
        let other = line.replace("shop", "shopp");
        let output = run(&words(&other));
        assert_eq!(output.status.code(), Some(1), "{other}: {output:?}");
        failure(&other, &output);
        // The configuration cannot be read.
        let output = host
            .daemon
            .command_at(&[], &[&["--config", "/nowhere.toml"][..], &words(line)].concat())
            .output()
            .unwrap();
        assert_eq!(failure(line, &output)["next"], "cutover check");
        // There is no way to the host.
        let output = host.daemon.command_at(&["unix:/nowhere.sock"], &words(line)).output().unwrap();
        assert_eq!(failure(line, &output)["exit_code"], 1, "{line}");
    }
    host.daemon.stop().await.unwrap();
    // `without_daemon` has the two that work without it.
    let works = |line: &&&str| line.starts_with("status ") || line.starts_with("switch ");
    for line in VERBS.iter().filter(|line| !works(line)) {
        let output = host.daemon.cli(&words(line)).unwrap();
        assert_eq!(output.status.code(), Some(1), "{line}: {output:?}");
        let failure = failure(line, &output);
        assert!(failure["error"].as_str().unwrap().starts_with("no daemon answers at "), "{failure}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_verb_succeeds_with_the_code_of_the_process() {
    let (host, _slots) = host().await;
    let last = |line: &str| {
        let output = host.daemon.cli(&words(line)).unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let last = text.lines().last().unwrap_or_else(|| panic!("{line}: {output:?}")).to_owned();
        (output.status.code().unwrap(), serde_json::from_str::<Value>(&last).unwrap())
    };
    let check = |line: &str, code: i32| {
        let (ended, value) = last(line);
        assert_eq!((ended, value["exit_code"].as_i64()), (code, Some(code.into())), "{line}: {value}");
        value
    };
    let id = check("deploy shop --version 2", 0)["deployment"].as_str().unwrap().to_owned();
    check("watch shop", 0);
    check("freeze shop", 0);
    check("unfreeze shop", 0);
    check(&format!("report {id}"), 0);
    check(&format!("logs {id}"), 0);
    // A rollback that did what it was asked for is a success, and says so with one number.
    let rolled_back = check("rollback shop", 0);
    assert_eq!(rolled_back["outcome"], "rolled_back");
    // For somebody who watches the deployment it is none.
    assert_eq!(check("watch shop", 4)["outcome"], "rolled_back");
    check("switch shop --to green", 0);
    check("status shop", 0);
    let (code, all) = last("status");
    assert_eq!((code, &all[0]["exit_code"]), (0, &0.into()), "{all}");
    // These are rows of a table, which have no code.
    assert_eq!(last("history shop").0, 0);
}
