//! The configuration: what is parsed, and what must hold once all of it is read.

use std::cell::{Cell, OnceCell};
use std::collections::HashMap;
use std::ptr;
use std::rc::Rc;

use cutover_core::name::MAX_NAME;
use cutover_core::route::Reading;
use ngx::ffi::{
    NGX_CONF_ANY, NGX_CONF_BLOCK, NGX_CONF_NOARGS, NGX_CONF_TAKE1, NGX_HTTP_LIF_CONF, NGX_HTTP_LOC_CONF,
    NGX_HTTP_LOC_CONF_OFFSET, NGX_HTTP_MAIN_CONF, NGX_HTTP_MAIN_CONF_OFFSET, NGX_HTTP_SRV_CONF,
    ngx_command_t, ngx_conf_t, ngx_cycle_t, ngx_http_complex_value_t, ngx_http_core_srv_conf_t,
    ngx_http_module, ngx_http_phases_NGX_HTTP_PREACCESS_PHASE, ngx_http_request_t,
};
use ngx::http::{HttpModuleMainConf, Merge, MergeConfigError};
use ngx::ngx_string;

use crate::admin;
use crate::backends::Backends;
use crate::ext::{self, ConfExt, Logged, Place};
use crate::group::Group;
use crate::state::inherited::{self, Origin};
use crate::state::{self, State};
use crate::upstream::{self, Target};
use crate::{Module, ngx_http_cutover_module, variables};

mod block;
mod content;
mod location;

use content::Content;
pub(crate) use location::AccessList;

/// `http {}`: one for each cycle.
#[derive(Default)]
pub(crate) struct Main {
    /// `cutover_state`: the folder, absolute.
    pub(crate) state_folder: Option<(String, Place)>,
    /// Boxed: nginx and requests point at them.
    #[expect(clippy::vec_box, reason = "requests hold pointers to the groups")]
    pub(crate) groups: Vec<Box<Group>>,
    /// Position of each group by name.
    by_name: HashMap<String, usize>,
    /// All upstreams by name in lower case, once they are parsed.
    pub(crate) upstreams: OnceCell<HashMap<Vec<u8>, Target>>,
    /// Values of `cutover_slot` without variables, to be checked against the groups.
    literals: Vec<(String, Place)>,
    /// Values of `cutover_group`, to be found among the groups.
    named: Vec<Rc<NamedGroup>>,
    /// Locations whose content is ours.
    contents: Vec<Content>,
    /// Servers that hold a `cutover_api`.
    pub(crate) api_servers: Vec<*mut ngx_http_core_srv_conf_t>,
    /// Groups of backend names, for `$cutover_upstream`.
    pub(crate) backends: Backends,
    /// Open while this cycle lives. Declared after the groups: they point into it.
    pub(crate) state: Option<State>,
}

/// `location {}` and what it inherits.
#[derive(Default)]
pub(crate) struct Location {
    /// `cutover_slot`; null: the route decides.
    pub(crate) slot: *mut ngx_http_complex_value_t,
    /// `cutover_group`.
    pub(crate) group: Option<Rc<NamedGroup>>,
    /// `cutover_api`.
    pub(crate) api: Option<Rc<admin::Api>>,
}

/// The group of a location's variables.
#[derive(Debug)]
pub(crate) struct NamedGroup {
    /// Empty: none.
    name: String,
    place: Place,
    /// Position in [`Main::groups`], once all of them are known.
    at: Cell<Option<usize>>,
}

impl Main {
    /// The group of this name.
    pub(crate) fn group(&self, name: &str) -> Option<&Group> {
        self.by_name.get(name).and_then(|at| self.groups.get(*at)).map(|group| &**group)
    }

    /// The group that stands for a host, whatever the case of its letters, as nginx compares hosts. None is that of backend
    /// names.
    pub(crate) fn group_of_host(&self, host: &[u8]) -> Option<&'static Group> {
        // On the stack: a request asks.
        let mut name = [0; MAX_NAME];
        let name = name.get_mut(..host.len())?;
        name.copy_from_slice(host);
        name.make_ascii_lowercase();
        let upstream = self.upstreams.get()?.get(&*name)?;
        // SAFETY: an upstream of the cycle that this configuration belongs to.
        upstream::group_of(unsafe { upstream.as_ref() })
    }

    /// The group that `cutover_group` names.
    pub(crate) fn named(&self, named: &NamedGroup) -> Option<&Group> {
        self.groups.get(named.at.get()?).map(|group| &**group)
    }

    /// The group of this name, whatever the case of its letters, as nginx takes the names of variables.
    pub(crate) fn group_of_variable(&self, name: &[u8]) -> Option<&Group> {
        self.groups
            .iter()
            .find(|group| group.name.as_bytes().eq_ignore_ascii_case(name))
            .map(|group| &**group)
    }

    /// The names of all groups, for messages.
    pub(crate) fn names(&self) -> String {
        let names: Vec<String> = self.groups.iter().map(|group| format!("\"{}\"", group.name)).collect();
        if names.is_empty() { "none".to_owned() } else { names.join(", ") }
    }

    fn add(&mut self, group: Box<Group>) {
        self.by_name.insert(group.name.clone(), self.groups.len());
        self.groups.push(group);
    }
}

impl Merge for Location {
    fn merge(&mut self, above: &Self) -> Result<(), MergeConfigError> {
        if self.slot.is_null() {
            self.slot = above.slot;
        }
        if self.group.is_none() {
            self.group.clone_from(&above.group);
        }
        // nginx gives the handler of a location to each `if` in it, and to no other location.
        if self.api.is_none() {
            self.api.clone_from(&above.api);
        }
        Ok(())
    }
}

/// The directives, in the order of the documentation.
pub(crate) static mut COMMANDS: [ngx_command_t; 7] = [
    ngx_command_t {
        name: ngx_string!("cutover_state"),
        type_: (NGX_HTTP_MAIN_CONF | NGX_CONF_TAKE1) as usize,
        set: Some(location::set_state),
        conf: NGX_HTTP_MAIN_CONF_OFFSET,
        offset: 0,
        post: ptr::null_mut(),
    },
    ngx_command_t {
        name: ngx_string!("cutover"),
        type_: (NGX_HTTP_MAIN_CONF | NGX_CONF_BLOCK | NGX_CONF_TAKE1) as usize,
        set: Some(block::set_group),
        conf: NGX_HTTP_MAIN_CONF_OFFSET,
        offset: 0,
        post: ptr::null_mut(),
    },
    ngx_command_t {
        name: ngx_string!("cutover_slot"),
        type_: (NGX_HTTP_MAIN_CONF
            | NGX_HTTP_SRV_CONF
            | NGX_HTTP_LOC_CONF
            | NGX_HTTP_LIF_CONF
            | NGX_CONF_TAKE1) as usize,
        set: Some(location::set_slot),
        conf: NGX_HTTP_LOC_CONF_OFFSET,
        offset: 0,
        post: ptr::null_mut(),
    },
    ngx_command_t {
        name: ngx_string!("cutover_group"),
        type_: (NGX_HTTP_MAIN_CONF
            | NGX_HTTP_SRV_CONF
            | NGX_HTTP_LOC_CONF
            | NGX_HTTP_LIF_CONF
            | NGX_CONF_TAKE1) as usize,
        set: Some(location::set_group),
        conf: NGX_HTTP_LOC_CONF_OFFSET,
        offset: 0,
        post: ptr::null_mut(),
    },
    ngx_command_t {
        name: ngx_string!("cutover_api"),
        type_: (NGX_HTTP_LOC_CONF | NGX_CONF_ANY) as usize,
        set: Some(location::set_api),
        conf: NGX_HTTP_LOC_CONF_OFFSET,
        offset: 0,
        post: ptr::null_mut(),
    },
    ngx_command_t {
        name: ngx_string!("cutover_metrics"),
        type_: (NGX_HTTP_LOC_CONF | NGX_CONF_NOARGS) as usize,
        set: Some(location::set_metrics),
        conf: NGX_HTTP_LOC_CONF_OFFSET,
        offset: 0,
        post: ptr::null_mut(),
    },
    ngx_command_t::empty(),
];

/// The part of nginx's configuration that this module keeps for `http {}`.
pub(crate) fn main_of(cf: &ngx_conf_t) -> Option<&'static mut Main> {
    Module::main_conf_mut(cf)
}

/// The same for the configuration that serves a request.
pub(crate) fn main_of_request(request: &ngx_http_request_t) -> Option<&'static Main> {
    Module::main_conf(request)
}

/// The same for a cycle; `None` if it has no `http` block, or not this very module.
pub(crate) fn main_of_cycle(cycle: &ngx_cycle_t) -> Option<&'static Main> {
    let ours = &raw const ngx_http_cutover_module;
    let mut next = cycle.modules;
    loop {
        // SAFETY: nginx ends a cycle's modules with null. A module file at another path is another module.
        match unsafe { next.as_ref() } {
            Some(module) if !module.is_null() && !ptr::eq(*module, ours) => {
                // SAFETY: not the end yet.
                next = unsafe { next.add(1) };
            }
            Some(module) if !module.is_null() => break,
            _ => return None,
        }
    }
    let http = ext::module(&raw const ngx_http_module).index;
    // SAFETY: conf_ctx has a place for each module's index.
    let place = unsafe { cycle.conf_ctx.add(http) };
    // SAFETY: the same. Without an http block it is null.
    if unsafe { *place }.is_null() { None } else { Module::main_conf(cycle) }
}

/// Runs when all of `http {}` is read: checks across blocks, then opens the state file.
///
/// What follows may still refuse the configuration, so nothing here may change what the running one relies on.
pub(crate) fn finish(cf: &mut ngx_conf_t) -> Result<(), Logged> {
    let Some(main) = main_of(cf) else { return Ok(()) };
    check_literals(cf, main)?;
    find_named(cf, main)?;
    variables::check(cf, main)?;
    main.contents.iter().try_for_each(|content| content.check(cf))?;
    main.backends = Backends::of(cf, &main.groups)?;
    if main.backends.are_some() {
        ext::add_phase_handler(
            cf,
            ngx_http_phases_NGX_HTTP_PREACCESS_PHASE as usize,
            upstream::by_name::before_access,
        )?;
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
        inherited::close_leftovers(main.state.as_ref());
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
        // With the same file `active` of the configuration may change, as long as nobody has switched.
        let decided = !same_file || matches!(old_group.reading(), Reading::Set(_));
        if decided && was != is {
            return Err(cf.refuse_at(
                place,
                format_args!(
                    "\"cutover_state {new}\": there the active slot of group \"{}\" is \"{is}\", but \"{was}\" takes \
                     the traffic now; copy \"routes\" from {old} first",
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
