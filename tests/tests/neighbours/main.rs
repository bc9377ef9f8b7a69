//! Other parts of the same nginx: the processes of a cache, and other dynamic modules.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod cache_processes;
mod debian_modules;
