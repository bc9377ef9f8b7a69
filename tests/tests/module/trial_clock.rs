//! The host's wall clock steps while a change is on trial: lease and guard use the monotonic clock, and the wall clock counts
//! only after a reboot.

use std::time::{Duration, Instant};

use cutover_core::api::Group;
use cutover_core::event::Kind;
use cutover_tests::state_file::StateFile;
use cutover_tests::stepping_clock::SHOWS_TIME;
use cutover_tests::test_edge::{LOCATION, TestEdge, UPSTREAMS};
use cutover_tests::{Action, SteppingClock, wait};

const HOUR: i64 = 3600;
const DAY: i64 = 24 * HOUR;
const YEAR: i64 = 365 * DAY;

/// Steps of the wall clock. With a lease by the wall clock, steps ahead would end it too early, and the last step back would
/// keep it from ending.
const STEPS: [i64; 6] = [-2 * HOUR, HOUR, 10 * YEAR, -10 * YEAR, 30 * DAY, -HOUR];

/// The error of nginx's clock, which is updated once per event loop, with the resolution of the kernel's ticks.
const COARSE: Duration = Duration::from_millis(20);

/// The delay that a busy machine may cause.
const LATE: Duration = Duration::from_secs(5);

struct SteppedEdge {
    clock: SteppingClock,
    edge: TestEdge,
}

/// The time of a call and of its reply: the call took effect in between.
#[derive(Clone, Copy)]
struct Span(Instant, Instant);

impl SteppedEdge {
    async fn start() -> Option<Self> {
        let clock = SteppingClock::new().unwrap()?;
        let location = format!("{LOCATION} location = /now {{ return 204; {SHOWS_TIME} }}");
        let builder = clock.builder().http(&TestEdge::http(UPSTREAMS, &location));
        Some(Self { edge: TestEdge::start_with(builder).await.unwrap(), clock })
    }

    async fn step(&self, seconds: i64) {
        self.clock.step(seconds, &self.edge.nginx, "/now").await.unwrap();
    }

    async fn get(&self) -> u16 {
        self.edge.get("/").await.unwrap().status
    }

    async fn group(&self) -> Group {
        self.edge.group().await.unwrap()
    }

    async fn change(&self, json: &str) -> Span {
        let called = Instant::now();
        self.edge.change(json).await.unwrap();
        Span(called, Instant::now())
    }

    /// Waits for the end of a lease, and asserts that it is neither early nor late.
    async fn assert_ends_in_time(&self, armed: Span, lease: Duration) {
        let ended = async || self.group().await.route.active == "blue";
        wait::until_async(wait::PATIENCE, "the end of the lease", ended).await.unwrap();
        let early = armed.0.elapsed() + COARSE < lease;
        assert!(!early, "a lease of {lease:?} has ended after {:?}", armed.0.elapsed());
        assert!(armed.1.elapsed() < lease + LATE, "a lease of {lease:?}: {:?}", armed.1.elapsed());
        assert_eq!(self.group().await.events.last().unwrap().kind, Kind::Lease);
    }

    /// Asserts that the remaining time of a lease agrees with the monotonic clock.
    async fn assert_left(&self, armed: Span, lease: Duration) {
        let called = Instant::now();
        let left = self.group().await.route.trial.unwrap().lease_left_ms.unwrap();
        let most = lease.saturating_sub(called - armed.1) + COARSE;
        let least = lease.saturating_sub(armed.0.elapsed() + COARSE);
        let left = Duration::from_millis(left);
        assert!((least..=most).contains(&left), "{left:?} of {lease:?}, expected {least:?} to {most:?}");
    }

    fn reboot(&self) {
        StateFile::open(&self.edge.nginx).unwrap().reboot().unwrap();
    }
}

#[tokio::test]
async fn a_lease_ends_when_it_should_whatever_the_wall_clock_says() {
    let Some(stepped) = SteppedEdge::start().await else { return };
    let lease = Duration::from_secs(3);
    let armed = stepped.change(r#"{"active":"green","lease_ms":3000}"#).await;
    for (number, step) in STEPS.into_iter().enumerate() {
        stepped.step(step).await;
        if number == 3 {
            stepped.edge.nginx.reload().await.unwrap();
        }
    }
    stepped.assert_ends_in_time(armed, lease).await;
}

#[tokio::test]
async fn what_is_left_of_a_lease_does_not_step_with_the_wall_clock() {
    let Some(stepped) = SteppedEdge::start().await else { return };
    let lease = Duration::from_secs(600);
    let mut armed = stepped.change(r#"{"active":"green","lease_ms":600000}"#).await;
    for step in STEPS {
        stepped.step(step).await;
        stepped.assert_left(armed, lease).await;
        let called = Instant::now();
        assert_eq!(stepped.edge.nginx.admin().renew("shop", 600_000).await.unwrap().status, 200);
        armed = Span(called, Instant::now());
        stepped.edge.nginx.reload().await.unwrap();
        stepped.assert_left(armed, lease).await;
    }
}

#[tokio::test]
async fn a_guard_remembers_failures_of_before_a_step() {
    let Some(stepped) = SteppedEdge::start().await else { return };
    let guard = r#""guard":{"min_requests":10,"max_error_ratio":0.2,"window_ms":600000}"#;
    stepped.change(&format!(r#"{{"active":"green",{guard}}}"#)).await;
    for _ in 0..7 {
        assert_eq!(stepped.get().await, 200);
    }
    stepped.edge.green.on("/", Action::status(500));
    for (step, failed) in [(2 * HOUR, 1), (-10 * YEAR, 2)] {
        assert_eq!(stepped.get().await, 500);
        stepped.step(step).await;
        stepped.edge.nginx.reload().await.unwrap();
        let figures = stepped.group().await.route.trial.unwrap().figures;
        assert_eq!((figures.requests, figures.errors), (7 + failed, failed), "after a step by {step} s");
    }
    assert_eq!(stepped.get().await, 500);
    let back = async || stepped.group().await.route.active == "blue";
    wait::until_async(wait::PATIENCE, "the guard to go back", back).await.unwrap();
    let event = stepped.group().await.events.pop().unwrap();
    assert_eq!(event.reason, "3 of 10 requests failed: 30.00 %, the limit is 20 %");
}

#[tokio::test]
async fn a_guard_forgets_when_its_window_is_over_and_not_by_a_step() {
    let Some(stepped) = SteppedEdge::start().await else { return };
    let window = Duration::from_millis(2400);
    let guard = r#""guard":{"min_requests":4,"max_error_ratio":0.5,"window_ms":2400}"#;
    stepped.change(&format!(r#"{{"active":"green",{guard}}}"#)).await;
    stepped.edge.green.on("/", Action::status(500));
    for _ in 0..2 {
        assert_eq!(stepped.get().await, 500);
    }
    let called = Instant::now();
    assert_eq!(stepped.get().await, 500);
    let failed = Span(called, Instant::now());
    let requests = async || stepped.group().await.route.trial.unwrap().figures.requests;
    for step in STEPS {
        stepped.step(step).await;
        let seen = requests().await;
        // The window moves by eighths. The first failures leave it with the oldest eighth.
        assert!(seen > 0 || failed.0.elapsed() + COARSE >= window * 7 / 8, "after a step by {step} s");
    }
    wait::until_async(wait::PATIENCE, "the window to be over", async || requests().await == 0).await.unwrap();
    assert!(failed.0.elapsed() + COARSE >= window * 7 / 8, "{:?}", failed.0.elapsed());
    assert!(failed.1.elapsed() < window + LATE, "{:?}", failed.1.elapsed());
    // Together with the old failures they would be six.
    for _ in 0..3 {
        assert_eq!(stepped.get().await, 500);
    }
    assert_eq!(stepped.group().await.route.active, "green");
}

#[tokio::test]
async fn a_lease_goes_on_by_the_monotonic_clock_over_a_restart() {
    let Some(stepped) = SteppedEdge::start().await else { return };
    let lease = Duration::from_secs(600);
    let armed = stepped.change(r#"{"active":"green","lease_ms":600000}"#).await;
    for step in [DAY, -YEAR] {
        stepped.edge.nginx.kill_all().await.unwrap();
        stepped.clock.set(step).unwrap();
        stepped.edge.nginx.start().await.unwrap();
        assert_eq!(stepped.get().await, 200);
        stepped.assert_left(armed, lease).await;
    }
    stepped.change(r#"{"active":"blue"}"#).await;
    let armed = stepped.change(r#"{"active":"green","lease_ms":1500}"#).await;
    stepped.edge.nginx.kill_all().await.unwrap();
    stepped.clock.set(-2 * YEAR).unwrap();
    stepped.edge.nginx.start().await.unwrap();
    stepped.assert_ends_in_time(armed, Duration::from_millis(1500)).await;
}

#[tokio::test]
async fn a_lease_that_ended_while_nginx_was_dead_is_over_although_the_clock_stepped_back() {
    let Some(stepped) = SteppedEdge::start().await else { return };
    let armed = stepped.change(r#"{"active":"green","lease_ms":300}"#).await;
    stepped.edge.nginx.kill_all().await.unwrap();
    stepped.clock.set(-DAY).unwrap();
    let over = || armed.1.elapsed() > Duration::from_millis(300) + COARSE;
    wait::until("the lease to be over", over).await.unwrap();
    stepped.edge.nginx.start().await.unwrap();
    assert_eq!(stepped.get().await, 200);
    assert_eq!(stepped.edge.green.truth().requests, 0, "the first request goes back");
    assert_eq!(stepped.group().await.events.pop().unwrap().kind, Kind::Lease);
}

#[tokio::test]
async fn after_a_reboot_the_wall_clock_decides_what_is_left() {
    let Some(stepped) = SteppedEdge::start().await else { return };
    let armed = stepped.change(r#"{"active":"green","lease_ms":600000}"#).await;
    for (minutes_down, minutes_left) in [(4, 6), (7, 3)] {
        stepped.edge.nginx.kill_all().await.unwrap();
        stepped.reboot();
        stepped.clock.set(minutes_down * 60).unwrap();
        stepped.edge.nginx.start().await.unwrap();
        stepped.assert_left(armed, Duration::from_secs(minutes_left * 60)).await;
    }
    stepped.edge.nginx.kill_all().await.unwrap();
    stepped.reboot();
    stepped.clock.set(DAY).unwrap();
    stepped.edge.nginx.start().await.unwrap();
    assert_eq!(stepped.get().await, 200);
    assert_eq!(stepped.edge.green.truth().requests, 0, "the first request goes back");
    assert_eq!(stepped.group().await.events.pop().unwrap().kind, Kind::Lease);
}

/// The longest lease is one day. A wall clock that is behind after a reboot must not make a lease longer than that.
#[tokio::test]
async fn a_clock_that_is_behind_after_a_reboot_makes_no_lease_longer_than_a_day() {
    let Some(stepped) = SteppedEdge::start().await else { return };
    stepped.change(r#"{"active":"green","lease_ms":60000}"#).await;
    stepped.edge.nginx.kill_all().await.unwrap();
    stepped.reboot();
    stepped.clock.set(-10 * YEAR).unwrap();
    stepped.edge.nginx.start().await.unwrap();
    let left = stepped.group().await.route.trial.unwrap().lease_left_ms.unwrap();
    assert!(left <= 86_400_000, "{left} ms of 60000 are left");
}
