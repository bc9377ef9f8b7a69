//! A description of the machine, without its name or paths.

use std::fs;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use cutover_tests::Flavour;

/// Cores that this process may use.
pub(crate) fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// CPU, cores, memory and kernel, in one line.
pub(crate) fn description() -> String {
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = field(&cpuinfo, "model name").unwrap_or("an unknown CPU");
    let meminfo = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let memory = field(&meminfo, "MemTotal").and_then(|text| text.split(' ').next()?.parse::<f64>().ok());
    let virtual_one = cpuinfo.lines().any(|line| line.starts_with("flags") && line.contains(" hypervisor"));
    format!(
        "{model}, {} cores, {:.0} GB{}, Linux {}",
        cores(),
        memory.unwrap_or_default() / 1e6,
        if virtual_one { ", a virtual machine" } else { "" },
        kernel()
    )
}

/// The kernel's version without a distributor's suffix.
fn kernel() -> String {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    release.trim().split('-').next().unwrap_or_default().to_owned()
}

fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let line = text.lines().find(|line| line.starts_with(name))?;
    line.split_once(':').map(|(_, value)| value.trim())
}

/// As in `1.22.1`.
pub(crate) fn nginx_version(flavour: Flavour) -> Result<String> {
    let program = flavour.nginx();
    let output = Command::new(&program).arg("-v").output();
    let output = output.with_context(|| format!("failed to run {}", program.display()))?;
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    text.trim().rsplit_once('/').map(|(_, version)| version.to_owned()).context("nginx -v names no version")
}

/// The version of a Debian package, as in `2.6.12-1+deb12u4`. Fails when it is not installed.
pub(crate) fn package_version(package: &str) -> Result<String> {
    let mut query = Command::new("dpkg-query");
    let output = query.args(["--show", "--showformat", "${Version}", package]).output();
    let output = output.context("failed to run dpkg-query")?;
    ensure!(
        output.status.success(),
        "the Debian package {package} is not installed: run scripts/install-packages"
    );
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Today, as in `2026-01-31`.
pub(crate) fn date() -> Result<String> {
    let output = Command::new("date").args(["--utc", "+%Y-%m-%d"]).output()?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
