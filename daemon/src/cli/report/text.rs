//! The report on a terminal.

use std::fmt::Write;

use cutover_core::shell::quoted;

use super::plot::{Plot, plots, short, sparkline};
use crate::cli::history::{between, local, short as took};
use crate::cli::terminal::plain;
use crate::cli::width::cut;
use crate::control::{DeploymentStatus, Report};

/// Columns of a plot.
const COLUMNS: usize = 48;
/// Lines of output of one command.
const LINES: usize = 10;

/// The whole page.
pub(super) fn page(report: &Report, width: Option<usize>, program: &str) -> String {
    let mut page = String::new();
    let one = &report.deployment;
    for line in head(one) {
        let _ = writeln!(page, "{line}");
    }
    let _ = writeln!(page, "\nTimeline");
    for event in &report.events {
        let seconds = between(&one.started, &event.time).map_or(0.0, |time| time.as_secs_f64());
        for (at, line) in event.message.lines().enumerate() {
            let begin = match at {
                0 => format!("{seconds:9.1} s  {:<15}", event.phase),
                _ => format!("{:28}|", ""),
            };
            let _ = writeln!(page, "{}", cut(&format!("{begin} {}", plain(line)), width));
        }
    }
    let _ = writeln!(page, "\nFigures");
    if report.figures.is_empty() {
        let _ = writeln!(page, "  none: the deployment moved no traffic, or another host has them");
    }
    for plot in plots(&report.figures, COLUMNS).iter().filter(|_| !report.figures.is_empty()) {
        page.push_str(&lines_of(plot, one));
    }
    let _ = writeln!(page, "\nCommands");
    if report.outputs.is_empty() {
        let _ = writeln!(page, "  none has left output on this host");
    }
    for output in &report.outputs {
        let (id, name) = (quoted(&one.deployment), quoted(&output.name));
        let _ = writeln!(
            page,
            "  {}, {} bytes; all of it: {program} logs {id} {name}",
            output.name, output.bytes
        );
        let lines: Vec<&str> = output.end.lines().collect();
        for line in lines.iter().skip(lines.len().saturating_sub(LINES)) {
            let _ = writeln!(page, "{}", cut(&format!("    | {}", plain(line)), width));
        }
    }
    page
}

/// What it was, how it ended, who and why.
pub(super) fn head(one: &DeploymentStatus) -> Vec<String> {
    let from = if one.previous_version.is_empty() { "none that is known" } else { &one.previous_version };
    let outcome =
        one.outcome.map_or(one.phase.replace('_', " "), |outcome| outcome.as_str().replace('_', " "));
    let time = one.ended.as_deref().and_then(|ended| between(&one.started, ended));
    let time = time.map(|time| format!(" after {}", took(time))).unwrap_or_default();
    let reason = if one.reason.is_empty() { String::new() } else { format!(", reason \"{}\"", one.reason) };
    let with = match one.with.as_slice() {
        [] => String::new(),
        with => format!(", together with \"{}\"", with.join("\", \"")),
    };
    let lines = [
        format!("Deployment {} of group \"{}\"{with}", one.deployment, one.group),
        format!("  version   {from} -> {}", one.version),
        format!("  slots     {} -> {}", one.from, one.to),
        format!("  begun     {} by {}{reason}", local(&one.started), one.asked_by),
        format!("  outcome   {outcome}{time}"),
        format!("            {}", one.message.lines().next().unwrap_or_default()),
    ];
    lines.iter().map(|line| plain(line).into_owned()).collect()
}

fn lines_of(plot: &Plot, one: &DeploymentStatus) -> String {
    let highest = plot.highest();
    let line = |name: &str, slot: &str, values: &[Option<f64>]| {
        let most = values.iter().flatten().copied().reduce(f64::max);
        let most = most.map_or("no answers".to_owned(), |most| format!("max {}{}", short(most), plot.unit));
        format!("  {name:<8} {slot:<10} {}  {most}\n", sparkline(values, highest))
    };
    format!("{}{}", line(plot.name, &one.to, &plot.new), line("", &one.from, &plot.old))
}
