//! nginx with the module under valgrind: one request of each kind, reloads, and a graceful end. No error may have the module
//! in its stack, and no memory that the module has allocated may be leaked.

mod requests;
mod trials;
mod valgrind;

use std::path::PathBuf;

use cutover_tests::{Flavour, Nginx};
use requests::Servers;
use valgrind::ValgrindRun;

/// With `master_process off` one process does the work of master and workers. It cannot be reloaded, because nginx then gives
/// the new configuration no connections, with or without the module.
#[tokio::test(flavor = "multi_thread")]
async fn one_request_of_each_kind() {
    let flavour = Flavour::from_env().unwrap();
    watch(flavour.nginx(), "master_process off;", 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn master_and_workers_over_a_reload() {
    let flavour = Flavour::from_env().unwrap();
    watch(flavour.nginx(), "", 1).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes a minute"]
async fn master_and_workers_over_many_reloads() {
    let flavour = Flavour::from_env().unwrap();
    watch(flavour.nginx(), "", 10).await;
}

/// nginx allocates from pools, in which valgrind cannot see single allocations. With NGX_DEBUG_PALLOC each one is a malloc.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "builds an nginx"]
async fn allocations_without_pools() {
    let flavour = Flavour::from_env().unwrap();
    let Some(nginx) = valgrind::without_pools(flavour) else {
        println!("SKIPPED: Debian's nginx comes without its sources; run it with CUTOVER_NGINX=source");
        return;
    };
    watch(nginx.clone(), "master_process off;", 0).await;
    watch(nginx, "", 3).await;
}

async fn watch(program: PathBuf, main: &str, reloads: u32) {
    let servers = Servers::start().await;
    let nginx = servers.describe(Nginx::builder().set("main", main)).build().unwrap();
    let mut run = ValgrindRun::start(&nginx, &program).await;
    servers.ask_everything(&nginx).await;
    for _ in 0..reloads {
        run.reload(&nginx).await;
        servers.ask_everything(&nginx).await;
    }
    trials::leave_to_a_timer(&nginx).await;
    run.end(&nginx).await;
}
