//! The report as one HTML page: no script, and nothing from elsewhere. Every text is escaped.

use std::fmt::Write;

use super::plot::{Plot, plots, short};
use super::text::head;
use crate::cli::history::between;
use crate::cli::terminal::plain;
use crate::control::{DeploymentStatus, Report};

/// Size of a plot.
const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 120.0;
/// Values of a plot.
const MOST: usize = 600;

const STYLE: &str = "
body { font: 15px/1.45 system-ui, sans-serif; margin: 2rem auto; max-width: 60rem; padding: 0 1rem }
body { color: #1b1b1b; background: #fff }
h2 { margin-top: 2rem; border-bottom: 1px solid #ccc }
pre { background: #f4f4f4; padding: .6rem; overflow-x: auto; white-space: pre-wrap }
table { border-collapse: collapse } td { padding: .15rem .8rem .15rem 0; vertical-align: top } td:first-child { text-align: right }
figure { margin: 1rem 0 } svg { background: #fafafa; border: 1px solid #ddd; max-width: 100%; height: auto }
.new { stroke: #1668c7; color: #1668c7 } .old { stroke: #b0651d; color: #b0651d } polyline { fill: none; stroke-width: 1.5 }";

/// The whole page.
pub(super) fn page(report: &Report) -> String {
    let one = &report.deployment;
    let title = escaped(&format!("Deployment {}", one.deployment));
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<title>{title}</title>\n<style>{STYLE}\n</style>\n\
         </head>\n<body>\n<h1>{title}</h1>\n<pre>"
    );
    let _ = writeln!(page, "{}</pre>", escaped(&head(one).join("\n")));
    let _ = writeln!(page, "<h2>Figures</h2>");
    if report.figures.is_empty() {
        let _ = writeln!(page, "<p>None: the deployment moved no traffic, or another host has them.</p>");
    }
    for plot in plots(&report.figures, MOST).iter().filter(|_| !report.figures.is_empty()) {
        page.push_str(&figure(plot, one));
    }
    let _ = writeln!(page, "<h2>Timeline</h2>\n<table>");
    for event in &report.events {
        let seconds = between(&one.started, &event.time).map_or(0.0, |time| time.as_secs_f64());
        let (phase, message) = (escaped(&event.phase), escaped(&event.message));
        let _ = writeln!(page, "<tr><td>{seconds:.1} s</td><td>{phase}</td><td>{message}</td></tr>");
    }
    let _ = writeln!(page, "</table>\n<h2>Commands</h2>");
    if report.outputs.is_empty() {
        let _ = writeln!(page, "<p>None has left output on this host.</p>");
    }
    for output in &report.outputs {
        let (name, end) = (escaped(&output.name), escaped(&output.end));
        let _ = writeln!(page, "<h3>{name}, {} bytes</h3>\n<pre>{end}</pre>", output.bytes);
    }
    page.push_str("</body>\n</html>\n");
    page
}

fn figure(plot: &Plot, one: &DeploymentStatus) -> String {
    let highest = plot.highest();
    let caption = format!(
        "{} <span class=\"new\">{}</span> <span class=\"old\">{}</span>, highest {}{}",
        escaped(plot.name),
        escaped(&one.to),
        escaped(&one.from),
        short(highest),
        escaped(plot.unit)
    );
    format!(
        "<figure><figcaption>{caption}</figcaption>\n<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" width=\"{WIDTH}\" height=\"{HEIGHT}\" \
         role=\"img\">\n{}{}</svg></figure>\n",
        lines(&plot.old, highest, "old"),
        lines(&plot.new, highest, "new")
    )
}

/// One line for each span with values.
fn lines(values: &[Option<f64>], highest: f64, class: &str) -> String {
    let step = WIDTH / values.len().max(2).saturating_sub(1) as f64;
    let place = |at: usize, value: f64| {
        let height = if highest > 0.0 { value / highest } else { 0.0 };
        format!("{:.1},{:.1}", at as f64 * step, (HEIGHT - 4.0) - height * (HEIGHT - 8.0))
    };
    let mut text = String::new();
    let mut open: Vec<String> = Vec::new();
    for (at, value) in values.iter().enumerate().map(|(at, value)| (at, *value)).chain([(values.len(), None)])
    {
        match value {
            Some(value) => open.push(place(at, value)),
            None if open.is_empty() => {}
            None => {
                let _ = writeln!(text, "<polyline class=\"{class}\" points=\"{}\"/>", open.join(" "));
                open.clear();
            }
        }
    }
    text
}

/// A text that is no markup.
fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in plain(text).chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            c => safe.push(c),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_text_is_markup() {
        assert_eq!(
            escaped("<b a='1' c=\"2\">&\u{1b}"),
            "&lt;b a=&#39;1&#39; c=&quot;2&quot;&gt;&amp;\\u{1b}"
        );
    }

    #[test]
    fn a_gap_ends_a_line() {
        let drawn = lines(&[Some(1.0), Some(2.0), None, Some(4.0)], 4.0, "new");
        assert_eq!(drawn.lines().count(), 2, "{drawn}");
        assert!(drawn.contains("points=\"0.0,88.0 213.3,60.0\""), "{drawn}");
    }
}
