//! What is kept of one deployment: its events, the figures of its soak, and the output of its commands.

use std::path::Path;

use cutover_engine::clock::rfc3339;
use cutover_engine::figures::{Done, Point};
use cutover_engine::world::World;
use serde::{Deserialize, Serialize};
use tokio::fs::File;
use tokio::io::{AsyncReadExt, AsyncSeekExt};

use super::{Control, DeploymentStatus, Refusal};
use crate::figures;
use crate::journal::{KEPT, Record};

/// Ending of the files with the output of commands.
const ENDING: &str = ".log";
/// Length in bytes of the end of an output in a report.
const END: u64 = 4096;

/// One page about one deployment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// The deployment.
    pub deployment: DeploymentStatus,
    /// Its events.
    pub events: Vec<EventStatus>,
    /// The figures of both slots, from the first traffic of the new version until the old one had drained. Empty: the deployment
    /// moved no traffic, or another host has them.
    pub figures: Vec<PointStatus>,
    /// The output of its commands on this host.
    pub outputs: Vec<OutputStatus>,
}

/// One event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventStatus {
    /// When.
    pub time: String,
    /// The phase.
    pub phase: String,
    /// The message.
    pub message: String,
}

/// The figures of both slots in a span of time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PointStatus {
    /// The end of the span.
    pub time: String,
    /// Its length in seconds.
    pub seconds: f64,
    /// The new slot.
    pub new: DoneStatus,
    /// The old slot.
    pub old: DoneStatus,
}

/// The figures of one slot.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DoneStatus {
    /// Answers to users.
    pub answers: u64,
    /// The part of them that counts against the slot: 5xx and rescued.
    pub errors: u64,
    /// Half of the first bytes came within so many microseconds. `None`: there were none.
    pub p50_us: Option<u64>,
    /// 99 % of the first bytes came within so many microseconds.
    pub p99_us: Option<u64>,
}

/// The output of a command.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutputStatus {
    /// The name of the command.
    pub name: String,
    /// Length in bytes.
    pub bytes: u64,
    /// The last lines.
    pub end: String,
}

impl From<Record> for EventStatus {
    fn from(Record { at, phase, message, .. }: Record) -> Self {
        Self { time: rfc3339(at), phase, message }
    }
}

impl From<Point> for PointStatus {
    fn from(Point { at, span, new, old }: Point) -> Self {
        Self { time: rfc3339(at), seconds: span.as_secs_f64(), new: new.into(), old: old.into() }
    }
}

impl From<Done> for DoneStatus {
    fn from(Done { answers, errors, first_byte }: Done) -> Self {
        let quantile = |part| first_byte.quantile_us(part);
        Self { answers, errors, p50_us: quantile(0.5), p99_us: quantile(0.99) }
    }
}

impl<W: World> Control<W> {
    /// Everything that is kept of a deployment.
    pub async fn report(&self, id: &str) -> Result<Report, Refusal> {
        let deployment = self.kept_deployment(id).await?;
        let events = self.journal.records(id, 0).await?.into_iter().map(EventStatus::from).collect();
        let folder = self.world.folder(id);
        let points = tokio::task::spawn_blocking(move || folder.map(|folder| figures::read(&folder)));
        let points = points.await.ok().flatten().unwrap_or_default();
        let figures = points.into_iter().map(PointStatus::from).collect();
        Ok(Report { deployment, events, figures, outputs: self.outputs(id).await? })
    }

    /// The output of a deployment's commands on this host, by name.
    pub async fn outputs(&self, id: &str) -> Result<Vec<OutputStatus>, Refusal> {
        self.kept_deployment(id).await?;
        let mut outputs = Vec::new();
        let Some(folder) = self.world.folder(id) else { return Ok(outputs) };
        // A deployment without commands has no folder.
        let Ok(mut files) = tokio::fs::read_dir(&folder).await else { return Ok(outputs) };
        while let Ok(Some(file)) = files.next_entry().await {
            let Some(name) =
                file.file_name().to_str().and_then(|name| name.strip_suffix(ENDING)).map(str::to_owned)
            else {
                continue;
            };
            let bytes = file.metadata().await.map_or(0, |file| file.len());
            let end = end_of(&file.path()).await.unwrap_or_default();
            outputs.push(OutputStatus { name, bytes, end });
        }
        outputs.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(outputs)
    }

    /// Opens the output of a command of a deployment, and its length now.
    pub async fn open_output(&self, id: &str, name: &str) -> Result<(File, u64), Refusal> {
        let outputs = self.outputs(id).await?;
        // Only a name that the folder has, so that no path leads out of it.
        let found = outputs.iter().find(|output| output.name == name);
        let (Some(output), Some(folder)) = (found, self.world.folder(id)) else {
            let known = outputs.into_iter().map(|output| output.name).collect();
            return Err(Refusal::NoOutput { id: id.to_owned(), name: name.to_owned(), known });
        };
        let gone = |error: std::io::Error| Refusal::Interrupted(format!("the output of {name}: {error}"));
        let file = File::open(folder.join(format!("{name}{ENDING}"))).await.map_err(gone)?;
        Ok((file, output.bytes))
    }

    async fn kept_deployment(&self, id: &str) -> Result<DeploymentStatus, Refusal> {
        let Some(entry) = self.journal.entry(id).await? else {
            return Err(Refusal::NotKept { id: id.to_owned(), kept: KEPT });
        };
        Ok(DeploymentStatus {
            ended: self.ended(&entry).await?,
            ..DeploymentStatus::of(entry, self.clock.now())
        })
    }
}

async fn end_of(path: &Path) -> std::io::Result<String> {
    let mut file = File::open(path).await?;
    let length = file.metadata().await?.len();
    file.seek(std::io::SeekFrom::Start(length.saturating_sub(END))).await?;
    let mut bytes = Vec::new();
    file.take(END).read_to_end(&mut bytes).await?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
