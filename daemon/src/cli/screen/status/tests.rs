use serde_json::{Value, json};

use super::*;

fn slot(name: &str, more: Value) -> Value {
    let mut slot = json!({
        "name": name, "active": false, "traffic": null, "standby": false, "version": "1.0", "in_flight": 0,
        "peers": [{ "address": "127.0.0.1:3001", "backup": false, "down": false }],
    });
    for (key, value) in more.as_object().unwrap() {
        slot[key] = value.clone();
    }
    slot
}

fn rows(status: Value) -> Vec<String> {
    let status: GroupStatus = serde_json::from_value(status).unwrap();
    let now = Now::of("2026-11-30T12:00:00Z", "Europe/Berlin");
    let lines = lines(&status, "cutover", &now);
    lines.iter().flat_map(|line| line.rows(Some(80), false)).collect()
}

fn shop(more: Value) -> Value {
    let rates = |seconds: f64, errors: u64| {
        json!({ "seconds": seconds, "requests": 201, "requests_per_s": 20.1, "answers": 200, "errors": errors, "aborted": 0,
                "p50_us": 12_000, "p99_us": 30_000 })
    };
    let green = json!({
        "active": true, "traffic": { "kind": "active" }, "share": 100.0, "version": "2.0", "in_flight": 3, "upgraded": 1,
        "health": { "state": "healthy", "since": "2026-11-30T11:18:00.000Z" },
        "last_10_s": rates(10.0, 0), "last_60_s": rates(60.0, 3),
    });
    let dead = json!({ "state": "dead", "why": "refused", "since": "2026-11-30T11:00:00Z" });
    let blue = json!({ "standby": true, "version": "", "health": dead });
    let mut status = json!({
        "group": "shop", "active": "green", "generation": 7, "slots": [slot("blue", blue), slot("green", green)],
        "edge_error": null, "deployment": null,
    });
    for (key, value) in more.as_object().unwrap() {
        status[key] = value.clone();
    }
    status
}

#[test]
fn the_block_of_a_group_that_is_well() {
    let next = json!({ "next": { "command": "cutover deploy shop --version VERSION", "purpose": "deploys a version" } });
    assert_eq!(
        rows(shop(next)),
        [
            "shop: slot \"green\" has the traffic, generation 7",
            "  blue   standby           unknown version  not running for 1 h",
            "         127.0.0.1:3001",
            "  green  active    100 %   version 2.0      healthy for 42 min",
            "         10 s   20.1/s     0 5xx             p50 12 ms    p99 30 ms",
            "         1 min  20.1/s     3 5xx (1.5 %)     p50 12 ms    p99 30 ms",
            "         3 in flight, 1 of them upgraded; 127.0.0.1:3001",
            "  next       cutover deploy shop --version VERSION  deploys a version",
        ]
    );
}

#[test]
fn trouble_comes_first() {
    let health = json!({ "health": { "state": "dead", "why": "127.0.0.1:3001: refused", "since": "2026-11-30T11:59:18Z" } });
    assert_eq!(rows(shop(health))[0], "shop: slot \"green\" is DEAD for 42 s: 127.0.0.1:3001: refused");
    let away = json!({ "group": "shop", "active": null, "generation": null, "slots": [], "edge_error": "nginx does not answer",
                       "deployment": null });
    assert_eq!(rows(away), ["shop: nginx does not answer"]);
}

#[test]
fn trials_deployments_and_clean_ups() {
    let of = |more: Value| serde_json::to_value(crate::cli::screen::live::tests::deployment(more)).unwrap();
    let warm = of(json!({ "phase": "warm", "outcome": "completed",
                          "timing": { "ends": "2026-11-30T12:38:00Z", "left_ms": 2_280_000, "takes_ms": 3_600_000 } }));
    let shown = rows(shop(json!({ "deployment": warm }))).join("\n");
    let text = "  deployment version 2 to \"green\": live; slot \"blue\" stays warm until 13:38:00\n             CET (38 min more)";
    assert!(shown.contains(text), "{shown}");
    let trial = json!({ "slot": "green", "fallback": "blue", "phase": "armed", "lease_left_ms": 25_000, "rescue": true,
                        "figures": { "requests": 0, "errors": 0, "slow": 0 } });
    let cleaning = json!([{ "slot": "blue", "command": "decommission", "version": "1.0" }]);
    let shown = rows(shop(json!({ "trial": trial, "cleaning_up": cleaning }))).join("\n");
    assert!(
        shown.contains("  trial      slot \"green\" is on trial for 25 s more (lease, rescue); otherwise"),
        "{shown}"
    );
    assert!(shown.contains("  clean-up   decommission works on slot \"blue\" (version 1.0)"), "{shown}");
    for (more, line) in [
        (json!({ "steps": 3, "step": 2, "paused_by": "uid 0" }), ": soaking, step 2 of 3, paused by uid 0"),
        (
            json!({ "phase": "completed", "outcome": "completed", "updated": "2026-11-30T11:18:00Z" }),
            ": completed 42 min ago",
        ),
        (
            json!({ "phase": "stuck", "outcome": "stuck", "message": "blue is well" }),
            ": was stuck: blue is well",
        ),
        (
            json!({ "phase": "rolled_back", "outcome": "rolled_back",
                    "ending": { "what": "it was rolled back", "why": "too many errors", "next": "cutover" } }),
            ": rolled back 0 s ago (shop-1)\n             it was rolled back\n  why        too many errors",
        ),
    ] {
        let shown = rows(shop(json!({ "deployment": of(more) }))).join("\n");
        assert!(shown.contains(&format!("  deployment version 2 to \"green\"{line}")), "{shown}");
    }
}
