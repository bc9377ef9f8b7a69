//! Sequential tests: they may be looked at after every request, for ever, and keep their false-alarm rate.
//!
//! Each is an *e-process*: a number that starts at 1 and whose expected value stays at most 1 while the hypothesis under
//! test is true. By Ville's inequality it then ever reaches `1 / alpha` with a probability of at most `alpha`, whatever the
//! number of looks. See Ramdas, Grünwald, Vovk, Shafer, "Game-theoretic statistics and safe anytime-valid inference",
//! Statistical Science 2023.
//!
//! | module | hypothesis that is tested |
//! |---|---|
//! | [`bernoulli`] | the rate of one slot is at most a limit |
//! | [`two_sample`] | the odds of the new slot are at most a multiple of the old slot's |
//! | [`histogram`] | the new slot is not slower than a multiple of the old slot |
//! | [`starts`] | carries the numbers of all three, also for what begins late |
//! | [`interval`] | no test: the interval of a rate that figures show |

pub mod bernoulli;
pub mod histogram;
pub mod interval;
mod special;
pub mod starts;
pub mod two_sample;
