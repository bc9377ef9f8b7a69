//! What must hold for any bytes that come from outside: no panic, and what is accepted is in range and survives being
//! written again. Each function is a fuzz target; `core/tests/any_bytes.rs` runs them over their seeds and bytes by chance.

use std::fmt::Debug;

use cutover_core::api::{
    Action, Call, Change, Confirmation, Failure, Renewal, RouteChange, SlotNames, StandbyChoice, check_lease,
    parse_call, parse_change, parse_if_match,
};
use cutover_core::event::{EVENT_SIZE, RouteEvent};
use cutover_core::guard::Guard;
use cutover_core::route::{Reading, RouteWord};
use cutover_core::slot::SlotId;
use cutover_core::state_file::{
    HEADER_SIZE, Names, RECORD_SIZE, decode_header, decode_records, encode_header,
};
use cutover_core::trial::{Deadline, MAX_LEASE_MS, MIN_LEASE_MS, Stage, Terms, TrialWords};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// A call of the admin API, as lines: method and path, `If-Match`, `Content-Type`, and what is left is the body.
pub fn admin(bytes: &[u8]) {
    let mut parts = bytes.splitn(4, |byte| *byte == b'\n');
    let line = String::from_utf8_lossy(parts.next().unwrap_or_default()).into_owned();
    let (if_match, content_type, body) = (parts.next(), parts.next(), parts.next().unwrap_or_default());

    match parse_if_match(if_match) {
        Ok(Some(generation)) => {
            let again = format!("\"{generation}\"");
            assert_eq!(parse_if_match(Some(again.as_bytes())), Ok(Some(generation)));
        }
        Ok(None) => {}
        Err(failure) => survives(&failure),
    }

    let (method, path) = line.split_once(' ').unwrap_or((&line, ""));
    let call = match parse_call(method, path) {
        Ok(call) => call,
        Err(bad) => return survives(&bad.failure),
    };
    assert!(call.allows().split(", ").any(|allowed| allowed == method), "{call:?} by {method}");
    assert_eq!(parse_call(method, &path_of(&call)), Ok(call.clone()));
    match call {
        Call::Groups | Call::Group(_) | Call::Metrics => {}
        Call::Change(action @ Action::Switch, _) => {
            if let Some(asked) = accepted::<RouteChange>(action, content_type, body) {
                (1..=SLOTS.len() as u8).filter_map(SlotId::new).for_each(|active| plan(&asked, active));
            }
        }
        Call::Change(action @ Action::Confirm, _) => {
            accepted::<Confirmation>(action, content_type, body);
        }
        Call::Change(action @ Action::Standby, _) => {
            accepted::<StandbyChoice>(action, content_type, body);
        }
        Call::Change(action @ Action::Renew, _) => {
            match accepted::<Renewal>(action, content_type, body).map(|asked| check_lease(asked.lease_ms)) {
                Some(Ok(lease_ms)) => assert!((MIN_LEASE_MS..=MAX_LEASE_MS).contains(&lease_ms)),
                Some(Err(failure)) => survives(&failure),
                None => {}
            }
        }
    }
}

fn path_of(call: &Call<'_>) -> String {
    match call {
        Call::Groups => "/v1/groups".to_owned(),
        Call::Group(name) => format!("/v1/groups/{name}"),
        Call::Change(Action::Switch, name) => format!("/v1/groups/{name}/route"),
        Call::Change(Action::Confirm, name) => format!("/v1/groups/{name}/confirm"),
        Call::Change(Action::Renew, name) => format!("/v1/groups/{name}/renew"),
        Call::Change(Action::Standby, name) => format!("/v1/groups/{name}/standby"),
        Call::Metrics => "/metrics".to_owned(),
    }
}

fn accepted<T>(action: Action, content_type: Option<&[u8]>, body: &[u8]) -> Option<T>
where
    T: Serialize + DeserializeOwned + PartialEq + Debug,
{
    match parse_change::<T>(action, content_type, body) {
        Ok(change) => {
            survives(&change);
            Some(change)
        }
        Err(failure) => {
            survives(&failure);
            None
        }
    }
}

fn survives<T: Serialize + DeserializeOwned + PartialEq + Debug>(value: &T) {
    let again = serde_json::to_vec(value).and_then(|json| serde_json::from_slice::<T>(&json));
    assert_eq!(again.ok().as_ref(), Some(value));
}

const SLOTS: [&str; 3] = ["blue", "green", "red"];

struct Shop;

impl SlotNames for Shop {
    fn group(&self) -> &str {
        "shop"
    }

    fn id_of(&self, slot: &str) -> Option<SlotId> {
        let at = SLOTS.iter().position(|known| *known == slot)?;
        SlotId::new(at as u8 + 1)
    }

    fn all(&self) -> Vec<&str> {
        SLOTS.to_vec()
    }

    fn can_rescue(&self) -> bool {
        true
    }
}

/// What is planned survives the words that it goes into.
fn plan(asked: &RouteChange, active: SlotId) {
    let Change { to, terms, lease_ms } = match Change::plan(asked, &Shop, active, None) {
        Ok(change) => change,
        Err(failure) => return survives::<Failure>(&failure),
    };
    let known = |id: SlotId| usize::from(id.get()) <= SLOTS.len();
    assert!(
        known(to.active) && to.split.is_none_or(|split| known(split.second()) && split.second() != to.active)
    );
    assert_eq!(to.armed, terms.is_some());
    assert!(lease_ms.is_none_or(|lease_ms| to.armed && (MIN_LEASE_MS..=MAX_LEASE_MS).contains(&lease_ms)));
    let word = RouteWord::default();
    let Ok(route) = word.switch(Reading::Unset, Some(active), to) else { unreachable!("the word is new") };
    assert_eq!((word.load(), route.to), (Reading::Set(route), to));
    if let Some(terms) = terms {
        check_terms(&terms);
        let lease =
            lease_ms.map(|lease_ms| Deadline::after(Deadline { monotonic_ms: 0, wall_ms: 0 }, lease_ms));
        let words = TrialWords::default();
        assert!(words.arm(&word, route, &terms, lease, 0));
        let read = words.read(route).map(|trial| (trial.stage, trial.terms, trial.lease));
        assert_eq!(read, Some((Stage::Armed, terms, lease)));
    }
}

fn check_terms(terms: &Terms) {
    assert_ne!(terms.slot, terms.fallback);
    if let Some(guard) = terms.guard {
        assert!((1..=Guard::MAX_REQUESTS).contains(&guard.min_requests));
        assert!((Guard::MIN_WINDOW_MS..=Guard::MAX_MS).contains(&guard.window_ms));
        assert!(guard.slow_ms <= Guard::MAX_MS && (guard.slow_ms > 0) == guard.max_slow_ratio.is_some());
        assert!(guard.max_error_ratio.is_some() || guard.max_slow_ratio.is_some());
    }
}

/// Bytes of a header that are used.
const HEADER_USED: usize = 64;

/// A state file, as it is; and the same bytes taken for the used ones of a header and for records, with checksums that are
/// right.
pub fn state_file(bytes: &[u8]) {
    read_state_file(bytes);
    let (header, records) = bytes.split_at(bytes.len().min(HEADER_USED));
    let mut file = header.to_vec();
    seal(&mut file);
    file.resize(HEADER_SIZE, 0);
    for record in records.chunks(RECORD_SIZE) {
        let mut record = record.to_vec();
        record.resize(RECORD_SIZE, 0);
        seal(record.split_at_mut(RECORD_SIZE - Names::FREE.encode().len()).1);
        file.extend(record);
    }
    read_state_file(&file);
}

fn read_state_file(file: &[u8]) {
    let Ok(capacity) = decode_header(file, file.len() as u64) else { return };
    let mut again = encode_header(capacity).to_vec();
    again.resize(file.len(), 0);
    assert_eq!(decode_header(&again, file.len() as u64), Ok(capacity));
    let Ok(records) = decode_records(file, capacity) else { return };
    assert_eq!(records.len(), capacity as usize);
    let mut again = file.to_vec();
    for (record, bytes) in
        records.iter().zip(again.get_mut(HEADER_SIZE..).unwrap_or_default().chunks_mut(RECORD_SIZE))
    {
        assert_eq!(Names::decode(&record.names.encode()).as_ref(), Some(&record.names));
        let (head, names) = bytes.split_at_mut(RECORD_SIZE - record.names.encode().len());
        names.copy_from_slice(&record.names.encode());
        let word = match record.route {
            Reading::Set(route) => route.encode(),
            _ => 0,
        };
        let Some((route, _)) = head.split_first_chunk::<8>() else {
            unreachable!("a record begins with its route")
        };
        assert_eq!(u64::from_ne_bytes(*route), word);
    }
    assert_eq!(decode_records(&again, capacity).as_ref(), Ok(&records));
}

/// An event, as it is and with a checksum that is right.
pub fn event(bytes: &[u8]) {
    let mut bytes = bytes.to_vec();
    read_event(&bytes);
    bytes.resize(EVENT_SIZE, 0);
    seal(&mut bytes);
    read_event(&bytes);
}

fn read_event(bytes: &[u8]) {
    if let Some(event) = RouteEvent::decode(bytes, "") {
        assert!(event.encode("") == bytes, "{event:?} of {bytes:?}");
        survives(&event);
    }
}

/// A route word.
pub fn route(bytes: &[u8]) {
    let Some((word, _)) = bytes.split_first_chunk() else { return };
    let word = u64::from_le_bytes(*word);
    match Reading::of(word) {
        Reading::Unset => assert_eq!(word, 0),
        Reading::Set(route) => {
            assert_eq!(route.encode(), word);
            assert!(
                route.generation > 0 && route.to.split.is_none_or(|split| split.second() != route.active())
            );
        }
        Reading::Damaged => {}
    }
}

fn seal(bytes: &mut [u8]) {
    if let Some((content, crc)) = bytes.split_last_chunk_mut::<4>() {
        *crc = crc32fast::hash(content).to_le_bytes();
    }
}
