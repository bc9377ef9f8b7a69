//! The one line that shows what a deployment does right now.

use std::time::Duration;

use super::figures::glance;
use crate::control::{DeploymentStatus, PhaseTime};

/// Phases in which users are served by the new version and its figures grow.
const WATCHED: [&str; 3] = ["soaking", "confirming", "draining"];

/// What a deployment does now, in parts: the first ones matter most. `lasts`: how long its phase has lasted, if it has no end.
pub(in crate::cli) fn parts(one: &DeploymentStatus, lasts: Option<Duration>) -> Vec<String> {
    let mut first = words(&one.phase).to_owned();
    match (&one.timing, lasts) {
        (Some(timing), _) => first.push_str(&format!(" {}", passed(timing))),
        (None, Some(lasts)) if lasts.as_secs() > 0 => first.push_str(&format!(" for {} s", lasts.as_secs())),
        (None, _) => {}
    }
    let mut parts = vec![first];
    if one.outcome.is_none() && one.steps > 1 && matches!(one.phase.as_str(), "switching" | "soaking") {
        parts.push(format!("step {} of {}", one.step, one.steps));
    }
    if let (None, Some(by)) = (one.outcome, &one.paused_by) {
        parts.push(format!("paused by {by}"));
    }
    if one.tries > 0 {
        parts.push(format!("tried {}", times(one.tries)));
    }
    if let Some(seen) = one.glance.as_ref().filter(|_| WATCHED.contains(&one.phase.as_str())) {
        parts.extend(glance(seen));
    }
    parts
}

/// The parts that fit into a width.
pub(in crate::cli) fn fitting(parts: &[String], width: usize) -> String {
    let mut line = String::new();
    for part in parts {
        let longer = if line.is_empty() { part.clone() } else { format!("{line}, {part}") };
        if console::measure_text_width(&longer) > width && !line.is_empty() {
            break;
        }
        line = longer;
    }
    line
}

/// A phase in words.
pub(in crate::cli) fn words(phase: &str) -> String {
    phase.replace('_', " ")
}

/// Text as in `once`, `5 times`.
pub(in crate::cli) fn times(tries: u32) -> String {
    match tries {
        1 => "once".to_owned(),
        2 => "twice".to_owned(),
        tries => format!("{tries} times"),
    }
}

/// Text as in `12/30 s`.
fn passed(timing: &PhaseTime) -> String {
    let (passed, takes) = (timing.passed().as_secs(), timing.takes_ms.div_ceil(1000));
    match takes {
        ..=600 => format!("{passed}/{takes} s"),
        _ => format!("{}/{} min", passed / 60, takes / 60),
    }
}

#[cfg(test)]
pub(in crate::cli::screen) mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// A deployment as the daemon shows it, with some fields changed.
    pub(in crate::cli::screen) fn deployment(more: Value) -> DeploymentStatus {
        let mut one = json!({
            "deployment": "shop-1", "group": "shop", "version": "2", "previous_version": "1", "from": "blue", "to": "green",
            "phase": "soaking", "step": 1, "steps": 1, "outcome": null, "message": "the message", "asked_by": "root",
            "started": "2026-11-30T12:00:00.000Z", "updated": "2026-11-30T12:00:00.000Z",
        });
        for (key, value) in more.as_object().unwrap() {
            one[key] = value.clone();
        }
        serde_json::from_value(one).unwrap()
    }

    fn soaking() -> Value {
        json!({
            "timing": { "ends": "", "left_ms": 18_000, "takes_ms": 30_000 },
            "glance": { "answers": 480, "errors": 0, "unanswered": 0, "limit": 0.01, "p99_us": 14_000, "old_answers": 9,
                        "old_errors": 0, "old_p99_us": 12_000 },
        })
    }

    #[test]
    fn the_line_of_a_soak() {
        let line = parts(&deployment(soaking()), None);
        let whole = "soaking 12/30 s, 480 answers, 0 5xx (limit 1 %), p99 old 12 ms new 14 ms";
        assert_eq!(fitting(&line, 80), whole);
        assert_eq!(fitting(&line, 60), "soaking 12/30 s, 480 answers, 0 5xx (limit 1 %)");
        assert_eq!(fitting(&line, 5), "soaking 12/30 s");
    }

    #[test]
    fn the_lines_of_other_phases() {
        let lasts = Some(Duration::from_secs(7));
        for (more, shown) in [
            (json!({ "phase": "provisioning" }), "provisioning for 7 s"),
            (json!({ "phase": "rolling_back", "tries": 5 }), "rolling back for 7 s, tried 5 times"),
            (
                json!({ "phase": "soaking", "step": 2, "steps": 3, "paused_by": "ann" }),
                "soaking for 7 s, step 2 of 3, paused by ann",
            ),
            (
                json!({ "phase": "warm", "timing": { "ends": "", "left_ms": 600_000, "takes_ms": 3_600_000 } }),
                "warm 50/60 min",
            ),
        ] {
            assert_eq!(parts(&deployment(more), lasts).join(", "), shown);
        }
    }
}
