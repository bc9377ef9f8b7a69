//! What an operator sees: lines for a terminal or for a file, as pure functions of the API's types.
//!
//! A line is made of spans with a style. It is wrapped at the width of the terminal, and painted if colours are wanted. Nothing
//! here reads a clock, writes, or asks anybody; [`paper`] alone knows the terminal.

pub(in crate::cli) mod ending;
pub(in crate::cli) mod error;
pub(in crate::cli) mod event;
pub(in crate::cli) mod figures;
pub(in crate::cli) mod line;
pub(in crate::cli) mod live;
pub(in crate::cli) mod paper;
pub(in crate::cli) mod slot;
pub(in crate::cli) mod status;
pub(in crate::cli) mod when;

pub(in crate::cli) use line::{Line, Style};
pub(in crate::cli) use paper::{Colour, Paper};
pub(in crate::cli) use when::Now;
