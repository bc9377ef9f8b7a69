//! A site with stock nginx: its upstream file, and the daemon's tables for it.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::nginx::Nginx;

/// `http { }` of such a site.
pub(super) const HTTP: &str = include_str!("stock.conf");

/// The upstream file.
pub fn upstream_file(prefix: &Path) -> PathBuf {
    prefix.join("conf.d/shop.conf")
}

/// Writes the file as a user had it before.
pub(super) fn prepare(prefix: &Path, blue: SocketAddr) -> Result<()> {
    fs::create_dir(prefix.join("conf.d"))?;
    let text = format!("upstream shop {{\n    zone shop 64k;\n    server {blue};\n    keepalive 32;\n}}\n");
    fs::write(upstream_file(prefix), text).context("failed to write the upstream file")
}

/// The slot that the file gives the traffic to, and the one that it gives a share to. Before the first change it is `blue`.
pub fn route(text: &str) -> (String, Option<String>) {
    let head = text.lines().find_map(|line| line.strip_prefix("# Written by cutover; slot "));
    let active = head.and_then(|head| head.split(' ').next()).unwrap_or("blue");
    let second = head.and_then(|head| head.split(" %, ").nth(1)?.split(" has ").next());
    (active.to_owned(), second.filter(|_| head.is_some_and(|head| head.contains(" has "))).map(str::to_owned))
}

/// The keys of `[edge.nginx]` and its group.
pub(super) fn edge(nginx: &Nginx, [blue, green]: [SocketAddr; 2]) -> Result<String> {
    let prefix = nginx.prefix().display();
    Ok(format!(
        "kind = \"file\"
        test = {}
        reload = {}
        pid = \"{prefix}/nginx.pid\"
        log = \"{prefix}/access.log\"
        shares = \"weight\"
        [edge.nginx.group.shop]
        file = \"{}\"
        upstream = \"shop\"
        slots = {{ blue = [\"{blue}\"], green = [\"{green}\"] }}",
        nginx.command_line(&["-t"])?,
        nginx.command_line(&["-s", "reload"])?,
        upstream_file(nginx.prefix()).display(),
    ))
}

#[cfg(test)]
mod tests {
    use super::route;

    #[test]
    fn routes() {
        assert_eq!(route("upstream shop {}\n"), ("blue".to_owned(), None));
        let green = "# Written by cutover; slot green is active, generation 7.\n";
        assert_eq!(route(green), ("green".to_owned(), None));
        let split = "# Written by cutover; slot blue is active with 99 %, green has 1 %, generation 2.\n";
        assert_eq!(route(split), ("blue".to_owned(), Some("green".to_owned())));
    }
}
