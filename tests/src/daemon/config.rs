//! The head of the daemon's configuration: the tables that are the same in every test.

/// Reaches the admin API on the unix socket of an nginx whose prefix is the daemon's folder.
pub const UNIX_SOCKET: &str = r#"admin = "unix:%%folder%%/admin.sock""#;

/// A configuration: `admin` holds the keys that say how to reach the admin API, `groups` the tables of the groups.
pub fn text(admin: &str, groups: &str) -> String {
    with_edges(&format!("[edge.nginx]\n{admin}"), groups)
}

/// A configuration with the whole tables `[edge.NAME]`.
pub fn with_edges(edges: &str, groups: &str) -> String {
    format!(
        "[daemon]
        socket = \"%%folder%%/cutover.sock\"
        state = \"%%folder%%/daemon\"
        {edges}
        {groups}"
    )
}
