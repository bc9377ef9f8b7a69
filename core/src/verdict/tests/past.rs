use std::time::Duration;

use super::scripted::{Second, pass, reading};
use crate::verdict::{EdgeReading, Past, Reading, Sample};

const KEPT: Duration = Duration::from_secs(600);

struct Life {
    past: Past,
    slot: Sample,
    seconds: f64,
}

impl Life {
    fn new() -> Self {
        let mut life = Self { past: Past::default(), slot: Sample::default(), seconds: 50_000.0 };
        pass(&mut life.slot, Second { error: 9, ..Second::default() });
        life.look();
        life
    }

    fn look(&mut self) {
        self.past.observe(&reading(self.seconds, false, Some(&self.slot), &Sample::default()), KEPT);
    }

    fn run(&mut self, seconds: u64, second: Second) {
        for _ in 0..seconds {
            self.seconds += 1.0;
            pass(&mut self.slot, second);
            self.look();
        }
    }

    /// Seconds, answers and bad ones.
    fn known(&self) -> (u64, u64, u64) {
        let (took, evidence) = self.past.known();
        (took.as_secs(), evidence.answers().of, evidence.answers().bad)
    }
}

fn unread(seconds: f64) -> Reading {
    let edge = EdgeReading { edge: "edge1".to_owned(), new: None, old: None };
    Reading { at: Duration::from_secs_f64(seconds), split: false, edges: vec![edge] }
}

const USUAL: Second =
    Second { ok: 97, redirect: 0, not_found: 0, error: 3, hang: 0, give_up: 0, upgrade: 0, ms: 0 };

#[test]
fn what_was_counted_before_does_not_count() {
    let mut life = Life::new();
    assert_eq!(life.known(), (0, 0, 0));
    life.run(60, USUAL);
    assert_eq!(life.known(), (60, 6_000, 180));
}

#[test]
fn old_evidence_falls_away_and_the_number_of_spans_is_bounded() {
    let mut life = Life::new();
    life.run(300, Second { error: 100, ..Second::default() });
    life.run(3_000, USUAL);
    let (took, answers, bad) = life.known();
    assert!((580..=600).contains(&took), "{took}");
    assert_eq!((answers, bad), (took * 100, took * 3));
    let json = serde_json::to_string(&life.past).unwrap();
    assert!(json.len() < 100_000, "{} bytes: it does not grow", json.len());
    // A shorter time is kept from now on.
    life.past.observe(&reading(life.seconds, false, None, &Sample::default()), KEPT / 10);
    assert!(life.known().0 <= 60, "{:?}", life.known());
}

#[test]
fn another_nginx_is_counted_from_its_start_and_nothing_twice() {
    let mut life = Life::new();
    life.run(100, USUAL);
    life.slot = Sample::default();
    life.run(100, USUAL);
    assert_eq!(life.known(), (200, 20_000, 600));
}

#[test]
fn an_edge_that_cannot_be_read_for_a_while_is_caught_up_with() {
    let mut life = Life::new();
    life.run(10, USUAL);
    for _ in 0..30 {
        life.seconds += 1.0;
        pass(&mut life.slot, USUAL);
        life.past.observe(&unread(life.seconds), KEPT);
    }
    life.run(1, USUAL);
    assert_eq!(life.known(), (41, 4_100, 123));
}

#[test]
fn a_connection_that_opens_and_stays_is_no_short_one() {
    let mut life = Life::new();
    life.run(10, Second { upgrade: 1, ..USUAL });
    // They close one after another, each after ten seconds.
    for _ in 0..60 {
        life.slot.upgraded -= 1;
        life.slot.counters.responses.informational += 1;
        life.slot.counters.in_flight -= 1;
        life.run(1, Second { upgrade: 1, ..USUAL });
    }
    let evidence = life.past.known().1;
    assert_eq!((evidence.upgrades, evidence.short_upgrades), (70, 0));
}
