//! The judge of a release: what the counters of the new slot prove, beside those of the old one.
//!
//! ```text
//! readings -> Fold (per edge and slot) -> Evidence -> a test per Signal -> Watch::now, Watch::end
//! values of other systems -> persistence, see [`outside`] ------------------^
//! ```
//!
//! Whatever is not answered, given up, slow or a wrong kind of answer counts against the release; what the old version
//! does as well does not. Each test may be looked at as often as anybody likes, see [`sequential`]. `docs/verdict.md` says
//! what is guaranteed, and gives the reason of each default.
//!
//! Nothing here reads a clock: the time of a reading comes with it. A [`Watch`] can be serialised and resumed.

pub mod baseline;
pub mod evidence;
mod explain;
pub mod fold;
pub mod glance;
pub mod judge;
pub mod limits;
pub mod numbers;
pub mod outside;
pub mod past;
pub mod rate;
pub mod reading;
pub mod reason;
pub mod sequential;
pub mod signal;
pub mod spread;
#[cfg(test)]
mod tests;
mod unanswered;
pub mod vigil;
pub mod watch;

pub use baseline::Baseline;
pub use glance::Glance;
pub use limits::{LatencyLimit, Limits, RateLimit, Signals};
pub use numbers::{Thousands, Value};
pub use outside::{Answer, OutsideLimit, OutsideReading};
pub use past::Past;
pub use reading::{EdgeReading, Reading, Sample};
pub use reason::{Figures, OutsideFigure, Reason};
pub use signal::Signal;
pub use vigil::{Change, Vigil};
pub use watch::{Names, Verdict, Watch};
