//! One run of nginx under valgrind's callgrind, which counts the executed instructions.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use cutover_tests::process::{self, Pid, Signal};
use cutover_tests::{Nginx, wait};

/// Under valgrind nginx is about fifty times slower.
const PATIENCE: Duration = Duration::from_secs(120);

/// nginx under callgrind. Its configuration must have `daemon off; master_process off;`, so that it is one process.
#[derive(Debug)]
pub(crate) struct CallgrindRun {
    valgrind: Child,
    output: PathBuf,
}

impl CallgrindRun {
    /// Starts an nginx that is not running yet.
    pub(crate) fn start(nginx: &Nginx) -> Result<Self> {
        let output = nginx.prefix().join("callgrind.out");
        let valgrind = Command::new("valgrind")
            .args(["--quiet", "--tool=callgrind"])
            .arg(format!("--callgrind-out-file={}", output.display()))
            .arg(nginx.flavour().nginx())
            .args(nginx.options())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("failed to run valgrind: run scripts/install-packages")?;
        Ok(Self { valgrind, output })
    }

    /// Ends nginx gracefully and returns the number of instructions.
    pub(crate) async fn end(mut self) -> Result<u64> {
        process::signal(self.pid()?, Signal::QUIT)?;
        let ended = || self.valgrind.try_wait().is_ok_and(|status| status.is_some());
        wait::until_within(PATIENCE, "the end of nginx under valgrind", ended).await?;
        let text = std::fs::read_to_string(&self.output).context("callgrind has written nothing")?;
        let total = text.lines().find_map(|line| {
            line.strip_prefix("summary:")
                .or_else(|| line.strip_prefix("totals:"))?
                .split_whitespace()
                .next()?
                .parse()
                .ok()
        });
        match total {
            Some(total) => Ok(total),
            None => bail!("callgrind's file names no total"),
        }
    }

    fn pid(&self) -> Result<Pid> {
        Pid::from_raw(self.valgrind.id().try_into()?).context("valgrind has no id")
    }
}

impl Drop for CallgrindRun {
    fn drop(&mut self) {
        if !matches!(self.valgrind.try_wait(), Ok(Some(_))) {
            let _ = self.valgrind.kill();
            let _ = self.valgrind.wait();
        }
    }
}
