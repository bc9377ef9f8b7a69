//! What has happened to a group's route: the last events, each in a fixed number of bytes.
//!
//! ```text
//! file "events": for each record of the state file a ring of 64 events of 256 bytes
//!
//! event:  0  number u64 | unix_ms u64 | generation u32 | kind u8 | figures? u8 | share u16 | requests, errors, slow u32
//!        36  from 24 | to 24 | who 32 | reason 136 | CRC-32
//! ```
//!
//! Numbers begin at 1; event n of a group is at place (n - 1) mod 64 of its ring. The checksum is of the event and the group's
//! name. A reader skips what does not match it: damaged events, and those of a group that had the record before.

use serde::{Deserialize, Serialize};

use crate::deployment::TakenBackBy;
use crate::fraction::Percent;
use crate::guard::Figures;
use crate::name::{self, FixedName, SLOT_SIZE, is_stored_slot};
use crate::sealed::{Reader, Writer, seal_for, sealed_for};

/// Events that a group keeps.
pub const KEPT: u64 = 64;
/// Bytes of an event.
pub const EVENT_SIZE: usize = 256;
/// Bytes of a group's ring.
pub const RING_SIZE: usize = KEPT as usize * EVENT_SIZE;

const WHO_SIZE: usize = 32;
const REASON_SIZE: usize = 136;

/// What kind of event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// All traffic was moved, or stayed under a new generation (a fence).
    Switch,
    /// A second slot got a share.
    Split,
    /// A change on trial was confirmed: it stays.
    Confirm,
    /// The guard took the traffic back.
    Guard,
    /// The lease ran out, and the traffic went back.
    Lease,
    /// The guard or the lease wanted to take the traffic back, but the fallback was failing too.
    Held,
    /// A switch was taken back: a reload dropped its slot at the same time, or the process that made it died before it was
    /// complete.
    TakenBack,
}

impl Kind {
    const ALL: [Self; 7] =
        [Self::Switch, Self::Split, Self::Confirm, Self::Guard, Self::Lease, Self::Held, Self::TakenBack];

    fn code(self) -> u8 {
        // The position: at most 6.
        Self::ALL.iter().position(|kind| *kind == self).map_or(0, |at| at as u8 + 1)
    }

    fn from_code(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.code() == code)
    }
}

/// One event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteEvent {
    /// Counts the events of the group, from 1.
    pub number: u64,
    /// When, in milliseconds since 1970.
    pub unix_ms: u64,
    /// What.
    pub kind: Kind,
    /// The slot that had the traffic before. A long name is read back as it is stored (see `name::stored`).
    pub from: String,
    /// The slot that has it after; the same.
    pub to: String,
    /// With [`Kind::Split`]: how much of the traffic goes to `to`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub percent: Option<Percent>,
    /// The route's generation after it.
    pub generation: u32,
    /// Who: a user, `token`, `guard`, `lease`.
    pub who: String,
    /// Why, as given; cut to 135 bytes.
    pub reason: String,
    /// What the slot on trial had done, where that was the reason.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub figures: Option<Figures>,
}

/// Where an event is in its group's ring, in bytes.
pub fn place_of(number: u64) -> usize {
    (number.wrapping_sub(1) % KEPT) as usize * EVENT_SIZE
}

impl RouteEvent {
    /// An event of the route that has this generation now. Number and time are given when it is written.
    pub fn new(kind: Kind, from: &str, to: &str, generation: u32) -> Self {
        Self {
            number: 0,
            unix_ms: 0,
            kind,
            from: from.to_owned(),
            to: to.to_owned(),
            percent: None,
            generation,
            who: String::new(),
            reason: String::new(),
            figures: None,
        }
    }

    /// The same with who did it, and why.
    pub fn by(self, who: &str, reason: &str) -> Self {
        Self { who: who.to_owned(), reason: reason.to_owned(), ..self }
    }

    /// Whether it has written a route. One that was confirmed, or held, is as it was.
    pub fn is_of_route(&self) -> bool {
        !matches!(self.kind, Kind::Confirm | Kind::Held)
    }

    /// The rule by which the edge itself has moved the traffic, if it did.
    pub fn taken_back_by(&self) -> Option<TakenBackBy> {
        match self.kind {
            Kind::Guard => Some(TakenBackBy::Guard),
            Kind::Lease => Some(TakenBackBy::Lease),
            _ => None,
        }
    }

    /// As stored for a group.
    pub fn encode(&self, group: &str) -> [u8; EVENT_SIZE] {
        let mut bytes = [0; EVENT_SIZE];
        let mut rest = Writer(&mut bytes);
        rest.put(&self.number.to_le_bytes());
        rest.put(&self.unix_ms.to_le_bytes());
        rest.put(&self.generation.to_le_bytes());
        rest.put(&[self.kind.code(), u8::from(self.figures.is_some())]);
        rest.put(&self.percent.map_or(0, Percent::parts).to_le_bytes());
        let figures = self.figures.unwrap_or_default();
        for figure in [figures.requests, figures.errors, figures.slow] {
            rest.put(&u32::try_from(figure).unwrap_or(u32::MAX).to_le_bytes());
        }
        rest.put(name::stored::<SLOT_SIZE>(&self.from).as_bytes());
        rest.put(name::stored::<SLOT_SIZE>(&self.to).as_bytes());
        rest.put(fitted::<WHO_SIZE>(&self.who).as_bytes());
        rest.put(fitted::<REASON_SIZE>(&self.reason).as_bytes());
        seal_for(group, &mut bytes);
        bytes
    }

    /// The same with the names of slots for people: whole if the group still has the slot.
    pub fn with_names<'a>(mut self, slots: impl Iterator<Item = &'a str> + Clone) -> Self {
        for stored in [&mut self.from, &mut self.to] {
            *stored = match slots.clone().find(|slot| is_stored_slot(stored, slot)) {
                Some(slot) => slot.to_owned(),
                None => name::shown(stored),
            };
        }
        self
    }

    /// Reads an event of a group back; `None`: never written, or damaged, or another group's, or nothing that
    /// [`encode`](Self::encode) makes.
    pub fn decode(bytes: &[u8], group: &str) -> Option<Self> {
        if bytes.len() != EVENT_SIZE || !sealed_for(group, bytes) {
            return None;
        }
        let mut rest = Reader(bytes);
        let (number, unix_ms, generation) = (rest.u64()?, rest.u64()?, rest.u32()?);
        let kind = Kind::from_code(rest.u8()?)?;
        let has_figures = rest.u8()? != 0;
        let percent = Percent::from_parts(rest.u16()?).filter(|percent| percent.parts() != 0);
        let mut figure = || rest.u32().map(u64::from);
        let figures = Figures { requests: figure()?, errors: figure()?, slow: figure()? };
        let from = FixedName::<SLOT_SIZE>::from_bytes(rest.take()?)?;
        let to = FixedName::<SLOT_SIZE>::from_bytes(rest.take()?)?;
        let who = FixedName::<WHO_SIZE>::from_bytes(rest.take()?)?;
        let reason = FixedName::<REASON_SIZE>::from_bytes(rest.take()?)?;
        let event = Self {
            number,
            unix_ms,
            kind,
            from: from.as_str().to_owned(),
            to: to.as_str().to_owned(),
            percent,
            generation,
            who: who.as_str().to_owned(),
            reason: reason.as_str().to_owned(),
            figures: has_figures.then_some(figures),
        };
        (event.encode(group) == bytes).then_some(event)
    }
}

/// The events of a group in its ring, oldest first.
pub fn decode_ring(bytes: &[u8], group: &str) -> Vec<RouteEvent> {
    let mut events: Vec<RouteEvent> =
        bytes.chunks(EVENT_SIZE).filter_map(|bytes| RouteEvent::decode(bytes, group)).collect();
    events.sort_by_key(|event| event.number);
    events
}

/// The event that moved the traffic to where it goes now. A fence, a confirmation, or a way back that comes after another one moves
/// nothing.
pub fn last_move(events: &[RouteEvent]) -> Option<&RouteEvent> {
    let mut sends = events.iter().rev().filter(|event| event.is_of_route());
    let last = sends.next()?;
    let is_same = |event: &&RouteEvent| (&event.to, event.percent) == (&last.to, last.percent);
    Some(sends.take_while(is_same).last().unwrap_or(last))
}

/// As much of the text as fits, in whole characters.
fn fitted<const N: usize>(text: &str) -> FixedName<N> {
    let end = (0..=text.len().min(N - 1)).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    text.get(..end).and_then(FixedName::new).unwrap_or(FixedName::EMPTY)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(number: u64) -> RouteEvent {
        RouteEvent {
            number,
            unix_ms: 1_700_000_000_123,
            kind: Kind::Guard,
            from: "green".into(),
            to: "blue".into(),
            percent: None,
            generation: 8,
            who: "guard".into(),
            reason: "5 of 20 requests failed: 25 %, the limit is 5 %".into(),
            figures: Some(Figures { requests: 20, errors: 5, slow: 0 }),
        }
    }

    #[test]
    fn an_event_survives_its_bytes() {
        for kind in Kind::ALL {
            let event = RouteEvent { kind, ..event(3) };
            assert_eq!(RouteEvent::decode(&event.encode("shop"), "shop"), Some(event));
        }
        let split = RouteEvent { percent: Percent::from_parts(1), figures: None, ..event(1) };
        assert_eq!(RouteEvent::decode(&split.encode("shop"), "shop"), Some(split));
    }

    #[test]
    fn long_slots_get_their_names_back() {
        let slots = ["release-20241129-canary-a", "release-20241129-canary-b"];
        let long = RouteEvent { from: slots[0].into(), to: "release-20241129-canary-c".into(), ..event(1) };
        let read = RouteEvent::decode(&long.encode("shop"), "shop").unwrap().with_names(slots.into_iter());
        assert_eq!((read.from.as_str(), read.to.as_str()), (slots[0], "releas.."));
        assert_eq!(event(1).with_names(slots.into_iter()), event(1));
    }

    #[test]
    fn damage_is_no_event() {
        assert_eq!(RouteEvent::decode(&[0; EVENT_SIZE], "shop"), None);
        for byte in 0..EVENT_SIZE {
            let mut bytes = event(1).encode("shop");
            bytes[byte] ^= 4;
            assert_eq!(RouteEvent::decode(&bytes, "shop"), None, "byte {byte}");
        }
    }

    #[test]
    fn an_event_of_another_group_is_none_of_this() {
        assert_eq!(RouteEvent::decode(&event(1).encode("shop"), "docs"), None);
    }

    #[test]
    fn a_ring_keeps_the_last_events_in_order() {
        let mut ring = vec![0; RING_SIZE];
        for number in 1..=100 {
            let place = place_of(number);
            ring[place..place + EVENT_SIZE].copy_from_slice(&event(number).encode("shop"));
        }
        let numbers: Vec<u64> = decode_ring(&ring, "shop").iter().map(|event| event.number).collect();
        assert_eq!(numbers, (37..=100).collect::<Vec<_>>());
    }

    #[test]
    fn long_texts_are_cut_between_characters() {
        let long = RouteEvent { reason: "é".repeat(100), ..event(1) };
        assert_eq!(RouteEvent::decode(&long.encode("shop"), "shop").unwrap().reason, "é".repeat(67));
    }

    #[test]
    fn the_last_move_is_where_the_traffic_came_from_elsewhere() {
        let at = |kind, to: &str, percent: u16, reason: &str| {
            let event = RouteEvent::new(kind, "", to, 1).by("", reason);
            RouteEvent {
                percent: Some(percent).filter(|parts| *parts > 0).and_then(Percent::from_parts),
                ..event
            }
        };
        let events = [
            at(Kind::Switch, "blue", 0, "first"),
            at(Kind::Switch, "blue", 0, "a fence"),
            at(Kind::Split, "green", 2000, "a step"),
            at(Kind::Confirm, "green", 0, "it stays"),
            at(Kind::Split, "green", 5000, "the next step"),
            at(Kind::Switch, "green", 0, "the last step"),
            at(Kind::Held, "green", 0, "blue fails too"),
            at(Kind::Guard, "blue", 0, "6 of 6 failed"),
            at(Kind::Switch, "blue", 0, "rollback"),
        ];
        let why = |to: usize| last_move(&events[..to]).map(|event| event.reason.as_str());
        let expected =
            ["first", "first", "a step", "a step", "the next step", "the last step", "the last step"];
        let found: Vec<_> = (1..=7).filter_map(why).collect();
        assert_eq!(found, expected);
        assert_eq!((why(8), why(9)), (Some("6 of 6 failed"), Some("6 of 6 failed")));
        assert_eq!(last_move(&[]), None);
        assert_eq!(last_move(&events[3..4]), None, "where it was before is forgotten");
    }
}
