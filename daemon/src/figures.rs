//! The figures files: the points of a soak, beside the output of the deployment's commands.
//!
//! They are no part of the journal: a figure decides nothing, and a disk that hangs must not hold up a soak. So a thread of its own
//! writes them, without a flush, and what does not fit into its queue is lost. A file has a line of JSON for each point. When it
//! has twice as many points as a report shows, each two become one, and the points that follow are as long. So a soak of any
//! length has the same size. A daemon that is killed loses the point that it was adding up.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use cutover_engine::figures::{Point, thinned};

/// Most points of a report.
pub(crate) const MOST: usize = 600;
/// The file in the folder of a deployment.
const NAME: &str = "figures.jsonl";
/// Points that wait for a slow disk.
const QUEUE: usize = 256;
/// Series that are open at once. One that was closed goes on with what is in its file.
const MOST_SERIES: usize = 64;

/// The thread that writes the files.
#[derive(Debug)]
pub(crate) struct FiguresFiles {
    points: SyncSender<(PathBuf, Point)>,
}

impl FiguresFiles {
    /// Starts the thread. It ends when this is dropped.
    pub(crate) fn start() -> Self {
        let (points, queue) = sync_channel(QUEUE);
        let thread = std::thread::Builder::new().name("figures".to_owned());
        if let Err(error) = thread.spawn(move || write_all(&queue)) {
            tracing::warn!(%error, "the figures of deployments are not kept");
        }
        Self { points }
    }

    /// Adds a point to the file in a folder, soon.
    pub(crate) fn keep(&self, folder: PathBuf, point: Point) {
        // Full, or without its thread: the point is lost.
        let _ = self.points.try_send((folder, point));
    }
}

/// The points in a folder, at most [`MOST`]. None if there is no file. A line that was not written to its end is left out.
pub(crate) fn read(folder: &Path) -> Vec<Point> {
    let text = fs::read(folder.join(NAME)).unwrap_or_default();
    let lines = text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    thinned(lines.filter_map(|line| serde_json::from_slice(line).ok()).collect(), MOST)
}

fn write_all(queue: &Receiver<(PathBuf, Point)>) {
    let mut series: BTreeMap<PathBuf, Series> = BTreeMap::new();
    while let Ok((folder, point)) = queue.recv() {
        if series.len() >= MOST_SERIES && !series.contains_key(&folder) {
            series.clear();
        }
        let one = series.entry(folder.clone()).or_insert_with(|| Series::of(&folder));
        if let Err(error) = one.add(&folder, point) {
            tracing::debug!(folder = %folder.display(), %error, "a point of the figures is lost");
            series.remove(&folder);
        }
    }
}

/// What is known of one file.
#[derive(Debug)]
struct Series {
    lines: usize,
    /// So many points become one line.
    each: usize,
    open: Option<(Point, usize)>,
    /// Whether a kill has left half a line at the end of the file.
    is_torn: bool,
}

impl Series {
    fn of(folder: &Path) -> Self {
        let text = fs::read(folder.join(NAME)).unwrap_or_default();
        let is_torn = text.last().is_some_and(|byte| *byte != b'\n');
        Self { lines: text.iter().filter(|byte| **byte == b'\n').count(), each: 1, open: None, is_torn }
    }

    fn add(&mut self, folder: &Path, point: Point) -> io::Result<()> {
        let (point, number) = match self.open.take() {
            Some((open, number)) => (open.and(&point), number + 1),
            None => (point, 1),
        };
        if number < self.each {
            self.open = Some((point, number));
            return Ok(());
        }
        append(folder, &point, std::mem::take(&mut self.is_torn))?;
        self.lines += 1;
        if self.lines >= 2 * MOST {
            let points = read(folder);
            self.lines = points.len();
            self.each *= 2;
            rewrite(folder, &points)?;
        }
        Ok(())
    }
}

fn append(folder: &Path, point: &Point, after_torn: bool) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    let mut file = OpenOptions::new().create(true).append(true).mode(0o600).open(folder.join(NAME))?;
    let before = if after_torn { "\n" } else { "" };
    file.write_all(format!("{before}{}", line(point)).as_bytes())
}

fn rewrite(folder: &Path, points: &[Point]) -> io::Result<()> {
    let draft = folder.join(format!("{NAME}.new"));
    let mut file = OpenOptions::new().create(true).write(true).truncate(true).mode(0o600).open(&draft)?;
    let text: String = points.iter().map(line).collect();
    file.write_all(text.as_bytes())?;
    fs::rename(&draft, folder.join(NAME))
}

fn line(point: &Point) -> String {
    format!("{}\n", serde_json::json!(point))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use cutover_core::deployment::Time;
    use cutover_engine::figures::Done;

    use super::*;

    fn point(second: u64) -> Point {
        let new = Done { answers: 7, errors: 1, first_byte: [(40, 7)].into_iter().collect() };
        Point { at: Time(1000 * second), span: Duration::from_secs(1), new, old: Done::default() }
    }

    #[test]
    fn a_long_soak_is_no_larger_than_a_short_one_and_loses_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().join("shop-1");
        let mut series = Series::of(&folder);
        for second in 1..=5000 {
            series.add(&folder, point(second)).unwrap();
        }
        let points = read(&folder);
        assert!((MOST / 2..=MOST).contains(&points.len()), "{}", points.len());
        let open = series.open.map_or(0, |(open, _)| open.new.answers);
        assert_eq!(points.iter().map(|point| point.new.answers).sum::<u64>() + open, 7 * 5000);
        assert!(points.windows(2).all(|two| two[0].at < two[1].at));
        assert!(fs::metadata(folder.join(NAME)).unwrap().len() < 512 * 1024);
    }

    #[test]
    fn after_a_kill_the_series_goes_on_and_half_a_line_is_left_out() {
        let folder = tempfile::tempdir().unwrap();
        let mut series = Series::of(folder.path());
        (1..=10).for_each(|second| series.add(folder.path(), point(second)).unwrap());
        let path = folder.path().join(NAME);
        let text = fs::read_to_string(&path).unwrap();
        fs::write(&path, &text[..text.len() - 9]).unwrap();
        assert_eq!(read(folder.path()).len(), 9);
        let mut series = Series::of(folder.path());
        (11..=20).for_each(|second| series.add(folder.path(), point(second)).unwrap());
        assert_eq!(read(folder.path()).len(), 19);
    }

    #[test]
    fn the_thread_writes_what_it_gets() {
        let folder = tempfile::tempdir().unwrap();
        let files = FiguresFiles::start();
        files.keep(folder.path().to_owned(), point(1));
        let begin = std::time::Instant::now();
        while read(folder.path()).is_empty() {
            assert!(begin.elapsed() < Duration::from_secs(30));
            std::thread::yield_now();
        }
        assert_eq!(read(folder.path()), [point(1)]);
    }
}
