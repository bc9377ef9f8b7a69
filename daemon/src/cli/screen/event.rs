//! The events of a deployment as lines. A step that is tried again and again is told once, with a count.

use jiff::Timestamp;

use super::live::words;
use super::{Line, Now, Style};
use crate::api::DeploymentEvent;

/// Where the messages begin, without the label.
const MESSAGES: usize = 27;

/// Tells the events of one deployment.
#[derive(Debug)]
pub(in crate::cli) struct Telling {
    begin: Option<Timestamp>,
    /// What comes before the phase, if several deployments are told at once.
    label: String,
    /// Failed tries that were not told.
    untold: u32,
}

impl Telling {
    pub(in crate::cli) fn new(label: String) -> Self {
        Self { begin: None, label, untold: 0 }
    }

    /// The lines of the next event.
    pub(in crate::cli) fn lines(&mut self, event: &DeploymentEvent, now: &Now) -> Vec<Line> {
        if event.tries > 1 {
            self.untold = event.tries;
            return Vec::new();
        }
        let mut lines = Vec::new();
        if let tries @ 1.. = std::mem::take(&mut self.untold) {
            let blank = " ".repeat(MESSAGES + self.label.len());
            lines.push(
                Line::new(blank.len()).text(&blank).add(Style::Dim, format!("{} tries in all", tries + 1)),
            );
        }
        let message = now.local(&event.message);
        // The three lines at the end say it.
        let is_said = event.ending.is_some();
        let mut texts = message.lines().filter(|_| !is_said);
        lines.push(self.first(event, texts.next().unwrap_or_default()));
        let indent = MESSAGES + self.label.len();
        lines.extend(
            texts.map(|text| Line::new(indent + 2).text(" ".repeat(indent)).add(Style::Dim, "| ").text(text)),
        );
        lines
    }

    fn first(&mut self, event: &DeploymentEvent, text: &str) -> Line {
        let at: Option<Timestamp> = event.time.parse().ok();
        let begin = *self.begin.get_or_insert(at.unwrap_or_default());
        let seconds = at.map_or(0.0, |at| at.duration_since(begin).as_secs_f64());
        Line::new(MESSAGES + self.label.len())
            .add(Style::Dim, format!("{seconds:7.1} s  "))
            .add(Style::Bold, &self.label)
            .column(style(&event.phase), words(&event.phase), 15)
            .text(" ")
            .text(text)
    }
}

/// The style of a phase.
pub(super) fn style(phase: &str) -> Style {
    match phase {
        "warm" | "completed" => Style::Good,
        "tearing_down" | "rolling_back" => Style::Doubt,
        "failed" | "rolled_back" | "stuck" => Style::Bad,
        _ => Style::Plain,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(second: u32, phase: &str, message: &str, tries: u32) -> DeploymentEvent {
        DeploymentEvent {
            time: format!("2026-11-30T12:00:{second:02}Z"),
            deployment: "shop-1".to_owned(),
            group: "shop".to_owned(),
            phase: phase.to_owned(),
            message: message.to_owned(),
            seq: 1,
            outcome: None,
            exit_code: None,
            glance: None,
            tries,
            ending: None,
        }
    }

    fn told(events: &[DeploymentEvent], label: &str) -> Vec<String> {
        let now = Now::of("2026-11-30T12:00:00Z", "UTC");
        let mut telling = Telling::new(label.to_owned());
        let lines = events.iter().flat_map(|event| telling.lines(event, &now));
        lines.flat_map(|line| line.rows(Some(60), false)).collect()
    }

    #[test]
    fn messages_are_wrapped_beside_their_phase() {
        let events = [
            event(0, "provisioning", "deploying version 2 to slot \"green\", which is idle", 0),
            event(2, "probing", "started\nwith a second line", 0),
        ];
        assert_eq!(
            told(&events, "shop  "),
            [
                "    0.0 s  shop  provisioning    deploying version 2 to slot",
                "                                 \"green\", which is idle",
                "    2.0 s  shop  probing         started",
                "                                 | with a second line",
            ]
        );
    }

    #[test]
    fn retries_are_told_once_with_a_count() {
        let again = |tries| event(tries, "rolling_back", "blue is sick; switching back", tries);
        let events = [again(1), again(2), again(3), event(9, "rolling_back", "traffic is back", 0)];
        assert_eq!(
            told(&events, ""),
            [
                "    0.0 s  rolling back    blue is sick; switching back",
                "                           4 tries in all",
                "    8.0 s  rolling back    traffic is back",
            ]
        );
    }
}
