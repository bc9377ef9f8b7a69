//! Groups of every shape: with shared peers and upstreams, with one slot and with eight, with the longest names; and nginx
//! without a group.

mod names;
mod shared;
mod sizes;
mod unused;
