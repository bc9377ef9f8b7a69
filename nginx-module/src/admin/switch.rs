//! `PUT /v1/groups/NAME/route`: moves the route, and answers when the move is on disk.

use cutover_core::api::{
    Call, ErrorCode, Failure, RouteChange, parse_call, parse_if_match, parse_route_change,
};
use cutover_core::route::{Reading, SlotId};
use cutover_core::state_file::record_offset;
use ngx::ffi::{NGX_LOG_NOTICE, ngx_http_request_t, ngx_table_elt_t};

use super::answer::Answer;
use super::{access, describe, find, flush, groups_of, path_in_location};
use crate::conf;
use crate::ext::{connection, log};
use crate::group::Group;

/// Characters of a reason that are logged.
const MAX_REASON: usize = 200;

/// Runs the change. `None`: the answer follows when the flush is done.
pub(super) fn run(request: &mut ngx_http_request_t, body: &[u8]) -> Option<Answer> {
    let group = match change(request, body) {
        Ok(group) => group,
        Err(answer) => return Some(answer),
    };
    let state = conf::main_of_request(request).and_then(|main| main.state.as_ref());
    let page = state.and_then(|state| state.routes().page_of(record_offset(group.record.get())));
    match page {
        Some(page) => flush::then_answer(request, group, page),
        None => Some(Answer::internal("the state file is not mapped")),
    }
}

fn change(request: &ngx_http_request_t, body: &[u8]) -> Result<&'static Group, Answer> {
    let path = path_in_location(request);
    let groups = groups_of(request);
    let group = match parse_call("PUT", &path).map_err(Answer::failure)? {
        Call::Switch(name) => find(groups, name)?,
        Call::Groups | Call::Group(_) => return Err(Answer::internal("not a change")),
    };
    let headers = &request.headers_in;
    let expected = parse_if_match(value(headers.if_match)).map_err(Answer::failure)?;
    let change = parse_route_change(value(headers.content_type), body).map_err(Answer::failure)?;
    let to = slot_id(group, &change.active)?;
    let moved = move_route(group, to, expected, change.fence)?;
    if let Some((from, generation)) = moved {
        audit(request, group, &from, generation, &change);
    }
    Ok(group)
}

fn slot_id(group: &Group, slot: &str) -> Result<SlotId, Answer> {
    let id = group.position(slot.as_bytes()).and_then(|at| group.slots.get(at)?.id.get());
    id.ok_or_else(|| {
        let known: Vec<&str> = group.slots.iter().map(|slot| slot.name.as_str()).collect();
        let message =
            format!("group \"{}\" has no slot \"{slot}\"; it has: {}", group.name, known.join(", "));
        Answer::failure(Failure::new(ErrorCode::UnknownSlot, message))
    })
}

/// Where the traffic went before, and the new generation; `None` if it goes there already.
fn move_route(
    group: &Group,
    to: SlotId,
    expected: Option<u32>,
    fence: bool,
) -> Result<Option<(String, u32)>, Answer> {
    let word = group.word().ok_or_else(|| Answer::internal("the state file is not mapped"))?;
    let mut seen = word.load();
    loop {
        if let Some(expected) = expected.filter(|expected| *expected != seen.generation()) {
            return Err(moved_since(group, expected));
        }
        if matches!(seen, Reading::Set(route) if route.active == to) && !fence {
            return Ok(None);
        }
        if !group.is_configured(to) {
            return Err(dropped(group));
        }
        let from = group.name_in(seen).to_owned();
        let from_id = group.position(from.as_bytes()).and_then(|at| group.slots.get(at)?.id.get());
        match word.switch(seen, from_id, to) {
            // See state::commit: a reload that drops the slot may have looked at the route just before.
            Ok(route) if group.is_configured(to) => return Ok(Some((from, route.generation))),
            Ok(route) => {
                if let Some(back) = from_id {
                    // If it is refused, the master has taken it back already.
                    let _ = word.switch(Reading::Set(route), Some(to), back);
                }
                return Err(dropped(group));
            }
            Err(other) => seen = other,
        }
    }
}

fn dropped(group: &Group) -> Answer {
    let message = format!("the configuration of group \"{}\" no longer has this slot: ask again", group.name);
    Answer::failure(Failure::new(ErrorCode::UnknownSlot, message))
}

fn moved_since(group: &Group, expected: u32) -> Answer {
    let now = describe::group(group);
    let message = format!(
        "the route of group \"{}\" is at generation {}, not {expected}: \"{}\" is active",
        group.name, now.route.generation, now.route.active
    );
    let failure = Failure::new(ErrorCode::GenerationMismatch, message);
    Answer::failure(Failure { group: Some(now), ..failure })
}

fn audit(request: &ngx_http_request_t, group: &Group, from: &str, generation: u32, change: &RouteChange) {
    let reason = change.reason.as_deref().unwrap_or("none given");
    let reason: String = reason.chars().take(MAX_REASON).collect();
    log(
        NGX_LOG_NOTICE,
        connection(request).log,
        format_args!(
            "cutover: group \"{}\" switched from \"{from}\" to \"{}\", generation {generation}, by {}, reason: {}",
            group.name,
            change.active,
            access::name_of(request),
            reason.escape_debug()
        ),
    );
}

fn value<'a>(header: *const ngx_table_elt_t) -> Option<&'a [u8]> {
    // SAFETY: null, or a header of the request that is served.
    let header = unsafe { header.as_ref() }?;
    Some(header.value.as_bytes())
}
