//! Promise 3: never empty, never forgotten. The state file over starts, reloads, upgrades and damage.

mod clock;
mod disk;
mod disk_trouble;
mod durable;
mod folder_trouble;
mod reload;
mod start;
mod two_folders;

use std::path::PathBuf;

use cutover_tests::nginx::Nginx;

const HTTP: &str = "
    cutover_state %%prefix%%/state;
    upstream b { server 127.0.0.1:1; }
    upstream g { server 127.0.0.1:2; }
    upstream r { server 127.0.0.1:3; }
    cutover shop { %%slots%% active blue; }
    cutover blog { slot one b; slot two g; active one; }
    server { listen %%admin%%; location / { cutover_api write=on; } }
";

const TWO: &str = "slot blue b; slot green g;";

async fn started() -> Nginx {
    Nginx::builder().set("slots", TWO).http(HTTP).start().await.unwrap()
}

fn file(nginx: &Nginx) -> PathBuf {
    nginx.prefix().join("state/routes")
}

async fn active(nginx: &Nginx) -> (String, u32) {
    let route = nginx.admin().group("shop").await.unwrap().route;
    (route.active, route.generation)
}
