//! The examples of docs/admin-api.md run as they stand, in order, and print what the page says.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use cutover_tests::Nginx;
use cutover_tests::flavour::root;
use cutover_tests::temp::TempDir;

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
    let page = fs::read_to_string(root().join("docs/admin-api.md")).unwrap();
    // What the page calls by the names of a real host.
    let page = replaced(&page, "/run/cutover/nginx.sock", &nginx.admin_socket().display().to_string());
    let page = replaced(&page, "/etc/nginx/cutover.token", &token.display().to_string());
    let page = replaced(&page, "127.0.0.1:8083", &nginx.address("tcp").unwrap().to_string());
    let folder = TempDir::new().unwrap();
    let session: String = shell_blocks(&page).concat();
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

/// The text with each `name` replaced: it must be there.
fn replaced(text: &str, name: &str, with: &str) -> String {
    assert!(text.contains(name), "docs/admin-api.md no longer has {name}: adapt this test");
    text.replace(name, with)
}

/// What stands between "```sh" and "```", in order.
fn shell_blocks(page: &str) -> Vec<&str> {
    let blocks: Vec<&str> = page
        .split("```sh\n")
        .skip(1)
        .filter_map(|rest| rest.split_once("```"))
        .map(|(block, _)| block)
        .collect();
    assert!(!blocks.is_empty(), "docs/admin-api.md has no example");
    blocks
}
