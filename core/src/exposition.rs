//! `GET /metrics`: the counters in the text format of Prometheus.
//!
//! Every series is labelled by group, and by slot where it is one's. A slot that has never had a request shows only its share,
//! so that thousands of idle groups cost little; its other series begin with its first request.

use std::borrow::Cow;
use std::fmt::Write;

use crate::counters::Responses;
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
    /// What was counted; `None`: never had a request.
    pub sum: Option<Sum>,
}

/// Bounds of the latency buckets: 2^8 to 2^25 microseconds (0.26 ms to 34 s). Powers of two, because there the fine histogram
/// has a bound too, and the counts are exact.
const BUCKET_POWERS: std::ops::RangeInclusive<u32> = 8..=25;

/// The whole page.
pub fn render(module: &str, nginx: &str, groups: &[GroupMetrics<'_>]) -> String {
    let mut page = Page::new(groups);
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

    page.counter("requests_total", "Requests given to the slot, subrequests included.", |sum| {
        sum.counters.requests
    });
    page.counters(
        "responses_total",
        "Finished requests by how they ended.",
        ("class", ["1xx", "2xx", "3xx", "4xx", "5xx", "aborted", "rescued"]),
        |sum| {
            let Responses {
                informational,
                success,
                redirection,
                client_error,
                server_error,
                aborted,
                rescued,
            } = sum.counters.responses;
            [informational, success, redirection, client_error, server_error, aborted, rescued]
        },
    );
    page.counters(
        "server_errors_total",
        "Finished requests that ended with one of these statuses.",
        ("status", ["500", "502", "503", "504"]),
        |sum| sum.server_errors.by_status().map(|(_, count)| count),
    );
    page.counter("attempts_total", "Tries of a server of the slot.", |sum| sum.counters.attempts);
    page.counters(
        "attempts_failed_total",
        "Tries that failed, by what was wrong.",
        ("reason", ["connect", "timeout", "answer", "status", "no_peer"]),
        |sum| sum.failures.by_reason().map(|(_, count)| count),
    );
    page.counter("sent_bytes_total", "Bytes sent to the slot.", |sum| sum.bytes.sent);
    page.counter("received_bytes_total", "Bytes received from the slot.", |sum| sum.bytes.received);
    page.gauge(
        "requests_in_flight",
        "Requests that the slot holds now, upgraded connections included.",
        |sum| sum.counters.in_flight,
    );
    page.gauge("upgraded_connections", "Upgraded connections that are open now.", |sum| sum.upgraded);
    page.histogram(
        "first_byte_seconds",
        "From the begin of an attempt to the first byte of its answer.",
        |sum| &sum.first_byte,
    );
    page.histogram("answer_seconds", "From the begin of an attempt to the end of its answer.", |sum| {
        &sum.whole
    });
    page.text
}

struct Page<'a> {
    text: String,
    groups: &'a [GroupMetrics<'a>],
    /// The slots that have had a request: their labels, open for more, and what was counted.
    used: Vec<(String, &'a Sum)>,
}

// Writing to a string cannot fail.
impl<'a> Page<'a> {
    fn new(groups: &'a [GroupMetrics<'a>]) -> Self {
        let used = groups.iter().flat_map(|group| {
            group.slots.iter().filter_map(|slot| {
                let labels = format!("{{group=\"{}\",slot=\"{}\"", label(group.name), label(slot.name));
                Some((labels, slot.sum.as_ref()?))
            })
        });
        Self { text: String::new(), groups, used: used.collect() }
    }

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
    fn counter(&mut self, name: &str, help: &str, value: impl Fn(&Sum) -> u64) {
        self.family(name, "counter", help);
        self.series(name, value);
    }

    /// A counter with one value for each word of a label.
    fn counters<const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        (label, words): (&str, [&str; N]),
        values: impl Fn(&Sum) -> [u64; N],
    ) {
        self.family(name, "counter", help);
        let name = format!("cutover_{name}");
        let ends = words.map(|word| format!(",{label}=\"{word}\"}} "));
        for (labels, sum) in &self.used {
            for (end, value) in ends.iter().zip(values(sum)) {
                line(&mut self.text, &name, labels, end, value);
            }
        }
    }

    fn gauge(&mut self, name: &str, help: &str, value: impl Fn(&Sum) -> u64) {
        self.family(name, "gauge", help);
        self.series(name, value);
    }

    fn series(&mut self, name: &str, value: impl Fn(&Sum) -> u64) {
        let name = format!("cutover_{name}");
        for (labels, sum) in &self.used {
            line(&mut self.text, &name, labels, "} ", value(sum));
        }
    }

    fn histogram(&mut self, name: &str, help: &str, of: impl for<'s> Fn(&'s Sum) -> &'s Histogram) {
        self.family(name, "histogram", help);
        let [bucket, sum, count] = ["bucket", "sum", "count"].map(|part| format!("cutover_{name}_{part}"));
        let ends: Vec<(u64, String)> =
            BUCKET_POWERS.map(|power| (1 << power, format!(",le=\"{}\"}} ", seconds(1 << power)))).collect();
        for (labels, counted) in &self.used {
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
        let slots = vec![
            SlotMetrics { name: "blue", parts: 9_995, sum: Some(sum) },
            SlotMetrics { name: "green", parts: 5, sum: None },
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
        ] {
            assert!(page.lines().any(|found| found == line), "{line} is not in\n{page}");
        }
        assert!(
            !page.contains("requests_total{group=\"shop\",slot=\"green\"}"),
            "an idle slot costs one line"
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
