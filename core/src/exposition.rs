//! `GET /metrics`: the counters in the text format of Prometheus.
//!
//! Every series is labelled by group, and by slot where it is one's. A slot that has never had a request shows only its share,
//! so that thousands of idle groups cost little; its other series begin with its first request, those of previews with its first
//! preview.

use std::borrow::Cow;
use std::fmt::Write;

use crate::counters::Previews;
use crate::fraction::Share;
use crate::latency::Histogram;
use crate::shard::Sum;

/// What there is to say of a group.
#[derive(Clone, Debug)]
pub struct GroupMetrics<'a> {
    /// Its name.
    pub name: &'a str,
    /// The route's generation.
    pub generation: u32,
    /// Whether the last change is on trial.
    pub on_trial: bool,
    /// Whether its trial is held: the traffic should have gone back, and could not.
    pub held: bool,
    /// Its slots.
    pub slots: Vec<SlotMetrics<'a>>,
}

/// What there is to say of a slot.
#[derive(Clone, Debug)]
pub struct SlotMetrics<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its part of the traffic, in 1/10000.
    pub parts: u16,
    /// What was counted of users' requests; `None`: never had one.
    pub sum: Option<Sum>,
    /// What was counted of previews; `None`: never had one.
    pub previews: Option<Previews>,
}

/// Bounds of the latency buckets: 2^8 to 2^25 microseconds (0.26 ms to 34 s). Powers of two, because there the fine histogram
/// has a bound too, and the counts are exact.
const BUCKET_POWERS: std::ops::RangeInclusive<u32> = 8..=25;

/// The whole page.
pub fn render(module: &str, nginx: &str, groups: &[GroupMetrics<'_>]) -> String {
    let mut page = Page { text: String::new(), groups };
    page.family("build_info", "gauge", "The module and the nginx that it runs in.");
    let _ = writeln!(page.text, "cutover_build_info{{module=\"{module}\",nginx=\"{nginx}\"}} 1");
    page.by_group("route_generation", "How many times the route has changed.", |group| group.generation);
    page.by_group("trial_armed", "Whether the last change of the route is on trial.", |group| {
        u32::from(group.on_trial)
    });
    page.by_group(
        "trial_held",
        "Whether the traffic should have gone back by itself, and could not: a human must look.",
        |group| u32::from(group.held),
    );
    page.share();
    users(&mut page, &rows(groups, |slot| slot.sum.as_ref()));
    previews(&mut page, &rows(groups, |slot| slot.previews.as_ref()));
    page.text
}

fn users(page: &mut Page<'_>, slots: &Rows<'_, Sum>) {
    page.counter(
        slots,
        "requests_total",
        "Requests of users given to the slot, subrequests included.",
        |sum| sum.counters.requests,
    );
    page.counters(
        slots,
        "responses_total",
        "Finished requests of users by how they ended.",
        ("class", ["1xx", "2xx", "3xx", "4xx", "5xx", "aborted", "rescued"]),
        |sum| sum.counters.responses.by_class().map(|(_, count)| count),
    );
    page.counters(
        slots,
        "server_errors_total",
        "Finished requests of users that ended with one of these statuses.",
        ("status", ["500", "502", "503", "504"]),
        |sum| sum.server_errors.by_status().map(|(_, count)| count),
    );
    page.counter(slots, "attempts_total", "Tries of a server of the slot for users.", |sum| {
        sum.counters.attempts
    });
    page.counters(
        slots,
        "attempts_failed_total",
        "Tries for users that failed, by what was wrong.",
        ("reason", ["connect", "timeout", "answer", "status", "no_peer"]),
        |sum| sum.failures.by_reason().map(|(_, count)| count),
    );
    page.counter(slots, "sent_bytes_total", "Bytes sent to the slot for users.", |sum| sum.bytes.sent);
    page.counter(slots, "received_bytes_total", "Bytes received from the slot for users.", |sum| {
        sum.bytes.received
    });
    page.gauge(
        slots,
        "requests_in_flight",
        "Requests of users that the slot holds now, upgraded connections included.",
        |sum| sum.counters.in_flight,
    );
    page.gauge(slots, "upgraded_connections", "Upgraded connections of users that are open now.", |sum| {
        sum.upgraded
    });
    page.histogram(
        slots,
        "first_byte_seconds",
        "From the begin of an attempt for a user to the first byte of its answer.",
        |sum| &sum.first_byte,
    );
    page.histogram(
        slots,
        "answer_seconds",
        "From the begin of an attempt for a user to the end of its answer.",
        |sum| &sum.whole,
    );
}

fn previews(page: &mut Page<'_>, slots: &Rows<'_, Previews>) {
    page.counter(
        slots,
        "preview_requests_total",
        "Previews given to the slot, subrequests included.",
        |sum| sum.requests,
    );
    page.counters(
        slots,
        "preview_responses_total",
        "Finished previews by how they ended.",
        ("class", ["1xx", "2xx", "3xx", "4xx", "5xx", "aborted"]),
        |sum| {
            // No preview is rescued.
            let [counts @ .., _] = sum.responses.by_class().map(|(_, count)| count);
            counts
        },
    );
    page.gauge(
        slots,
        "preview_requests_in_flight",
        "Previews that the slot holds now, upgraded connections included.",
        |sum| sum.in_flight,
    );
    page.gauge(
        slots,
        "preview_upgraded_connections",
        "Upgraded connections of previews that are open now.",
        |sum| sum.upgraded,
    );
}

/// The slots that have had a request of a kind: their labels, open for more, and what was counted.
type Rows<'a, S> = [(String, &'a S)];

fn rows<'a, S>(
    groups: &'a [GroupMetrics<'a>],
    counted: impl Fn(&'a SlotMetrics<'a>) -> Option<&'a S>,
) -> Vec<(String, &'a S)> {
    let mut rows = Vec::new();
    for group in groups {
        for slot in &group.slots {
            if let Some(counted) = counted(slot) {
                rows.push((
                    format!("{{group=\"{}\",slot=\"{}\"", label(group.name), label(slot.name)),
                    counted,
                ));
            }
        }
    }
    rows
}

struct Page<'a> {
    text: String,
    groups: &'a [GroupMetrics<'a>],
}

// Writing to a string cannot fail.
impl Page<'_> {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        let _ = write!(self.text, "# HELP cutover_{name} {help}\n# TYPE cutover_{name} {kind}\n");
    }

    fn by_group(&mut self, name: &str, help: &str, value: impl Fn(&GroupMetrics<'_>) -> u32) {
        self.family(name, "gauge", help);
        for group in self.groups {
            let _ = writeln!(self.text, "cutover_{name}{{group=\"{}\"}} {}", label(group.name), value(group));
        }
    }

    fn share(&mut self) {
        self.family("slot_share_ratio", "gauge", "The slot's part of the traffic, 0 to 1.");
        for group in self.groups {
            for slot in &group.slots {
                let ratio = f64::from(slot.parts) / f64::from(Share::WHOLE);
                let _ = writeln!(
                    self.text,
                    "cutover_slot_share_ratio{{group=\"{}\",slot=\"{}\"}} {ratio}",
                    label(group.name),
                    label(slot.name)
                );
            }
        }
    }

    /// A counter with one value.
    fn counter<S>(&mut self, slots: &Rows<'_, S>, name: &str, help: &str, value: impl Fn(&S) -> u64) {
        self.family(name, "counter", help);
        self.series(slots, name, value);
    }

    /// A counter with one value for each word of a label.
    fn counters<S, const N: usize>(
        &mut self,
        slots: &Rows<'_, S>,
        name: &str,
        help: &str,
        (label, words): (&str, [&str; N]),
        values: impl Fn(&S) -> [u64; N],
    ) {
        self.family(name, "counter", help);
        let name = format!("cutover_{name}");
        let ends = words.map(|word| format!(",{label}=\"{word}\"}} "));
        for (labels, sum) in slots {
            for (end, value) in ends.iter().zip(values(sum)) {
                line(&mut self.text, &name, labels, end, value);
            }
        }
    }

    fn gauge<S>(&mut self, slots: &Rows<'_, S>, name: &str, help: &str, value: impl Fn(&S) -> u64) {
        self.family(name, "gauge", help);
        self.series(slots, name, value);
    }

    fn series<S>(&mut self, slots: &Rows<'_, S>, name: &str, value: impl Fn(&S) -> u64) {
        let name = format!("cutover_{name}");
        for (labels, sum) in slots {
            line(&mut self.text, &name, labels, "} ", value(sum));
        }
    }

    fn histogram(
        &mut self,
        slots: &Rows<'_, Sum>,
        name: &str,
        help: &str,
        of: impl for<'s> Fn(&'s Sum) -> &'s Histogram,
    ) {
        self.family(name, "histogram", help);
        let [bucket, sum, count] = ["bucket", "sum", "count"].map(|part| format!("cutover_{name}_{part}"));
        let ends: Vec<(u64, String)> =
            BUCKET_POWERS.map(|power| (1 << power, format!(",le=\"{}\"}} ", seconds(1 << power)))).collect();
        for (labels, counted) in slots {
            let (histogram, text) = (of(counted), &mut self.text);
            let below = histogram.counts_below(ends.iter().map(|(bound, _)| *bound));
            for ((_, end), below) in ends.iter().zip(below) {
                line(text, &bucket, labels, end, below);
            }
            let all = histogram.count();
            line(text, &bucket, labels, ",le=\"+Inf\"} ", all);
            let _ = writeln!(text, "{sum}{labels}}} {}", seconds(histogram.sum_us));
            line(text, &count, labels, "} ", all);
        }
    }
}

/// The value of a label, between its quotes.
fn label(name: &str) -> Cow<'_, str> {
    if name.contains(['\\', '"', '\n']) {
        name.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n").into()
    } else {
        name.into()
    }
}

/// Adds a line. A page may have a million: they are put together without the formatting machinery.
fn line(text: &mut String, name: &str, labels: &str, end: &str, value: u64) {
    let mut digits = itoa::Buffer::new();
    for part in [name, labels, end, digits.format(value), "\n"] {
        text.push_str(part);
    }
}

/// Microseconds as seconds.
fn seconds(micros: u64) -> f64 {
    micros as f64 / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::counters::Responses;
    use crate::shard::{AttemptFailure, RequestEnd, Shard};

    fn page() -> String {
        let shard = Box::<Shard>::default();
        shard.hold();
        shard.started();
        shard.attempt();
        shard.attempt_failed(AttemptFailure::Timeout);
        shard.transferred(100, 2_000);
        shard.first_byte(300);
        shard.first_byte(40_000_000);
        shard.finished(RequestEnd::Status(504));
        let mut sum = Sum::default();
        shard.add_to(&mut sum, true);
        let responses = Responses { success: 4, aborted: 1, ..Responses::default() };
        let previews = Previews { requests: 8, responses, in_flight: 3, upgraded: 2 };
        let slots = vec![
            SlotMetrics { name: "blue", parts: 9_995, sum: Some(sum), previews: None },
            SlotMetrics { name: "green", parts: 5, sum: None, previews: Some(previews) },
        ];
        render(
            "0.1.0",
            "1.28.3",
            &[GroupMetrics { name: "shop", generation: 7, on_trial: true, held: false, slots }],
        )
    }

    #[test]
    fn values() {
        let page = page();
        for line in [
            "cutover_build_info{module=\"0.1.0\",nginx=\"1.28.3\"} 1",
            "cutover_route_generation{group=\"shop\"} 7",
            "cutover_trial_armed{group=\"shop\"} 1",
            "cutover_trial_held{group=\"shop\"} 0",
            "cutover_slot_share_ratio{group=\"shop\",slot=\"blue\"} 0.9995",
            "cutover_slot_share_ratio{group=\"shop\",slot=\"green\"} 0.0005",
            "cutover_requests_total{group=\"shop\",slot=\"blue\"} 1",
            "cutover_responses_total{group=\"shop\",slot=\"blue\",class=\"5xx\"} 1",
            "cutover_server_errors_total{group=\"shop\",slot=\"blue\",status=\"504\"} 1",
            "cutover_attempts_failed_total{group=\"shop\",slot=\"blue\",reason=\"timeout\"} 1",
            "cutover_received_bytes_total{group=\"shop\",slot=\"blue\"} 2000",
            "cutover_requests_in_flight{group=\"shop\",slot=\"blue\"} 0",
            "cutover_first_byte_seconds_bucket{group=\"shop\",slot=\"blue\",le=\"0.000256\"} 0",
            "cutover_first_byte_seconds_bucket{group=\"shop\",slot=\"blue\",le=\"0.000512\"} 1",
            "cutover_first_byte_seconds_bucket{group=\"shop\",slot=\"blue\",le=\"33.554432\"} 1",
            "cutover_first_byte_seconds_bucket{group=\"shop\",slot=\"blue\",le=\"+Inf\"} 2",
            "cutover_first_byte_seconds_sum{group=\"shop\",slot=\"blue\"} 40.0003",
            "cutover_first_byte_seconds_count{group=\"shop\",slot=\"blue\"} 2",
            "cutover_preview_requests_total{group=\"shop\",slot=\"green\"} 8",
            "cutover_preview_responses_total{group=\"shop\",slot=\"green\",class=\"2xx\"} 4",
            "cutover_preview_responses_total{group=\"shop\",slot=\"green\",class=\"aborted\"} 1",
            "cutover_preview_requests_in_flight{group=\"shop\",slot=\"green\"} 3",
            "cutover_preview_upgraded_connections{group=\"shop\",slot=\"green\"} 2",
        ] {
            assert!(page.lines().any(|found| found == line), "{line} is not in\n{page}");
        }
        for name in ["cutover_requests_total", "class=\"rescued\"", "cutover_requests_in_flight"] {
            let of_previews = page.lines().find(|line| line.contains(name) && line.contains("green"));
            assert_eq!(of_previews, None, "green had only previews");
        }
        assert!(
            !page.contains("cutover_preview_requests_total{group=\"shop\",slot=\"blue\"}"),
            "blue had none"
        );
    }

    #[test]
    fn names_do_not_end_their_label() {
        assert_eq!(label("*.example.com"), "*.example.com");
        assert_eq!(label("a\"b\\c"), "a\\\"b\\\\c");
    }

    #[test]
    fn each_family_is_one_block_with_help_and_type() {
        let page = page();
        let mut seen = Vec::new();
        for line in page.lines() {
            let name = match line.strip_prefix("# HELP ").or_else(|| line.strip_prefix("# TYPE ")) {
                Some(rest) => rest.split(' ').next().unwrap().to_owned(),
                None => {
                    let name = line.split('{').next().unwrap();
                    let base = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end));
                    base.filter(|base| base.ends_with("_seconds")).unwrap_or(name).to_owned()
                }
            };
            if seen.last() != Some(&name) {
                assert!(!seen.contains(&name), "{name} is in two places");
                assert!(line.starts_with("# HELP "), "{name} begins without help");
                seen.push(name);
            }
        }
    }
}
