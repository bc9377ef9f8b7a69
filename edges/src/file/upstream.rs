//! The upstream file: which route it stands for, and the file for another route.
//!
//! ```text
//! # Written by cutover; slot blue is active, generation 7.
//! # It follows 5d0c7e5f3a1b2c4d: deployment shop-1 of version "2.0.0"
//! upstream backend {
//!     # blue (active)
//!     server 127.0.0.1:3000;
//!     # green
//!     # server 127.0.0.1:3001;
//!     keepalive 32;
//! }
//! ```
//!
//! Labels and servers are the managed lines. All other lines, in the block and around it, are kept byte for byte. A file with the
//! first line must be exactly as this code writes it for the same route. A file without it is adopted if its servers are those of
//! one slot.

use cutover_core::deployment::Revision;
use cutover_core::fraction::{Percent, Share};

use super::diff::unified;
use super::settings::{FileGroup, FileSlot, Server};
use super::syntax::{self, Block};

const HEAD: &str = "# Written by cutover; ";
const FOLLOWS: &str = "# It follows ";

/// The route of a group, as its file says it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct FileRoute {
    /// The active slot, as a position.
    pub(super) active: usize,
    /// The slot with a share, as a position.
    pub(super) second: Option<(usize, Percent)>,
    /// How many times the file was written.
    pub(super) generation: u32,
}

/// The change that wrote a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Cause {
    /// The revision before it.
    pub(super) follows: Option<Revision>,
    /// Its reason.
    pub(super) reason: Option<String>,
}

/// A file that was read and understood.
#[derive(Clone, Debug)]
pub(super) struct UpstreamFile {
    /// Its route.
    pub(super) route: FileRoute,
    /// The change that wrote it.
    pub(super) cause: Cause,
    layout: Layout,
}

/// The lines that are kept, and the place of the managed ones.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Layout {
    /// The lines before the header.
    before: String,
    /// The header, without its indentation. Empty in a file that nobody has adopted.
    header: Vec<String>,
    /// The line `upstream NAME {`, with its end.
    open: String,
    above: String,
    below: String,
    /// The line of `}` and all after it.
    after: String,
    outer: String,
    inner: String,
    newline: &'static str,
}

/// The revision of a file: the checksum of all its bytes.
pub(super) fn revision(bytes: &[u8]) -> Revision {
    Revision::new(format!("{:016x}", xxhash_rust::xxh3::xxh3_64(bytes)))
}

impl UpstreamFile {
    /// Reads a file. The error says what is wrong and the next step, after `FILE: `.
    pub(super) fn parse(bytes: &[u8], group: &FileGroup) -> Result<Self, String> {
        let text = std::str::from_utf8(bytes)
            .map_err(|_| "it is not UTF-8, so it cannot be changed line by line".to_owned())?;
        let block = syntax::upstream(text, &group.upstream)?;
        let layout = Layout::of(text, &block, group)?;
        match layout.header.first().filter(|line| line.starts_with(HEAD)).cloned() {
            Some(head) => Self::written(text, layout, &head, group),
            None => Self::adopted(text, layout, &block, group),
        }
    }

    /// The file for another route. Its cause is written into it.
    pub(super) fn render(&self, route: &FileRoute, cause: &Cause, group: &FileGroup) -> String {
        self.layout.render(&header(route, cause, group), route, group)
    }

    fn written(text: &str, layout: Layout, head: &str, group: &FileGroup) -> Result<Self, String> {
        let Some(route) = route_of(head, group) else {
            return Err(format!(
                "its first line \"{head}\" fits no route of group \"{}\", which has the slots {}; \
                 to let cutover adopt the file as it is, delete that line",
                group.name,
                names(group)
            ));
        };
        let cause = layout.header.get(1).map(|line| cause_of(line)).unwrap_or_default();
        let expected = layout.render(&layout.header, &route, group);
        if expected == text {
            return Ok(Self { route, cause, layout });
        }
        Err(format!(
            "somebody has edited it since cutover wrote it, or the servers in the configuration have changed; undo the edit, or \
             delete its line \"{HEAD}..\", then cutover adopts the servers that are there; - is what the file has, + is what is \
             expected:\n{}",
            unified(text, &expected)
        ))
    }

    fn adopted(text: &str, layout: Layout, block: &Block, group: &FileGroup) -> Result<Self, String> {
        let live: Vec<&[String]> = servers(block).collect();
        let has = |server: &Server| live.iter().filter(|words| server.is(words)).count();
        let matching = |slot: &FileSlot| slot.servers.iter().filter(|server| has(server) == 1).count();
        let is_whole = |slot: &FileSlot| live.len() == slot.servers.len() && matching(slot) == live.len();
        if let Some(active) = group.slots.iter().position(is_whole) {
            let route = FileRoute { active, second: None, generation: 0 };
            return Ok(Self { route, cause: Cause::default(), layout });
        }
        let all =
            group.slots.iter().enumerate().max_by_key(|(at, slot)| (matching(slot), std::cmp::Reverse(*at)));
        let nearest = FileRoute { active: all.map_or(0, |(at, _)| at), second: None, generation: 0 };
        let expected = layout.render(&[], &nearest, group);
        let which = match group.slots.iter().filter(|slot| matching(slot) > 0).count() {
            0 | 1 => "its servers are not those of one slot",
            _ => "it has servers of several slots",
        };
        Err(format!(
            "{which}, so it is not known which slot has the traffic; leave the servers of one slot in it, or name its servers in \
             slots; - is what the file has, + is what is expected for slot \"{}\":\n{}",
            group.slots.get(nearest.active).map_or("", |slot| &slot.name),
            unified(text, &expected)
        ))
    }
}

impl Layout {
    fn of(text: &str, block: &Block, group: &FileGroup) -> Result<Self, String> {
        for directive in
            block.directives.iter().filter(|one| one.words.first().is_some_and(|word| word == "server"))
        {
            if !directive.is_alone {
                let line = directive.first + 1;
                return Err(format!(
                    "line {line}: \"server ..;\" must be alone on its line; move comments and others to their own"
                ));
            }
        }
        let lines: Vec<&str> = text.split_inclusive('\n').collect();
        let between = |from: usize, to: usize| lines.get(from..to).unwrap_or_default();
        let is_header =
            |line: &&&str| [HEAD, FOLLOWS].iter().any(|start| line.trim_start().starts_with(start));
        let header = between(0, block.open).iter().rev().take_while(is_header).count();
        let start = block.open - header;
        let open = lines.get(block.open).copied().unwrap_or_default();
        let body = between(block.open + 1, block.close);
        // Lines of other directives may look like a comment, if a word in quotes goes on over several lines.
        let is_free = |at: usize| {
            let line = block.open + 1 + at;
            !block.directives.iter().any(|one| one.first <= line && line <= one.last)
        };
        let is_managed = |(at, line): &(usize, &&str)| match is_free(*at) {
            true => is_comment_of(line.trim(), group),
            false => is_server_at(block, block.open + 1 + at),
        };
        let first = body.iter().enumerate().find(is_managed).map(|(at, _)| at);
        let kept = body.iter().enumerate().filter(|line| !is_managed(line));
        // Servers come first in a block that has none.
        let place = first.unwrap_or(0);
        let part = |wanted: bool| {
            kept.clone().filter(|(at, _)| (*at < place) == wanted).map(|(_, line)| *line).collect::<String>()
        };
        let indentation =
            |line: &str| line.chars().take_while(|char| matches!(char, ' ' | '\t')).collect::<String>();
        let outer = indentation(open);
        let like =
            first.and_then(|at| body.get(at)).or_else(|| body.iter().find(|line| !line.trim().is_empty()));
        Ok(Self {
            before: between(0, start).concat(),
            header: between(start, block.open).iter().map(|line| line.trim().to_owned()).collect(),
            open: open.to_owned(),
            above: part(true),
            below: part(false),
            after: between(block.close, lines.len()).concat(),
            inner: like.map_or_else(|| format!("{outer}    "), |line| indentation(line)),
            outer,
            newline: if open.ends_with("\r\n") { "\r\n" } else { "\n" },
        })
    }

    fn render(&self, header: &[String], route: &FileRoute, group: &FileGroup) -> String {
        let Self { before, open, above, below, after, outer, inner, newline, .. } = self;
        let line = |indentation: &str, text: &str| format!("{indentation}{text}{newline}");
        let header: String = header.iter().map(|text| line(outer, text)).collect();
        let managed: String = managed(route, group).iter().map(|text| line(inner, text)).collect();
        [before, &header, open, above, &managed, below, after].map(String::as_str).concat()
    }
}

/// The managed lines of a route.
fn managed(route: &FileRoute, group: &FileGroup) -> Vec<String> {
    let mut lines = Vec::new();
    let weights = weights(route, group);
    for (at, slot) in group.slots.iter().enumerate() {
        let state = match (at == route.active, &route.second) {
            (true, None) => " (active)".to_owned(),
            (true, Some((_, percent))) => format!(" (active, {})", rest(*percent)),
            (false, Some((second, percent))) if *second == at => format!(" ({percent})"),
            _ => String::new(),
        };
        lines.push(format!("# {}{state}", slot.name));
        for server in &slot.servers {
            lines.push(match (weights, at == route.active) {
                (None, true) => format!("server {server};"),
                (Some((active, _)), true) => format!("server {server} weight={active};"),
                (Some((_, second)), false) if route.second.is_some_and(|(its, _)| its == at) => {
                    format!("server {server} weight={second};")
                }
                _ => format!("# server {server};"),
            });
        }
    }
    lines
}

/// The weight of each server of the active slot and of the second one, so that the slots have their shares whatever the number of
/// their servers. `None`: there is no share.
fn weights(route: &FileRoute, group: &FileGroup) -> Option<(usize, usize)> {
    let (second, percent) = route.second?;
    let servers = |at: usize| group.slots.get(at).map_or(1, |slot| slot.servers.len());
    let second_part = usize::from(percent.parts());
    let active = usize::from(Share::WHOLE).saturating_sub(second_part) * servers(second);
    let second = second_part * servers(route.active);
    let divisor = gcd(active, second).max(1);
    Some((active / divisor, second / divisor))
}

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// What a share leaves.
fn rest(percent: Percent) -> Percent {
    let parts = Share::WHOLE.saturating_sub(percent.parts());
    Percent::from_parts(parts).unwrap_or(percent)
}

fn header(route: &FileRoute, cause: &Cause, group: &FileGroup) -> Vec<String> {
    let reason: String = cause
        .reason
        .iter()
        .flat_map(|reason| reason.chars())
        .map(|char| if char.is_control() { ' ' } else { char })
        .collect();
    let follows =
        cause.follows.iter().map(|revision| format!("{FOLLOWS}{revision}: {reason}").trim_end().to_owned());
    [head(route, group)].into_iter().chain(follows).collect()
}

fn head(route: &FileRoute, group: &FileGroup) -> String {
    let name = |at: usize| group.slots.get(at).map_or("", |slot| slot.name.as_str());
    let active = name(route.active);
    let generation = route.generation;
    match &route.second {
        None => format!("{HEAD}slot {active} is active, generation {generation}."),
        Some((second, percent)) => format!(
            "{HEAD}slot {active} is active with {}, {} has {percent}, generation {generation}.",
            rest(*percent),
            name(*second)
        ),
    }
}

/// The route of the first line, if it is one of the group's.
fn route_of(head: &str, group: &FileGroup) -> Option<FileRoute> {
    let (_, generation) = head.strip_suffix('.')?.rsplit_once(", generation ")?;
    let generation = generation.parse().ok()?;
    let fits = |route: &FileRoute| self::head(route, group) == head;
    let all = 0..group.slots.len();
    let whole = all.clone().map(|active| FileRoute { active, second: None, generation }).find(fits);
    whole.or_else(|| {
        let (before, _) = head.rsplit_once(" %, generation ")?;
        let (_, percent) = before.rsplit_once(' ')?;
        let percent = Percent::try_from(percent.parse::<f64>().ok()?).ok()?;
        let pairs = all.clone().flat_map(|active| all.clone().map(move |second| (active, second)));
        let splits = pairs.filter(|(active, second)| active != second);
        splits
            .map(|(active, second)| FileRoute { active, second: Some((second, percent)), generation })
            .find(fits)
    })
}

fn cause_of(line: &str) -> Cause {
    let Some((revision, reason)) = line.strip_prefix(FOLLOWS).and_then(|rest| rest.split_once(':')) else {
        return Cause::default();
    };
    let reason = Some(reason.trim_start().to_owned()).filter(|reason| !reason.is_empty());
    Cause { follows: Some(Revision::new(revision)), reason }
}

/// The words after `server` of each live server.
fn servers(block: &Block) -> impl Iterator<Item = &[String]> {
    block.directives.iter().filter_map(|one| match one.words.split_first() {
        Some((word, rest)) if word == "server" => Some(rest),
        _ => None,
    })
}

fn is_server_at(block: &Block, line: usize) -> bool {
    let of = |one: &&syntax::Directive| {
        one.first == line && one.words.first().is_some_and(|word| word == "server")
    };
    block.directives.iter().any(|one| of(&one))
}

/// Whether a comment is the label of a slot, or a server that is commented out.
fn is_comment_of(line: &str, group: &FileGroup) -> bool {
    let Some(comment) = line.strip_prefix('#').map(str::trim) else { return false };
    let is_label = |slot: &FileSlot| match comment.strip_prefix(slot.name.as_str()) {
        Some("") => true,
        Some(state) => {
            state.strip_prefix(" (").and_then(|state| state.strip_suffix(')')).is_some_and(is_state)
        }
        None => false,
    };
    let words: Vec<String> = comment
        .strip_suffix(';')
        .iter()
        .flat_map(|text| text.split_ascii_whitespace())
        .map(str::to_owned)
        .collect();
    let words = words.split_first().filter(|(word, _)| *word == "server").map_or(&[][..], |(_, rest)| rest);
    group.slots.iter().any(|slot| is_label(slot) || slot.servers.iter().any(|server| server.is(words)))
}

fn is_state(state: &str) -> bool {
    let percent = state.strip_prefix("active, ").unwrap_or(state);
    state == "active" || percent.strip_suffix(" %").is_some_and(|number| number.parse::<f64>().is_ok())
}

fn names(group: &FileGroup) -> String {
    group.slots.iter().map(|slot| format!("\"{}\"", slot.name)).collect::<Vec<_>>().join(" and ")
}

#[cfg(test)]
mod tests;
