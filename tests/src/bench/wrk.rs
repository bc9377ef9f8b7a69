//! `wrk`, a load generator that needs little processor time: <https://github.com/wg/wrk>

use std::net::SocketAddr;
use std::process::Stdio;

use anyhow::{Context, Result, bail, ensure};
use tokio::process::Command;

use crate::pinned::OTHER_CORE;

const CONNECTIONS: &str = "32";

/// The figures of one run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Run {
    pub(crate) requests: u64,
    pub(crate) requests_per_second: f64,
    /// In seconds.
    pub(crate) p50: f64,
    /// In seconds.
    pub(crate) p99: f64,
    /// Requests without an answer of status 200.
    pub(crate) failed: u64,
}

/// Sends GET requests for `path` on 32 keep-alive connections for this many seconds.
pub(crate) async fn run(address: SocketAddr, path: &str, seconds: u32) -> Result<Run> {
    let output = Command::new("taskset")
        .args(["--cpu-list", OTHER_CORE, "wrk", "--threads", "1", "--connections", CONNECTIONS, "--latency"])
        .arg("--duration")
        .arg(format!("{seconds}s"))
        .arg(format!("http://{address}{path}"))
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .context("failed to run wrk under taskset")?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(output.status.success(), "wrk failed: {}", String::from_utf8_lossy(&output.stderr));
    parse(&text).with_context(|| format!("failed to read what wrk has printed:\n{text}"))
}

fn parse(text: &str) -> Result<Run> {
    let after = |label: &str| {
        let line = text.lines().find_map(|line| line.trim().strip_prefix(label));
        line.with_context(|| format!("no line \"{label}\"")).map(str::trim)
    };
    // wrk prints these two lines only when there are errors.
    let bad_status = after("Non-2xx or 3xx responses:").ok().map_or(Ok(0), str::parse)?;
    let errors = after("Socket errors:").unwrap_or_default();
    let broken: u64 =
        errors.split(|c: char| !c.is_ascii_digit()).filter_map(|digits| digits.parse::<u64>().ok()).sum();
    let requests = text.lines().find_map(|line| line.trim().split_once(" requests in ")?.0.parse().ok());
    Ok(Run {
        requests: requests.context("no line with the number of requests")?,
        requests_per_second: after("Requests/sec:")?.parse()?,
        p50: duration(after("50%")?)?,
        p99: duration(after("99%")?)?,
        failed: bad_status + broken,
    })
}

fn duration(text: &str) -> Result<f64> {
    let digits = text.trim_end_matches(char::is_alphabetic);
    let per_second = match text.get(digits.len()..) {
        Some("us") => 1e6,
        Some("ms") => 1e3,
        Some("s") => 1.0,
        _ => bail!("no duration: {text:?}"),
    };
    Ok(digits.parse::<f64>()? / per_second)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLEAN: &str = "\
Running 1s test @ http://127.0.0.1:1/
  1 threads and 32 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     1.65ms  300.00us   9.00ms   90.00%
    Req/Sec    19.00k     1.00k   20.00k    80.00%
  Latency Distribution
     50%  612.00us
     75%    1.70ms
     90%    1.90ms
     99%    2.60ms
  19000 requests in 1.00s, 3.00MB read
Requests/sec:  19000.50
Transfer/sec:      3.00MB
";

    #[test]
    fn what_wrk_prints() {
        let run = parse(CLEAN).unwrap();
        assert_eq!(
            run,
            Run { requests: 19_000, requests_per_second: 19000.5, p50: 612e-6, p99: 2.6e-3, failed: 0 }
        );
        let dirty = format!(
            "{CLEAN}  Socket errors: connect 0, read 3, write 1, timeout 0\n  Non-2xx or 3xx responses: 7\n"
        );
        assert_eq!(parse(&dirty).unwrap().failed, 11);
    }
}
