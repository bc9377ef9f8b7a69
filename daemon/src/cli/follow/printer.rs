//! Prints the events of a deployment: JSON lines, plain lines, or lines above one line that shows what goes on now.

use std::io::{self, Write};

use cutover_core::deployment::Outcome;
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressFinish, ProgressStyle};
use tokio::time::Instant;

use super::super::codes::Codes;
use super::super::screen::{Line, Now, Paper, ending, event::Telling, live};
use crate::api::DeploymentEvent;
use crate::control::DeploymentStatus;

/// What is beside the text of the live line: the spinner and a blank.
const BESIDE: usize = 3;

/// Where the events of one deployment or of several go.
#[derive(Clone, Debug)]
pub(in crate::cli) struct Board {
    paper: Paper,
    /// The exit codes for JSON lines. `None`: lines for people.
    json: Option<Codes>,
    /// The program with its hosts, for commands to type.
    cutover: String,
    /// The live lines, on a terminal.
    live: Option<MultiProgress>,
}

/// Prints the events of one deployment.
#[derive(Debug)]
pub(super) struct Printer {
    board: Board,
    telling: Telling,
    label: String,
    bar: Option<ProgressBar>,
    /// The phase of the last event, and since when.
    phase: (String, Instant),
}

impl Board {
    pub(in crate::cli) fn new(paper: Paper, json: Option<Codes>, cutover: String) -> Self {
        let is_live = paper.is_terminal() && json.is_none();
        let live = is_live.then(|| MultiProgress::with_draw_target(ProgressDrawTarget::stdout()));
        Self { paper, json, cutover, live }
    }

    /// So many deployments are followed.
    pub(super) fn expects(&self, deployments: usize) {
        if let Some(codes) = &self.json {
            codes.expects(deployments);
        }
    }

    /// Whether there are live lines, so that somebody has to look what goes on.
    pub(super) fn is_live(&self) -> bool {
        self.live.is_some()
    }

    /// Ends the live lines. After Ctrl-C the terminal has written `^C` behind the last one, and it stays.
    pub(super) fn clear(&self) {
        if let Some(live) = &self.live {
            let _ = live.clear();
            // The bars are drawn once more when they are dropped.
            live.set_draw_target(ProgressDrawTarget::hidden());
        }
    }

    fn print(&self, lines: &[Line]) -> io::Result<()> {
        match &self.live {
            Some(live) => live.suspend(|| self.paper.write(lines)),
            None => self.paper.write(lines),
        }
    }

    /// Prints a line about the connection, on standard error.
    pub(super) fn note(&self, text: &str) {
        let print = || drop(writeln!(io::stderr(), "cutover: {text}"));
        match &self.live {
            Some(live) => live.suspend(print),
            None => print(),
        }
    }
}

impl Printer {
    pub(super) fn new(board: &Board, label: String) -> Self {
        let bar = board.live.as_ref().map(|live| {
            let bar = live.add(ProgressBar::new_spinner().with_finish(ProgressFinish::AndClear));
            if let Ok(style) = ProgressStyle::with_template(" {spinner} {msg}") {
                bar.set_style(style.tick_chars("|/-\\ "));
            }
            bar
        });
        let telling = Telling::new(label.clone());
        Self { board: board.clone(), telling, label, bar, phase: (String::new(), Instant::now()) }
    }

    pub(super) fn board(&self) -> &Board {
        &self.board
    }

    pub(super) fn print(&mut self, json: &str, event: &DeploymentEvent) -> io::Result<()> {
        if let Some(codes) = &self.board.json {
            let mut out = io::stdout().lock();
            writeln!(out, "{}", codes.line(json, event))?;
            return out.flush();
        }
        if self.phase.0 != event.phase {
            self.phase = (event.phase.clone(), Instant::now());
        }
        let now = Now::here();
        let mut lines = self.telling.lines(event, &now);
        if let Some(end) = &event.ending {
            lines.extend(ending::lines(end, &self.board.cutover, &now));
        }
        if event.outcome.is_some()
            && let Some(bar) = self.bar.take()
        {
            bar.finish_and_clear();
        }
        self.board.print(&lines)?;
        if let Some(bar) = &self.bar {
            bar.tick();
        }
        Ok(())
    }

    /// Says how a deployment has ended if no event that was printed does.
    pub(super) fn close(&self, group: &str, deployment: &str, outcome: Outcome) -> io::Result<()> {
        match &self.board.json {
            Some(codes) => writeln!(io::stdout(), "{}", codes.closing(group, deployment, outcome)),
            None => Ok(()),
        }
    }

    /// Shows what goes on now.
    pub(super) fn show(&self, status: &DeploymentStatus) {
        let Some(bar) = &self.bar else { return };
        let width = self.board.paper.width().unwrap_or(80).saturating_sub(BESIDE + self.label.len());
        let lasts = (self.phase.0 == status.phase).then(|| self.phase.1.elapsed());
        bar.set_message(format!("{}{}", self.label, live::fitting(&live::parts(status, lasts), width)));
        bar.tick();
    }
}
