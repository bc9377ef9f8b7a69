//! The features of a slot's upstream keep working under switches: balancing methods, limits, names that are resolved at run
//! time, TLS. Every answer is checked.

mod dns;
mod limits;
mod methods;
mod resolve;
mod tls;
