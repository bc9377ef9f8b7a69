//! Checks across the blocks of a configuration, once all of it is read; then opens its state.

use cutover_core::route::Reading;
use ngx::ffi::{ngx_conf_t, ngx_http_phases_NGX_HTTP_PREACCESS_PHASE};

use crate::backends::Backends;
use crate::conf::{Main, main_of, main_of_cycle};
use crate::ext::{self, ConfExt, Logged};
use crate::group::Group;
use crate::state::{self, Origin};
use crate::upstream::{by_name, upgrades};
use crate::{admin, variables};

/// Runs when all of `http {}` is read. nginx may still refuse the configuration afterwards, so nothing here may change what the
/// running one relies on.
pub(crate) fn finish(cf: &mut ngx_conf_t) -> Result<(), Logged> {
    let Some(main) = main_of(cf) else { return Ok(()) };
    check_literals(cf, main)?;
    find_named(cf, main)?;
    variables::check(cf, main)?;
    main.contents.iter().try_for_each(|content| content.check(cf))?;
    admin::check_remote(cf, &main.remote_apis)?;
    main.backends = Backends::of(cf, &main.groups)?;
    if main.backends.are_some() {
        let phase = ngx_http_phases_NGX_HTTP_PREACCESS_PHASE as usize;
        ext::add_phase_handler(cf, phase, by_name::before_access)?;
        upgrades::watch();
    }
    // `nginx -s ..` parses the configuration only to find the pid file: it must not fail on, or touch, the state.
    if ext::only_signalling() {
        return Ok(());
    }
    match (&main.state_folder, main.groups.first()) {
        (Some((folder, place)), _) => {
            let before =
                cf.running_cycle().map(|cycle| main_of_cycle(cycle).and_then(|main| main.state.as_ref()));
            let origin = before.map_or(Origin::Exec, Origin::Cycle);
            main.state = state::open(cf, folder, place, &main.groups, origin)?;
            check_no_route_moves(cf, main)?;
        }
        (None, Some(group)) => {
            return Err(cf.refuse_at(
                &group.place,
                format_args!(
                    "\"cutover_state\" is missing: group \"{}\" needs \"cutover_state FOLDER;\" in http",
                    group.name
                ),
            ));
        }
        (None, None) => {}
    }
    if !ext::only_checking() && !cf.is_reload() && ext::is_upgrade() {
        state::close_leftovers(main.state.as_ref());
    }
    admin::remove_stale_sockets(cf, &main.api_servers);
    Ok(())
}

/// A reload never moves traffic: with another folder, the file there must have the routes of this one.
fn check_no_route_moves(cf: &mut ngx_conf_t, main: &Main) -> Result<(), Logged> {
    let Some(before) = cf.running_cycle().and_then(main_of_cycle) else { return Ok(()) };
    let (Some((old, _)), Some((new, place))) = (&before.state_folder, &main.state_folder) else {
        return Ok(());
    };
    let same_file =
        before.state.as_ref().zip(main.state.as_ref()).is_some_and(|(old, new)| old.is_same_file(new));
    for group in &main.groups {
        let Some(old_group) = before.group(&group.name) else { continue };
        let (was, is) = (old_group.active_name(), group.active_name());
        // With the same file `active` of the configuration may change, as long as the route was never switched.
        let decided = !same_file || matches!(old_group.reading(), Reading::Set(_));
        if decided && was != is {
            return Err(cf.refuse_at(
                place,
                format_args!(
                    "\"cutover_state {new}\": there the active slot of group \"{}\" is \"{is}\", but \"{was}\" \
                     takes the traffic now; copy \"routes\" from {old} first",
                    group.name
                ),
            ));
        }
    }
    Ok(())
}

/// Finds the groups that `cutover_group` names.
fn find_named(cf: &mut ngx_conf_t, main: &Main) -> Result<(), Logged> {
    for named in main.named.iter().filter(|named| !named.name.is_empty()) {
        let Some(at) = main.by_name.get(&named.name) else {
            return Err(cf.refuse_at(
                &named.place,
                format_args!(
                    "\"cutover_group {}\": there is no group of that name; the groups are {}",
                    named.name,
                    main.names()
                ),
            ));
        };
        named.at.set(Some(*at));
    }
    Ok(())
}

fn check_literals(cf: &mut ngx_conf_t, main: &Main) -> Result<(), Logged> {
    for (value, place) in &main.literals {
        let known = |group: &Group| group.position(value.as_bytes()).is_some();
        if !main.groups.iter().any(|group| known(group)) {
            return Err(cf.refuse_at(
                place,
                format_args!(
                    "\"cutover_slot {value}\": no group has a slot of that name; use a slot's name, \"active\", \
                     \"standby\" or a variable"
                ),
            ));
        }
    }
    Ok(())
}
