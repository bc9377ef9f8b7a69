//! A folder that is to the controller what its image is.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use super::TOKEN;
use crate::flavour::{self, Flavour};
use crate::kubernetes::programs::fetched;

/// The user of the controller and of nginx.
pub(super) const USER: &str = "www-data";
/// Where Debian's packages put nginx's modules.
pub(super) const DEBIAN_MODULES: &str = "/usr/lib/nginx/modules";
/// The folder of the module.
pub(super) const MODULE: &str = "/modules_mount/cutover";

/// What the controller and nginx write to.
const THEIRS: [&str; 11] = [
    "etc/nginx",
    "etc/ingress-controller",
    "etc/ingress-controller/ssl",
    "etc/ingress-controller/auth",
    "etc/ingress-controller/telemetry",
    "etc/ingress-controller/geoip",
    "tmp",
    "tmp/nginx",
    "var/log/nginx",
    "var/lib/nginx",
    "modules_mount/cutover/state",
];

/// Places the rest of the machine in the folder `$1`, with the folder `$2` at its own path, and runs a program there as `$3`. The
/// shell stays: the kernel ends all of the namespace with its first process, and would forget to end one that changes its user.
const ENTER: &str = r#"
    set -e
    root=$1 shared=$2 user=$3
    shift 3
    for folder in usr dev sys; do mount --rbind "/$folder" "$root/$folder"; done
    mount --bind "$shared" "$root$shared"
    mount -t proc proc "$root/proc"
    chroot --userspec="$user:$user" "$root" "$@" &
    wait $!
"#;

/// Fills the folder. It gets a place for the shared folder.
pub(super) fn build(root: &Path, shared: &Path) -> Result<()> {
    let shared_path = shared.display().to_string();
    for folder in
        ["usr", "dev", "sys", "proc", "etc", shared_path.trim_start_matches('/')].iter().chain(&THEIRS)
    {
        fs::create_dir_all(root.join(folder))?;
    }
    for link in ["bin", "sbin", "lib", "lib64"] {
        symlink(Path::new("usr").join(link), root.join(link))?;
    }
    for file in ["passwd", "group", "ld.so.cache"] {
        copy(&Path::new("/etc").join(file), &root.join("etc").join(file))?;
    }
    fs::write(root.join("etc/resolv.conf"), "nameserver 127.0.0.1\n")?;
    copy(&fetched("ingress-nginx", "nginx-ingress-controller"), &root.join("nginx-ingress-controller"))?;
    fill_etc_nginx(&root.join("etc/nginx"))?;
    let folder = root.join(MODULE.trim_start_matches('/'));
    copy(&Flavour::Debian.module(), &folder.join("ngx_http_cutover_module.so"))?;
    let token = folder.join("token");
    fs::write(&token, format!("{TOKEN}\n"))?;
    fs::set_permissions(&token, fs::Permissions::from_mode(0o600))?;
    super::own(&token)?;
    for theirs in THEIRS {
        super::own(&root.join(theirs))?;
    }
    Ok(())
}

/// What starts the controller in the folder, with the flags.
pub(super) fn command(
    root: &Path,
    shared: &Path,
    namespace: &str,
    pod: &str,
    flags: &[String],
) -> (PathBuf, Vec<String>) {
    let mut words: Vec<String> =
        ["--mount", "--pid", "--fork", "--kill-child", "sh", "-c", ENTER, "sh"].map(str::to_owned).to_vec();
    words.extend([root.display().to_string(), shared.display().to_string(), USER.to_owned()]);
    let variables = [
        "env",
        "-i",
        "PATH=/usr/sbin:/usr/bin",
        "HOME=/tmp",
        "NGINX_BINARY=/usr/sbin/nginx",
        &format!("POD_NAME={pod}"),
        &format!("POD_NAMESPACE={namespace}"),
        "/nginx-ingress-controller",
    ];
    words.extend(variables.map(str::to_owned));
    words.extend_from_slice(flags);
    (PathBuf::from("/usr/bin/unshare"), words)
}

fn fill_etc_nginx(folder: &Path) -> Result<()> {
    let sources = fetched("ingress-nginx", "etc/nginx");
    copy_folder(&sources.join("lua"), &folder.join("lua"))?;
    copy_folder(&flavour::root().join("tests/kubernetes/lua/resty"), &folder.join("lua/resty"))?;
    copy(&sources.join("nginx.conf"), &folder.join("nginx.conf"))?;
    super::own(&folder.join("nginx.conf"))?;
    copy(Path::new("/etc/nginx/mime.types"), &folder.join("mime.types"))?;
    let path = sources.join("template/nginx.tmpl");
    let template = fs::read_to_string(&path).with_context(|| format!("failed to read {}", path.display()))?;
    fs::create_dir_all(folder.join("template"))?;
    fs::write(folder.join("template/nginx.tmpl"), without_stream(&template)?)?;
    Ok(())
}

/// The template without the block `stream { .. }`.
fn without_stream(template: &str) -> Result<String> {
    let (before, rest) =
        template.split_once("\nstream {\n").context("the template has no block \"stream\"")?;
    let (_, after) = rest.split_once("\n}\n").context("the template's block \"stream\" does not end")?;
    ensure!(!after.contains("tcp_udp_balancer"), "the block \"stream\" would go only in part");
    Ok(format!("{before}\n{after}"))
}

fn copy_folder(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    let entries = fs::read_dir(from)
        .with_context(|| format!("failed to read {}: run scripts/fetch-kubernetes", from.display()))?;
    for entry in entries {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_folder(&entry.path(), &target)?;
        } else {
            copy(&entry.path(), &target)?;
        }
    }
    Ok(())
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::copy(from, to).with_context(|| format!("failed to copy {} to {}", from.display(), to.display()))?;
    Ok(())
}
