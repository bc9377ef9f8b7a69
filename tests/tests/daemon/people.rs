//! Who did it, and why: names of people in place of numbers, and the reasons that they gave.

use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Output};

use cutover_tests::test_host::MANUAL_STEPS;
use cutover_tests::{Backend, TestHost};
use serde_json::Value;

struct Site {
    host: TestHost,
    _slots: [Backend; 2],
}

impl Site {
    /// A deployment waits in its first step until it is promoted.
    async fn start() -> Self {
        let (host, slots) = TestHost::with_slots(MANUAL_STEPS).await.unwrap();
        Self { host, _slots: slots }
    }

    fn last(&self) -> Value {
        self.host.daemon.status("shop").unwrap()["deployment"].clone()
    }

    /// Runs a verb as sudo would for this user.
    fn as_root_for(&self, user: &str, arguments: &[&str]) -> Output {
        self.host.daemon.command(arguments).env("SUDO_USER", user).output().unwrap()
    }

    fn text(&self, arguments: &[&str]) -> String {
        let output = self.host.daemon.cli(arguments).unwrap();
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn people_have_names_and_reasons_are_kept() {
    let site = Site::start().await;
    let deploy = ["deploy", "shop", "--version", "2", "--detach", "--reason", "the tax of 2027"];
    let begun = site.as_root_for("alice", &deploy);
    assert!(begun.status.success(), "{begun:?}");
    site.host.daemon.begin_watch("shop").unwrap().phase("soaking").await.unwrap();
    let last = site.last();
    assert_eq!((&last["asked_by"], &last["reason"]), (&"alice (as root)".into(), &"the tax of 2027".into()));
    let first = site.host.daemon.begin_watch("shop").unwrap().next().await.unwrap().unwrap();
    assert!(
        first.message.contains("requested by alice (as root), reason \"the tax of 2027\""),
        "{}",
        first.message
    );

    // Each verb that changes something takes a reason, and the deployment keeps it.
    assert!(site.as_root_for("bob", &["pause", "shop", "--reason", "lunch"]).status.success());
    assert_eq!(site.last()["paused_by"], "bob (as root), reason \"lunch\"");
    assert!(site.text(&["status", "shop"]).contains("paused by bob (as root), reason \"lunch\""));
    site.text(&["resume", "shop", "--reason", "after lunch"]);
    site.text(&["promote", "shop", "--reason", "it is fine"]);
    let mut watched = site.host.daemon.begin_watch("shop").unwrap();
    watched.phase("warm").await.unwrap();
    site.text(&["rollback", "shop", "--reason", "customers complain"]);
    let all = site.host.daemon.begin_watch("shop").unwrap().finish().await.unwrap();
    let said = |part: &str| {
        assert!(all.events.iter().any(|event| event.message.contains(part)), "{part}: {:#?}", all.events);
    };
    said("paused by bob (as root), reason \"lunch\"");
    said("by root, reason \"it is fine\"");
    said("requested by root, reason \"customers complain\"");

    // In the history: one row, with who and the reason of the rollback.
    let history = site.text(&["history", "shop"]);
    let row = history.lines().next().unwrap();
    assert!(row.contains("  2 on green  rolled back  "), "{row}");
    assert!(row.contains("  alice (as root)  requested by root, reason \"customers complain\""), "{row}");
    let json: Value = serde_json::from_str(site.text(&["history", "shop", "--json"]).trim()).unwrap();
    assert_eq!((&json["reason"], &json["asked_by"]), (&"the tax of 2027".into(), &"alice (as root)".into()));
    assert!(json["ended"].is_string(), "{json}");

    site.text(&["switch", "shop", "--to", "green", "--reason", "by hand now"]);
    let row = site.text(&["history", "shop"]).lines().next().unwrap().to_owned();
    assert!(row.contains("  by hand") && row.contains("  root ") && row.ends_with("  by hand now"), "{row}");
}

/// Only root is believed: another user's word is not taken, and root without sudo is root.
#[tokio::test(flavor = "multi_thread")]
async fn nobody_takes_the_name_of_another() {
    let site = Site::start().await;
    let socket = site.host.daemon.socket();
    std::fs::set_permissions(&socket, std::fs::Permissions::from_mode(0o666)).unwrap();
    std::fs::set_permissions(socket.parent().unwrap(), std::fs::Permissions::from_mode(0o755)).unwrap();
    // curl is the caller, and tells what it wants.
    let output = Command::new("setpriv")
        .args([
            "--reuid=nobody",
            "--regid=nogroup",
            "--clear-groups",
            "curl",
            "--silent",
            "--show-error",
            "--unix-socket",
        ])
        .arg(&socket)
        .args(["-H", "cutover-user: alice", "-H", "content-type: application/json"])
        .args(["-d", "{\"version\":\"2\"}", "http://cutover/v1/groups/shop/deployments"])
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    assert_eq!(site.last()["asked_by"], "nobody", "{output:?}");
}
