//! Other parts of the same nginx: the processes of a cache, and other dynamic modules.

mod cache_processes;
mod debian_modules;
