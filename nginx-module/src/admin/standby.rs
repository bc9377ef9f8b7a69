//! `PUT /v1/groups/NAME/standby`: the slot that `cutover_slot standby` leads to.

use cutover_core::api::{ErrorCode, Failure, SlotNames, StandbyChoice};
use ngx::ffi::{NGX_LOG_INFO, ngx_http_request_t};

use super::answer::Answer;
use super::change::{ChangeRequest, Step, check_generation};
use crate::ext::{connection, log};
use crate::group::Group;

/// Remembers the choice until nginx ends. It moves no traffic, and no generation.
pub(super) fn choose(
    request: &ngx_http_request_t,
    group: &Group,
    change: &ChangeRequest<StandbyChoice>,
) -> Result<Step, Answer> {
    let ChangeRequest { expected, user, body: StandbyChoice { slot } } = change;
    let reading = group.reading();
    check_generation(group, reading, *expected)?;
    let id = group.id_of(slot).ok_or_else(|| {
        let known = group.all().join(", ");
        let message = format!("group \"{}\" has no slot \"{slot}\"; it has: {known}", group.name);
        Answer::failure(Failure::new(ErrorCode::UnknownSlot, message))
    })?;
    if group.active_id(reading) == Some(id) {
        let message =
            format!("slot \"{slot}\" of group \"{}\" has the traffic: it cannot stand by", group.name);
        return Err(Answer::failure(Failure::new(ErrorCode::SlotIsActive, message)));
    }
    let memory = group.memory().zip(group.record());
    let (memory, record) = memory.ok_or_else(|| Answer::internal("the state file is not mapped"))?;
    memory.memfd.choose_standby(record, id);
    log(
        NGX_LOG_INFO,
        connection(request).log,
        format_args!(
            "cutover: slot \"{}\" of group \"{}\" stands by, by {}",
            slot.escape_debug(),
            group.name,
            user.in_full()
        ),
    );
    Ok(Step::Made)
}
