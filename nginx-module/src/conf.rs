//! The configuration, as it is kept once it is parsed.

use std::cell::{Cell, OnceCell};
use std::collections::HashMap;
use std::ptr;
use std::rc::Rc;

use ngx::ffi::{
    ngx_conf_t, ngx_cycle_t, ngx_http_complex_value_t, ngx_http_core_srv_conf_t, ngx_http_module,
    ngx_http_request_t, ngx_module_t,
};
use ngx::http::{HttpModule, HttpModuleLocationConf, HttpModuleMainConf, Merge, MergeConfigError};

use crate::backends::Backends;
use crate::callbacks::Target;
use crate::ext::{self, Place};
use crate::group::Group;
use crate::state::State;

mod api;
pub(crate) mod content;
mod token;

pub(crate) use api::{AccessList, Api, RemoteApi};
pub(crate) use token::Token;

use content::Content;

/// The module, for ngx's typed access to configuration.
pub(crate) struct Module;

// SAFETY: create_main_conf makes a Main (see `HttpModule`).
unsafe impl HttpModuleMainConf for Module {
    type MainConf = Main;
}

// SAFETY: create_loc_conf makes a Location (see `HttpModule`).
unsafe impl HttpModuleLocationConf for Module {
    type LocationConf = Location;
}

/// `http {}`: one for each cycle.
#[derive(Default)]
pub(crate) struct Main {
    /// `cutover_state`: the folder, absolute.
    pub(crate) state_folder: Option<(String, Place)>,
    /// Boxed: nginx and requests point at them.
    #[expect(clippy::vec_box, reason = "requests hold pointers to the groups")]
    pub(crate) groups: Vec<Box<Group>>,
    /// Position of each group by name.
    pub(crate) by_name: HashMap<String, usize>,
    /// All upstreams by name in lower case, once they are parsed.
    pub(crate) upstreams: OnceCell<HashMap<Vec<u8>, Target>>,
    /// Values of `cutover_slot` without variables, to be checked against the groups.
    pub(crate) literals: Vec<(String, Place)>,
    /// Values of `cutover_group`, to be found among the groups.
    pub(crate) named: Vec<Rc<NamedGroup>>,
    /// Locations whose content is ours.
    pub(crate) contents: Vec<Content>,
    /// Servers that hold a `cutover_api`.
    pub(crate) api_servers: Vec<*mut ngx_http_core_srv_conf_t>,
    /// Every `cutover_api` with `remote=on`, to be checked against the listeners.
    pub(crate) remote_apis: Vec<RemoteApi>,
    /// Groups of backend names, for `$cutover_upstream`.
    pub(crate) backends: Backends,
    /// Open while this cycle lives. Declared after the groups: they point into it.
    pub(crate) state: Option<State>,
}

/// `location {}`, with what it inherits.
#[derive(Default)]
pub(crate) struct Location {
    /// `cutover_slot`; null: the route decides.
    pub(crate) slot: *mut ngx_http_complex_value_t,
    /// `cutover_group`.
    pub(crate) group: Option<Rc<NamedGroup>>,
    /// `cutover_api`.
    pub(crate) api: Option<Rc<Api>>,
}

/// The group of a location's variables.
#[derive(Debug)]
pub(crate) struct NamedGroup {
    /// Empty: none.
    pub(crate) name: String,
    pub(crate) place: Place,
    /// Position in [`Main::groups`], once all of them are known.
    pub(crate) at: Cell<Option<usize>>,
}

impl Main {
    /// The group of this name.
    pub(crate) fn group(&self, name: &str) -> Option<&Group> {
        self.by_name.get(name).and_then(|at| self.groups.get(*at)).map(|group| &**group)
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

    pub(crate) fn add(&mut self, group: Box<Group>) {
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
    let ours: *const ngx_module_t = Module::module();
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
