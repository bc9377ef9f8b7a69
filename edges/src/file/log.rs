//! The access log of nginx, from which the answers of each slot are counted.
//!
//! It is read from its end at the start, and goes on over rotation: a file that was renamed is read on for a while beside the new
//! one, because workers write to it until nginx opens its logs again; a file that was cut short is read from its beginning. Half a
//! line waits for its rest.
//!
//! nginx writes a line when the request is over. So a request is given and done at once, and none is ever seen waiting: a slot that
//! hangs shows when its requests time out, or when clients give up.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use cutover_core::api::Slot;
use cutover_core::counters::{Counters, Failures, ServerErrors};
use cutover_core::latency::{Cells, Histogram, Latency};
use parking_lot::Mutex;

use super::settings::FileGroup;

mod line;

use line::{Attempt, CLIENT_CLOSED, Part, parse};

/// How long a file is read on after it was renamed. logrotate tells nginx of it at once.
const READ_ON: Duration = Duration::from_secs(60);
/// A longer line is of no format that is read here.
const LONGEST: usize = 64 * 1024;
/// The end of a log that is looked at for its format, in bytes.
const SAMPLE: u64 = 64 * 1024;

/// The access log.
#[derive(Debug)]
pub(super) struct Log {
    path: PathBuf,
    groups: Vec<FileGroup>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// The files that are read, the present one last.
    tails: Vec<Tail>,
    totals: Vec<GroupTotals>,
    is_told: bool,
}

/// The totals of a group.
#[derive(Debug)]
struct GroupTotals {
    /// The active slot, when the file was read last. It gets what no server could be tried for.
    active: usize,
    slots: Vec<Total>,
}

/// What a slot has done since the log is read.
#[derive(Debug, Default)]
struct Total {
    counters: Counters,
    failures: Failures,
    server_errors: ServerErrors,
    first_byte: Cells,
    whole: Cells,
}

#[derive(Debug)]
struct Tail {
    file: File,
    /// Device and inode.
    id: (u64, u64),
    at: u64,
    half: Vec<u8>,
    replaced: Option<Instant>,
}

impl Log {
    /// Begins at the end of the log.
    pub(super) fn new(path: &Path, groups: &[FileGroup]) -> Self {
        let totals = groups.iter().map(|group| GroupTotals {
            active: 0,
            slots: group.slots.iter().map(|_| Total::default()).collect(),
        });
        let state = State {
            tails: Tail::open(path, true).into_iter().collect(),
            totals: totals.collect(),
            is_told: false,
        };
        Self { path: path.to_owned(), groups: groups.to_vec(), state: Mutex::new(state) }
    }

    /// Reads what is new, and fills in what the slots of a group have done.
    pub(super) fn count(&self, group: &str, active: usize, slots: &mut [Slot]) {
        let Some(at) = self.groups.iter().position(|one| one.name == group) else { return };
        let mut state = self.state.lock();
        if let Some(totals) = state.totals.get_mut(at) {
            totals.active = active;
        }
        self.read(&mut state);
        let totals = state.totals.get(at).into_iter().flat_map(|totals| &totals.slots);
        for (slot, total) in slots.iter_mut().zip(totals) {
            slot.counters = total.counters;
            slot.failures = total.failures;
            slot.server_errors = total.server_errors;
            slot.first_byte = latency(&total.first_byte);
            slot.whole = latency(&total.whole);
        }
    }

    fn read(&self, state: &mut State) {
        let State { tails, totals, is_told } = state;
        let present = fs::metadata(&self.path).map(|file| (file.dev(), file.ino())).ok();
        if present.is_some() && tails.last().map(|tail| tail.id) != present {
            tails.last_mut().into_iter().for_each(|tail| tail.replaced = Some(Instant::now()));
            tails.extend(Tail::open(&self.path, false));
        }
        if present.is_none() && tails.is_empty() && !std::mem::replace(is_told, true) {
            tracing::warn!(log = %self.path.display(), "the access log does not exist, so no answers are counted");
        }
        for tail in tails.iter_mut() {
            if let Err(error) = tail.read(|line| self.add(totals, line))
                && !std::mem::replace(is_told, true)
            {
                tracing::warn!(log = %self.path.display(), %error, "failed to read the access log");
            }
        }
        tails.retain(|tail| tail.replaced.is_none_or(|replaced| replaced.elapsed() < READ_ON));
    }

    fn add(&self, totals: &mut [GroupTotals], line: &str) {
        for part in parse(line).unwrap_or_default() {
            for (group, totals) in self.groups.iter().zip(totals.iter_mut()) {
                add(group, totals, &part);
            }
        }
    }
}

/// How many of the last lines of a log have the format, of how many. The error is a clause.
pub(super) fn recognised(path: &Path) -> Result<(usize, usize), String> {
    let read = || {
        let mut file = File::open(path)?;
        let from = file.metadata()?.len().saturating_sub(SAMPLE);
        file.seek(SeekFrom::Start(from))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        std::io::Result::Ok((from, bytes))
    };
    let (from, bytes) = read().map_err(|error| error.to_string())?;
    let text = String::from_utf8_lossy(&bytes);
    // The first one may be cut off.
    let lines: Vec<&str> = text.lines().skip(usize::from(from > 0)).collect();
    Ok((lines.iter().filter(|line| parse(line).is_some()).count(), lines.len()))
}

fn latency(cells: &Cells) -> Latency {
    let mut histogram = Histogram::default();
    cells.add_to(&mut histogram);
    Latency::from(&histogram)
}

/// Counts one part of a request, if it is of this group.
fn add(group: &FileGroup, totals: &mut GroupTotals, part: &Part<'_>) {
    let slot_of = |attempt: &Attempt<'_>| match attempt.address == group.upstream {
        true => Some(totals.active),
        false => group.slot_of(attempt.address),
    };
    let Some(last) = part.attempts.last() else { return };
    let slots: Vec<Option<usize>> = part.attempts.iter().map(slot_of).collect();
    for (at, (attempt, slot)) in part.attempts.iter().zip(&slots).enumerate() {
        let Some(total) = slot.and_then(|slot| totals.slots.get_mut(slot)) else { continue };
        let is_last = at + 1 == part.attempts.len();
        total.counters.attempts += 1;
        if let Some(failure) = failure(group, attempt, is_last.then_some(part.status), &mut total.failures) {
            *failure += 1;
            total.counters.attempts_failed += 1;
        }
        if let Some(first_byte) = attempt.first_byte {
            total.first_byte.count(micros(first_byte));
        }
        if let Some(whole) = attempt.whole.filter(|_| attempt.status != Some(101)) {
            total.whole.count(micros(whole));
        }
    }
    let Some(total) = slot_of(last).and_then(|slot| totals.slots.get_mut(slot)) else { return };
    total.counters.requests += 1;
    let responses = &mut total.counters.responses;
    let class = match part.status {
        CLIENT_CLOSED => &mut responses.aborted,
        100..200 => &mut responses.informational,
        200..300 => &mut responses.success,
        300..400 => &mut responses.redirection,
        400..500 => &mut responses.client_error,
        _ => &mut responses.server_error,
    };
    *class += 1;
    let errors = &mut total.server_errors;
    match part.status {
        500 => errors.internal += 1,
        502 => errors.bad_gateway += 1,
        503 => errors.unavailable += 1,
        504 => errors.gateway_timeout += 1,
        _ => {}
    }
}

/// What was wrong with an attempt. `end`: how the request ended, if the attempt was its last one.
fn failure<'a>(
    group: &FileGroup,
    attempt: &Attempt<'_>,
    end: Option<u16>,
    failures: &'a mut Failures,
) -> Option<&'a mut u64> {
    let status = attempt.status.or(end);
    if attempt.address == group.upstream {
        return Some(&mut failures.no_peer);
    }
    let has_answered = attempt.first_byte.is_some() && attempt.status.is_some();
    match (end, status) {
        // It was tried again, although it had answered.
        (None, _) if has_answered => Some(&mut failures.status),
        (None, Some(504)) => Some(&mut failures.timeout),
        // The log does not say whether there was a connection.
        (None, _) => Some(&mut failures.answer),
        // An application may answer so itself.
        (Some(_), Some(502 | 504)) if has_answered => None,
        (Some(_), Some(504)) => Some(&mut failures.timeout),
        (Some(_), Some(502)) => Some(&mut failures.answer),
        _ => None,
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

impl Tail {
    fn open(path: &Path, at_its_end: bool) -> Option<Self> {
        let mut file = File::open(path).ok()?;
        let metadata = file.metadata().ok()?;
        let at = if at_its_end { file.seek(SeekFrom::End(0)).ok()? } else { 0 };
        Some(Self { file, id: (metadata.dev(), metadata.ino()), at, half: Vec::new(), replaced: None })
    }

    /// Reads to the end. Calls `take` with each whole line.
    fn read(&mut self, mut take: impl FnMut(&str)) -> std::io::Result<()> {
        if self.file.metadata()?.len() < self.at {
            self.at = 0;
            self.half.clear();
        }
        self.file.seek(SeekFrom::Start(self.at))?;
        let mut piece = vec![0; LONGEST];
        loop {
            let read = self.file.read(&mut piece)?;
            if read == 0 {
                return Ok(());
            }
            self.at += read as u64;
            self.half.extend_from_slice(piece.get(..read).unwrap_or_default());
            let Some(end) = self.half.iter().rposition(|byte| *byte == b'\n') else {
                if self.half.len() > LONGEST {
                    self.half.clear();
                }
                continue;
            };
            let rest = self.half.split_off(end + 1);
            String::from_utf8_lossy(&self.half).lines().for_each(&mut take);
            self.half = rest;
        }
    }
}

#[cfg(test)]
mod tests;
