//! `cutover history [GROUP]`

use std::io::{self, Write};
use std::time::Duration;

use clap::Args;
use cutover_core::deployment::Outcome;

use super::terminal::{column, plain};
use super::width::{cut, width};
use super::{CliError, Place};
use crate::control::{ActStatus, DeploymentStatus, SwitchStatus};
use cutover_core::name::in_path;

#[derive(Debug, Args)]
pub(super) struct History {
    /// The group [default: all]
    group: Option<String>,
    /// Maximum number of entries; the newest comes first
    #[arg(long, default_value_t = 20, value_name = "NUMBER")]
    limit: u32,
    /// Print one JSON deployment, switch or other act per line
    #[arg(long)]
    json: bool,
}

/// One deployment, switch or other act: when, its id, the versions, the outcome, how long it took, who, and why.
struct Row {
    /// In UTC, to sort.
    time: String,
    cells: [String; 6],
    why: String,
}

impl History {
    pub(super) fn json(&self) -> bool {
        self.json
    }

    pub(super) async fn run(self, place: &Place) -> Result<u8, CliError> {
        let group = self.group.map(|group| format!("&group={}", in_path(&group))).unwrap_or_default();
        let client = place.client()?;
        let query = format!("limit={}{group}", self.limit);
        let deployments: Vec<DeploymentStatus> = client.get(&format!("/v1/deployments?{query}")).await?;
        let switches: Vec<SwitchStatus> = client.get(&format!("/v1/switches?{query}")).await?;
        let acts: Vec<ActStatus> = client.get(&format!("/v1/acts?{query}")).await?;
        let most = usize::try_from(self.limit).unwrap_or(usize::MAX);
        let mut out = io::stdout().lock();
        if self.json {
            let deployments =
                deployments.into_iter().map(|one| (one.started.clone(), serde_json::json!(one)));
            let switches = switches.into_iter().map(|one| (one.switched.clone(), serde_json::json!(one)));
            let acts = acts.into_iter().map(|one| (one.done.clone(), serde_json::json!(one)));
            let mut all: Vec<_> = deployments.chain(switches).chain(acts).collect();
            // Times in RFC 3339 and UTC sort as text.
            all.sort_by(|(one, _), (other, _)| other.cmp(one));
            for (_, one) in all.into_iter().take(most) {
                writeln!(out, "{one}")?;
            }
            return Ok(0);
        }
        let by_hand = switches.iter().map(Row::of_switch).chain(acts.iter().map(Row::of_act));
        let mut rows: Vec<Row> = deployments.iter().map(Row::of).chain(by_hand).collect();
        rows.sort_by(|one, other| other.time.cmp(&one.time));
        rows.truncate(most);
        for line in table(&rows, width()) {
            writeln!(out, "{line}")?;
        }
        Ok(0)
    }
}

/// The rows as lines, with a line that names the columns. The last column is cut to the terminal.
fn table(rows: &[Row], width: Option<usize>) -> Vec<String> {
    let names = ["WHEN", "DEPLOYMENT", "VERSION", "OUTCOME", "TOOK", "WHO"].map(str::to_owned);
    let mut lines = Vec::new();
    if rows.is_empty() {
        return lines;
    }
    let head = Row { time: String::new(), cells: names, why: "WHY".to_owned() };
    // The columns have names on a terminal; elsewhere a line is a deployment or a switch.
    let all: Vec<&Row> = width.map(|_| &head).into_iter().chain(rows).collect();
    let longest = |at: usize| {
        let lengths = all.iter().filter_map(|row| row.cells.get(at)).map(|cell| cell.chars().count());
        lengths.max().unwrap_or_default()
    };
    let widths: Vec<usize> = (0..head.cells.len()).map(longest).collect();
    for row in all {
        let cells = row.cells.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        let line = format!("{}  {}", cells.collect::<Vec<_>>().join("  "), row.why);
        lines.push(cut(line.trim_end(), width));
    }
    lines
}

impl Row {
    fn of(one: &DeploymentStatus) -> Self {
        let version = match (one.previous_version.as_str(), one.version.as_str()) {
            ("", version) => column(version),
            (previous, version) => format!("{} -> {}", column(previous), column(version)),
        };
        let outcome = match one.outcome {
            Some(outcome) => outcome.as_str().replace('_', " "),
            None => one.phase.replace('_', " "),
        };
        let with = match one.with.is_empty() {
            true => String::new(),
            false => format!(" (together with \"{}\")", one.with.join("\", \"")),
        };
        let took = one.ended.as_deref().and_then(|ended| between(&one.started, ended)).map(short);
        Self {
            time: one.started.clone(),
            cells: [
                local(&one.started),
                one.deployment.clone(),
                format!("{version} on {}", one.to),
                outcome,
                took.unwrap_or_default(),
                plain(&one.asked_by).into_owned(),
            ],
            why: plain(&format!("{}{with}", why(one))).into_owned(),
        }
    }

    fn of_switch(one: &SwitchStatus) -> Self {
        Self {
            time: one.switched.clone(),
            cells: [
                local(&one.switched),
                one.group.clone(),
                format!("{} -> {}", one.from, one.to),
                "by hand".to_owned(),
                String::new(),
                plain(&one.asked_by).into_owned(),
            ],
            why: plain(&one.reason).into_owned(),
        }
    }

    fn of_act(one: &ActStatus) -> Self {
        Self {
            time: one.done.clone(),
            cells: [
                local(&one.done),
                one.group.clone().unwrap_or_else(|| "all groups".to_owned()),
                plain(&one.what).into_owned(),
                "by hand".to_owned(),
                String::new(),
                plain(&one.asked_by).into_owned(),
            ],
            why: plain(&one.reason).into_owned(),
        }
    }
}

/// One short reason: why it was begun, or for trouble what went wrong.
fn why(one: &DeploymentStatus) -> String {
    let line = one.message.lines().next().unwrap_or_default();
    match one.outcome {
        Some(Outcome::Completed) | None if !one.reason.is_empty() => one.reason.clone(),
        Some(Outcome::Completed) => String::new(),
        _ => {
            let back = format!("rolled back to slot \"{}\": ", one.from);
            let line = line.split_once(&back).map_or(line, |(_, cause)| cause);
            line.split("; ").next().unwrap_or_default().to_owned()
        }
    }
}

/// A time of the API in the zone of this machine, to the minute.
pub(super) fn local(time: &str) -> String {
    match time.parse::<jiff::Timestamp>() {
        Ok(at) => at.to_zoned_datetime(jiff::tz::TimeZone::system()).strftime("%Y-%m-%d %H:%M").to_string(),
        Err(_) => time.to_owned(),
    }
}

/// The time from one text of the API to another.
pub(super) fn between(begin: &str, end: &str) -> Option<Duration> {
    let (begin, end): (jiff::Timestamp, jiff::Timestamp) = (begin.parse().ok()?, end.parse().ok()?);
    Duration::try_from(end.duration_since(begin)).ok()
}

/// `42 s`, `3 min 5 s`, `2 h 10 min`.
pub(super) fn short(time: Duration) -> String {
    match time.as_secs() {
        seconds @ 0..60 => format!("{seconds} s"),
        seconds @ 60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        seconds => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn deployment(outcome: Option<&str>, message: &str, reason: &str) -> DeploymentStatus {
        serde_json::from_value(serde_json::json!({
            "deployment": "shop-1", "group": "shop", "version": "2", "previous_version": "1", "from": "blue",
            "to": "green", "phase": "soaking", "step": 1, "steps": 1, "outcome": outcome, "message": message,
            "asked_by": "alice (as root)", "reason": reason, "started": "2026-05-04T09:12:31Z",
            "updated": "2026-05-04T10:13:00Z", "ended": "2026-05-04T09:13:36Z",
        }))
        .unwrap()
    }

    #[test]
    fn one_row_a_deployment() {
        let bad =
            deployment(Some("rolled_back"), "x; rolled back to slot \"blue\": all failed; more", "the fix");
        let good = deployment(Some("completed"), "done", "the fix");
        let rows = [Row::of(&bad), Row::of(&good), Row::of(&deployment(None, "watching it", ""))];
        assert_eq!(table(&rows, None).len(), 3);
        let lines = table(&rows, Some(500));
        assert!(lines[0].starts_with("WHEN") && lines[0].ends_with("WHY"), "{lines:?}");
        assert!(
            lines[1].contains(
                "  shop-1      1 -> 2 on green  rolled back  1 min 5 s  alice (as root)  all failed"
            )
        );
        assert!(lines[2].ends_with("  completed    1 min 5 s  alice (as root)  the fix"), "{lines:?}");
        assert!(lines[3].contains("  soaking ") && lines[3].ends_with("  watching it"), "{lines:?}");
        assert!(table(&rows, Some(60)).iter().all(|line| line.chars().count() <= 60));
        assert!(table(&[], None).is_empty());
    }

    #[test]
    fn short_times() {
        let shown = [5, 65, 3600, 7870].map(|seconds| short(Duration::from_secs(seconds)));
        assert_eq!(shown, ["5 s", "1 min 5 s", "1 h 0 min", "2 h 11 min"]);
    }
}
