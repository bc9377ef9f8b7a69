//! The examples of docs/admin-api.md run as they stand, in order, and print what the page says.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use cutover_tests::temp::TempDir;
use cutover_tests::{Nginx, Page};

const HTTP: &str = "
    cutover_state %%prefix%%/state;
    upstream shop_blue  { server 127.0.0.1:1; }
    upstream shop_green { server 127.0.0.1:2; }
    cutover shop { slot blue shop_blue; slot green shop_green; active blue; }
    server { listen %%admin%%; location / { cutover_api write=on; } }
    server { listen %%listen:tcp%%; location / { cutover_api write=on token_file=%%prefix%%/token; } }
";

#[tokio::test]
async fn the_examples_of_the_page_run_in_order() {
    let nginx = Nginx::builder().http(HTTP).build().unwrap();
    let token = nginx.prefix().join("token");
    fs::write(&token, "c2VjcmV0IG9mIHRoZSBzaG9w\n").unwrap();
    fs::set_permissions(&token, fs::Permissions::from_mode(0o600)).unwrap();
    nginx.start().await.unwrap();
    // What the page calls by the names of a real host.
    let page = Page::read("docs/admin-api.md").unwrap();
    let page = page.with("/run/cutover/nginx.sock", nginx.admin_socket().display().to_string()).unwrap();
    let page = page.with("/etc/nginx/cutover.token", token.display().to_string()).unwrap();
    let page = page.with("127.0.0.1:8083", nginx.address("tcp").unwrap().to_string()).unwrap();
    let folder = TempDir::new().unwrap();
    let blocks = page.blocks().unwrap().into_iter().filter(|block| block.language == "sh");
    let session: String = blocks.map(|block| block.text).collect();
    let output = Command::new("bash")
        .args(["-euo", "pipefail", "-c", &session])
        .current_dir(folder.path())
        .output()
        .unwrap();
    let (printed, complaints) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{session}\nprinted:\n{printed}\n{complaints}");
    let documented: Vec<&str> = session.lines().filter_map(|line| line.strip_prefix("# ")).collect();
    assert!(!documented.is_empty(), "{session}");
    assert_eq!(printed.lines().collect::<Vec<_>>(), documented, "{complaints}");
}
