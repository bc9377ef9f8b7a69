//! Deployments over stock nginx: an upstream file and a reload.

mod access_log;
mod check;
mod deploy;
mod faults;
mod full_disk;
mod killed;
mod old_workers;
mod page;
mod shares;
mod to_module;
