//! Several daemons with a store in etcd: one leads, and another one goes on when it dies.

mod bench;
mod checks;
mod edges;
mod fault;
mod groups;
mod lanes;
mod members;
mod mixed;
mod records;
mod row;
