//! How often the judge is wrong, and how soon it is right: the numbers of `docs/verdict.md`, from a fixed seed.
//!
//!     cargo run -p cutover-core --release --example verdict-power [false-alarms|errors|late|latency|hang|confseq]
//!
//! Without an argument everything but `confseq`, which prints the table that `scripts/check-confseq` compares.

mod confseq;
mod errors;
mod false_alarms;
mod fixed;
mod hang;
mod late;
mod latency;
mod random;
mod report;
mod threshold;
mod traffic;

fn main() {
    let part = std::env::args().nth(1);
    let wanted = |name: &str| part.as_deref().is_none_or(|part| part == name);
    if part.as_deref() == Some("confseq") {
        confseq::print();
        return;
    }
    if wanted("false-alarms") {
        false_alarms::print();
    }
    if wanted("errors") {
        errors::print();
    }
    if wanted("late") {
        late::print();
    }
    if wanted("latency") {
        latency::print();
    }
    if wanted("hang") {
        hang::print();
    }
}
