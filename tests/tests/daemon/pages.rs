//! The pages about several hosts and several daemons, word by word: hosts in namespaces of their own are set up by the examples
//! of a page, in its order, and its commands print what it shows.

mod host;
mod several_daemons;
mod several_hosts;
