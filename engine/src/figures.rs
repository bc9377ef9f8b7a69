//! The figures of both slots over a soak, point by point, for a report after the end.

use std::time::Duration;

use cutover_core::deployment::Time;
use cutover_core::verdict::spread::Spread;
use cutover_core::verdict::{EdgeReading, Sample};
use serde::{Deserialize, Serialize};

/// What both slots did in a span of time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Point {
    /// The end of the span.
    pub at: Time,
    /// Its length.
    pub span: Duration,
    /// The new slot.
    pub new: Done,
    /// The old slot.
    pub old: Done,
}

/// What one slot did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Done {
    /// Answers to users.
    pub answers: u64,
    /// The part of them that counts against the slot: 5xx and rescued.
    pub errors: u64,
    /// Latencies until the first byte.
    pub first_byte: Spread,
}

impl Point {
    /// What was counted between two readings of the same edges. An edge that is missing in one of them is left out.
    pub fn between(before: (Time, &[EdgeReading]), after: (Time, &[EdgeReading])) -> Self {
        let mut point =
            Self { at: after.0, span: before.0.until(after.0), new: Done::default(), old: Done::default() };
        for now in after.1 {
            let Some(then) = before.1.iter().find(|then| then.edge == now.edge) else { continue };
            point.new.count(then.new.as_ref(), now.new.as_ref());
            point.old.count(then.old.as_ref(), now.old.as_ref());
        }
        point
    }

    /// One point for this span and the one that follows.
    pub fn and(mut self, next: &Self) -> Self {
        self.at = next.at;
        self.span += next.span;
        self.new.add(&next.new);
        self.old.add(&next.old);
        self
    }
}

impl Done {
    fn count(&mut self, then: Option<&Sample>, now: Option<&Sample>) {
        let (Some(then), Some(now)) = (then, now) else { return };
        let counted = now.counters.since(&then.counters);
        self.add(&Self {
            answers: counted.answered(),
            errors: counted.errors(),
            first_byte: now.first_byte.since(&then.first_byte),
        });
    }

    fn add(&mut self, more: &Self) {
        self.answers = self.answers.saturating_add(more.answers);
        self.errors = self.errors.saturating_add(more.errors);
        self.first_byte.add(&more.first_byte);
    }
}

/// At most so many points: two that follow each other become one until they fit.
pub fn thinned(mut points: Vec<Point>, most: usize) -> Vec<Point> {
    while points.len() > most.max(1) {
        let mut left = points.into_iter();
        let mut half = Vec::new();
        while let Some(first) = left.next() {
            half.push(match left.next() {
                Some(second) => first.and(&second),
                None => first,
            });
        }
        points = half;
    }
    points
}

#[cfg(test)]
mod tests {
    use cutover_core::counters::{Counters, Responses};

    use super::*;

    fn reading(good: u64, bad: u64, slow: u64) -> Vec<EdgeReading> {
        let responses = Responses { success: good, server_error: bad, ..Responses::default() };
        let counters = Counters { requests: good + bad, responses, ..Counters::default() };
        let first_byte = [(10, good), (90, slow)].into_iter().collect();
        let new = Some(Sample { counters, first_byte, ..Sample::default() });
        vec![EdgeReading { edge: "nginx".to_owned(), new, old: None }]
    }

    #[test]
    fn a_point_is_what_came_between_two_readings() {
        let point = Point::between((Time(1000), &reading(10, 1, 1)), (Time(2000), &reading(30, 4, 3)));
        assert_eq!((point.at, point.span), (Time(2000), Duration::from_secs(1)));
        assert_eq!((point.new.answers, point.new.errors, point.new.first_byte.count()), (23, 3, 22));
        assert_eq!(point.old, Done::default());
    }

    #[test]
    fn nothing_is_lost_when_points_are_thinned() {
        let point = |at| Point {
            at: Time(at * 1000),
            span: Duration::from_secs(1),
            new: Done { answers: at, errors: 1, first_byte: Spread::default() },
            old: Done::default(),
        };
        let points = thinned((1..=11).map(point).collect(), 3);
        assert_eq!(points.len(), 3);
        assert_eq!(points.iter().map(|point| point.new.answers).sum::<u64>(), 66);
        assert_eq!(points.iter().map(|point| point.span.as_secs()).sum::<u64>(), 11);
        assert_eq!(points.last().unwrap().at, Time(11_000));
    }
}
