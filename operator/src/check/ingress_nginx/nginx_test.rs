//! The snippets of the ConfigMap as a real nginx with the module reads them: `nginx -t`.
//!
//! ```text
//! folder/nginx.conf      includes each entry where the controller's template has it
//!        main-snippet    an entry, with paths of this machine for the module, its state and its token
//!        http-snippet ..
//! ```
//!
//! nginx names the file of what it refuses, and that is the entry. Nothing of the cluster is changed. As `nginx -t` does, it binds
//! the addresses of `listen` for a moment, and looks up the names of hosts and files that a snippet has.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;

use tempfile::TempDir;
use tokio::process::Command;

use super::super::finding::{At, Finding, Fix};
use super::config::Entries;
use super::directives::{self, named};

/// An nginx, and the module that was built for it.
#[derive(Clone, Debug)]
pub struct TestedBy {
    /// The program.
    pub nginx: PathBuf,
    /// The module.
    pub module: PathBuf,
}

/// How long nginx may take to read a configuration.
const LIMIT: Duration = Duration::from_secs(30);

/// The end of the module's path.
const MODULE: &str = "ngx_http_cutover_module.so";

/// The entries that are parts of nginx's configuration.
const SNIPPETS: [&str; 4] = ["main-snippet", "http-snippet", "server-snippet", "location-snippet"];

/// What the template of controller 1.11.0 sets before the snippet of a location.
const VARIABLES: [&str; 14] = [
    "namespace",
    "ingress_name",
    "service_name",
    "service_port",
    "location_path",
    "global_rate_limit_exceeding",
    "balancer_ewma_score",
    "proxy_upstream_name",
    "proxy_host",
    "pass_access_scheme",
    "pass_server_port",
    "best_http_host",
    "pass_port",
    "proxy_alternative_upstream_name",
];

impl TestedBy {
    /// Lets nginx read the entries.
    pub(super) async fn check(&self, at: &At, entries: &Entries, findings: &mut Vec<Finding>) {
        match self.read(entries).await {
            Ok(None) => {}
            Ok(Some(refused)) => findings.push(refused.finding(at, entries)),
            Err(why) => {
                let text = format!("its snippets could not be read by {}: {why}", self.nginx.display());
                findings.push(Finding::problem(at.clone(), text));
            }
        }
    }

    /// What nginx refuses. The error is a reason why that is not known.
    async fn read(&self, entries: &Entries) -> Result<Option<Refused>, String> {
        let folder =
            TempDir::with_prefix("cutover-check-").map_err(|why| format!("no temporary folder: {why}"))?;
        let own = self.module.canonicalize();
        let own =
            own.map_err(|why| format!("{}: {why}; build it: scripts/build-module", self.module.display()))?;
        let built = self.run(&["-V"]).await?;
        let built = String::from_utf8_lossy(&built.stderr).into_owned();
        write(folder.path(), entries, &own, &built)
            .map_err(|why| format!("{}: {why}", folder.path().display()))?;
        let file = folder.path().join("nginx.conf");
        let tested = self.run(&["-t", "-q", "-c", &file.to_string_lossy()]).await?;
        if tested.status.success() {
            return Ok(None);
        }
        let said =
            String::from_utf8_lossy(&tested.stderr).replace(&format!("{}/", folder.path().display()), "");
        let emergency =
            |line: &str| line.split_once("[emerg] ").map(|(_, rest)| without_process(rest).to_owned());
        let why =
            said.lines().find_map(emergency).ok_or_else(|| format!("nginx -t failed: {}", said.trim()))?;
        let own = own.to_string_lossy();
        if let Some((why, _)) = why.split_once(" in main-snippet:").filter(|(why, _)| why.contains(&*own)) {
            return Err(format!("{why}; build the module for this nginx: scripts/build-module"));
        }
        Ok(Some(Refused::read(&why)))
    }

    async fn run(&self, arguments: &[&str]) -> Result<Output, String> {
        let mut command = Command::new(&self.nginx);
        command.args(arguments).stdin(Stdio::null()).kill_on_drop(true);
        match tokio::time::timeout(LIMIT, command.output()).await {
            Ok(output) => output.map_err(|why| format!("it cannot be started: {why}")),
            Err(_) => Err(format!("no answer within {}", humantime::format_duration(LIMIT))),
        }
    }
}

/// A message without the process and the thread that a log has before it, as in `81#81: no such file`.
fn without_process(said: &str) -> &str {
    let is_process = |text: &str| text.chars().all(|c| c.is_ascii_digit() || c == '#');
    said.split_once(": ").filter(|(before, _)| is_process(before)).map_or(said, |(_, rest)| rest)
}

/// A refusal of nginx.
#[derive(Debug, PartialEq, Eq)]
struct Refused {
    why: String,
    /// The entry and its line, from 1. `None`: nginx names none, or one that is not of the ConfigMap.
    place: Option<(String, usize)>,
}

impl Refused {
    /// Of the text after `[emerg]`, as in `unknown directive "a" in http-snippet:3`.
    fn read(said: &str) -> Self {
        let place = said.rsplit_once(" in ").and_then(|(why, place)| {
            let (key, line) = place.rsplit_once(':')?;
            SNIPPETS.contains(&key).then_some(())?;
            Some((why, (key.to_owned(), line.parse().ok()?)))
        });
        match place {
            Some((why, place)) => Self { why: why.to_owned(), place: Some(place) },
            None => Self { why: said.to_owned(), place: None },
        }
    }

    fn finding(self, at: &At, entries: &Entries) -> Finding {
        let edit = Fix::Type(format!("kubectl -n {} edit configmap {}", at.namespace, at.name));
        let (field, line, value) = match &self.place {
            Some((key, line)) => {
                let text = entries.get(key).map(String::as_str).unwrap_or_default();
                let value = text.lines().nth(line.saturating_sub(1)).map(str::trim);
                (format!("data.{key}"), format!(" line {line}"), value.map(str::to_owned))
            }
            None => ("data".to_owned(), String::new(), None),
        };
        let text = format!(
            "nginx refuses{line}: {}; each later change of an Ingress would have no effect",
            self.why
        );
        let finding = Finding::problem(at.clone().field(field), text).fix(edit);
        Finding { value: value.map(Into::into), ..finding }
    }
}

/// Writes the configuration. `built`: what `nginx -V` says.
fn write(folder: &Path, entries: &Entries, module: &Path, built: &str) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt;

    let (state, token) = (folder.join("state"), folder.join("token"));
    std::fs::create_dir(&state)?;
    std::fs::write(&token, "0123456789abcdef0123456789abcdef")?;
    // The module takes no token that others can read.
    std::fs::set_permissions(&token, std::fs::Permissions::from_mode(0o600))?;
    for key in SNIPPETS {
        let text = entries.get(key).map(String::as_str).unwrap_or_default();
        std::fs::write(folder.join(key), with_paths(text, module, &state, &token))?;
    }
    std::fs::write(folder.join("nginx.conf"), skeleton(folder, built))
}

/// A snippet with the paths of this machine in place of those that only a Pod has.
fn with_paths(text: &str, module: &Path, state: &Path, token: &Path) -> String {
    // A text that cannot be parsed is refused by nginx, too.
    let all = directives::read(text).unwrap_or_default();
    let mut replaced = Vec::new();
    for one in named(&all, "load_module") {
        replaced.extend(
            one.parameter(0)
                .filter(|path| path.ends_with(MODULE))
                .map(|path| (one, path, module.display().to_string())),
        );
    }
    for one in named(&all, "cutover_state") {
        replaced.extend(one.parameter(0).map(|path| (one, path, state.display().to_string())));
    }
    for one in named(&all, "cutover_api") {
        let file = one.words.iter().find(|word| word.starts_with("token_file="));
        replaced.extend(file.map(|word| (one, word.as_str(), format!("token_file={}", token.display()))));
    }
    // From the end, so that the places before it stay.
    replaced.sort_by_key(|(one, ..)| std::cmp::Reverse(one.place.start));
    let mut text = text.to_owned();
    for (one, from, to) in replaced {
        let directive = text.get(one.place.clone()).unwrap_or_default().replacen(from, &to, 1);
        text.replace_range(one.place.clone(), &directive);
    }
    text
}

fn skeleton(folder: &Path, built: &str) -> String {
    let folder = folder.display();
    let mut temporary = format!("client_body_temp_path {folder};\n");
    for name in ["proxy", "fastcgi", "uwsgi", "scgi"] {
        if !built.contains(&format!("--without-http_{name}_module")) {
            let _ = writeln!(temporary, "{name}_temp_path {folder};");
        }
    }
    let set: String = VARIABLES.iter().map(|name| format!("set ${name} \"\";\n")).collect();
    format!(
        "pid {folder}/pid;\nerror_log stderr;\ninclude {folder}/main-snippet;\nevents {{ }}\nhttp {{\n{temporary}access_log off;\n\
         map $http_upgrade $connection_upgrade {{ default upgrade; '' close; }}\n\
         map $http_x_request_id $req_id {{ default $http_x_request_id; \"\" $request_id; }}\n\
         map $http_x_forwarded_for $full_x_forwarded_for {{ default \"$http_x_forwarded_for, $remote_addr\"; }}\n\
         geo $literal_dollar {{ default \"$\"; }}\n\
         upstream upstream_balancer {{ server 127.0.0.1:1; }}\ninclude {folder}/http-snippet;\n\
         server {{\nlisten unix:{folder}/socket;\ninclude {folder}/server-snippet;\nlocation / {{\n{set}\
         include {folder}/location-snippet;\nproxy_pass http://upstream_balancer;\n}}\n}}\n}}\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_has_the_entry_and_its_line() {
        assert_eq!(
            without_process("81#81: bad value: 3 in http-snippet:3"),
            "bad value: 3 in http-snippet:3"
        );
        assert_eq!(without_process("bad value: 3"), "bad value: 3");
        let refused = Refused::read("unknown directive \"a\" in http-snippet:3");
        assert_eq!(refused.why, "unknown directive \"a\"");
        assert_eq!(refused.place, Some(("http-snippet".to_owned(), 3)));
        for said in ["no \"events\" section in configuration", "duplicate location in nginx.conf:3"] {
            assert_eq!(Refused::read(said), Refused { why: said.to_owned(), place: None });
        }
    }

    #[test]
    fn only_paths_of_the_module_are_those_of_this_machine() {
        let text = "load_module /a/ndk.so;\nload_module '/m/ngx_http_cutover_module.so';\ncutover_state /m;\n\
                    include /m/more;\nserver { location / { cutover_api write=on token_file=/etc/token; } }\n";
        let here = with_paths(text, Path::new("/own.so"), Path::new("/t/state"), Path::new("/t/token"));
        assert_eq!(
            here,
            "load_module /a/ndk.so;\nload_module '/own.so';\ncutover_state /t/state;\n\
             include /m/more;\nserver { location / { cutover_api write=on token_file=/t/token; } }\n"
        );
    }
}
