//! The faults that were seen in runs, by their names in the list of faults, on a scripted slot.

mod folding;
mod outside;
mod past;
mod scripted;
mod seen;
mod vigil;
