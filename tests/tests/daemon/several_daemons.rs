//! Several daemons with a store in etcd: one leads, and another one goes on when it dies.

mod bench;
mod fault;
mod lanes;
mod members;
mod records;
