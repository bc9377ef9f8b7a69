//! `cutover NAME { slot NAME UPSTREAM; .. active SLOT; }`: a group, which is an upstream. Lines may come from files (`include`).
//!
//! With `backend NAME;` it is a group of backend names instead: no upstream, but a place in `$cutover_upstream`.

use std::ffi::{c_char, c_void};

use cutover_core::name;
use ngx::ffi::{
    NGX_HTTP_UPSTREAM_CREATE, ngx_array_create, ngx_command_t, ngx_conf_include, ngx_conf_parse, ngx_conf_t,
    ngx_http_upstream_add, ngx_http_upstream_server_t, ngx_str_t, ngx_url_t,
};

use super::value::compile;
use crate::conf::{Main, main_of};
use crate::ext::{ConfExt, Logged, Place, conf_status};
use crate::group::{Group, MAX_SLOTS, Slot};
use crate::layout::bits;
use crate::upstream;

pub(super) extern "C" fn set_group(
    cf: *mut ngx_conf_t,
    _command: *mut ngx_command_t,
    _conf: *mut c_void,
) -> *mut c_char {
    // SAFETY: nginx passes the configuration that it is parsing.
    let cf = unsafe { &mut *cf };
    let result = match main_of(cf) {
        Some(main) => parse_group(cf, main),
        None => Err(Logged),
    };
    conf_status(result)
}

fn parse_group(cf: &mut ngx_conf_t, main: &mut Main) -> Result<(), Logged> {
    let host = cf.words().get(1).copied().ok_or(Logged)?;
    let name = cf.word(1);
    if let Err(why) = name::check_group(host.as_bytes()) {
        return Err(cf.refuse(format_args!("the name of group \"{name}\" {why}")));
    }
    check_unique(cf, main, &name)?;
    let mut group = Box::new(Group::new(&name, cf.place()));
    parse_lines(cf, &mut group)?;
    match &group.backend {
        None => add_upstream(cf, host, &group)?,
        Some(backend) => check_backend(cf, main, backend, &group.place)?,
    }
    main.add(group);
    Ok(())
}

/// No two groups differ by case alone: nginx takes them for one, as upstreams and in the names of variables.
fn check_unique(cf: &mut ngx_conf_t, main: &Main, name: &str) -> Result<(), Logged> {
    match main.group_of_variable(name.as_bytes()) {
        Some(known) if known.name == name => Err(cf.refuse(format_args!("duplicate group \"{name}\""))),
        Some(known) => Err(cf.refuse(format_args!(
            "duplicate group \"{name}\": there is \"{}\" already, and nginx makes no difference between cases; choose another name",
            known.name
        ))),
        None => Ok(()),
    }
}

/// Registers the group as an upstream, so that `proxy_pass http://NAME` and the like find it.
fn add_upstream(cf: &mut ngx_conf_t, host: ngx_str_t, group: &Group) -> Result<(), Logged> {
    // SAFETY: an ngx_url_t is plain data for which zeroes mean "nothing"; nginx's own callers clear it the same way.
    let mut url: ngx_url_t = unsafe { std::mem::zeroed() };
    url.host = host;
    bits::ngx_url_t::NO_RESOLVE.set(&mut url, true);
    bits::ngx_url_t::NO_PORT.set(&mut url, true);
    // SAFETY: `cf` is being parsed and `url` lives through the call; nginx logs what it refuses ("duplicate upstream").
    let upstream = unsafe { ngx_http_upstream_add(cf, &mut url, NGX_HTTP_UPSTREAM_CREATE as usize) };
    // SAFETY: nginx returns an upstream of this cycle, or null.
    let upstream = unsafe { upstream.as_mut() }.ok_or(Logged)?;

    // Other modules walk the servers: an empty array, not null. srv_conf stays null: a group has no balancer of its own.
    // SAFETY: the pool is the cycle's.
    upstream.servers = unsafe { ngx_array_create(cf.pool, 1, size_of::<ngx_http_upstream_server_t>()) };
    if upstream.servers.is_null() {
        return Err(Logged);
    }
    upstream.peer.init_upstream = Some(upstream::INIT_UPSTREAM);
    upstream.peer.data = std::ptr::from_ref(group).cast_mut().cast();
    Ok(())
}

/// A backend leads to one group.
fn check_backend(cf: &mut ngx_conf_t, main: &Main, backend: &str, place: &Place) -> Result<(), Logged> {
    match main.groups.iter().find(|known| known.backend.as_deref() == Some(backend)) {
        Some(known) => Err(cf.refuse_at(
            place,
            format_args!("\"backend {backend}\" is that of group \"{}\" already", known.name),
        )),
        None => Ok(()),
    }
}

fn parse_lines(cf: &mut ngx_conf_t, group: &mut Group) -> Result<(), Logged> {
    let mut block = Block { group, active: None };
    // As ngx_http_map_module does: a block's lines go to a handler, then the parser is put back.
    let saved = *cf;
    cf.handler = Some(line);
    cf.handler_conf = (&raw mut block).cast();
    // SAFETY: `cf` is being parsed; a null file name means "the block that follows".
    let parsed = unsafe { ngx_conf_parse(cf, std::ptr::null_mut()) };
    let end = cf.place();
    *cf = saved;
    if !parsed.is_null() {
        return Err(Logged);
    }
    let Block { group, active } = block;
    if group.slots.is_empty() {
        return Err(cf.refuse_at(
            &end,
            format_args!("group \"{}\" has no slot: add \"slot NAME UPSTREAM;\"", group.name),
        ));
    }
    let Some((active, place)) = active else {
        return Err(cf.refuse_at(
            &end,
            format_args!(
                "group \"{}\" has no \"active\": name the slot that takes traffic first",
                group.name
            ),
        ));
    };
    let Some(initial) = group.position(active.as_bytes()) else {
        return Err(cf.refuse_at(
            &place,
            format_args!(
                "\"active {active}\": group \"{}\" has no slot \"{active}\"; it has {}",
                group.name,
                names(group)
            ),
        ));
    };
    group.initial = initial;
    Ok(())
}

/// A block while it is read.
struct Block<'a> {
    group: &'a mut Group,
    active: Option<(String, Place)>,
}

type Set = fn(&mut ngx_conf_t, &mut Block<'_>) -> Result<(), Logged>;

/// A directive of the block.
struct Line {
    name: &'static str,
    /// With its name.
    words: usize,
    /// How to write it, for messages.
    usage: &'static str,
    /// `None`: nginx's own.
    set: Option<Set>,
}

/// The directives of the block, in the order of the documentation.
const LINES: [Line; 5] = [
    Line { name: "slot", words: 3, usage: "slot NAME UPSTREAM;", set: Some(add_slot) },
    Line { name: "active", words: 2, usage: "active SLOT;", set: Some(set_active) },
    Line { name: "split_key", words: 2, usage: "split_key VALUE;", set: Some(set_split_key) },
    Line { name: "backend", words: 2, usage: "backend VALUE;", set: Some(set_backend) },
    Line { name: "include", words: 2, usage: "include FILE;", set: None },
];

extern "C" fn line(cf: *mut ngx_conf_t, _command: *mut ngx_command_t, conf: *mut c_void) -> *mut c_char {
    // SAFETY: nginx passes the configuration that it is parsing.
    let cf = unsafe { &mut *cf };
    let name = cf.word(0);
    let known = LINES.iter().find(|line| line.name == name);
    if known.is_some_and(|line| line.set.is_none() && line.words == cf.words().len()) {
        // As ngx_http_map_module does. Our handler stays in place, and is called for the lines of the file.
        // SAFETY: `cf` is being parsed; ngx_conf_include makes no use of the command and of what it belongs to.
        return unsafe { ngx_conf_include(cf, std::ptr::null_mut(), std::ptr::null_mut()) };
    }
    // SAFETY: nginx passes back the handler_conf that parse_lines set; the block outlives the parsing.
    let block: &mut Block<'_> = unsafe { &mut *conf.cast() };
    conf_status(set_line(cf, block, known))
}

/// Checks how many words the directive has, as nginx does with its own (ngx_conf_handler), and sets it.
fn set_line(cf: &mut ngx_conf_t, block: &mut Block<'_>, known: Option<&Line>) -> Result<(), Logged> {
    let (name, group) = (cf.word(0), &block.group.name);
    match known {
        Some(Line { set: Some(set), words, .. }) if *words == cf.words().len() => set(cf, block),
        Some(line) => Err(cf.refuse(format_args!(
            "invalid number of arguments in \"{name}\" of group \"{group}\": write \"{}\"",
            line.usage
        ))),
        None => Err(cf.refuse(format_args!(
            "unknown directive \"{name}\" in group \"{group}\": there are \"slot\", \"active\", \"split_key\", \
             \"backend\" and \"include\""
        ))),
    }
}

fn add_slot(cf: &mut ngx_conf_t, block: &mut Block<'_>) -> Result<(), Logged> {
    let group = &mut *block.group;
    let raw = cf.words().get(1).copied().ok_or(Logged)?;
    let slot = cf.word(1);
    if let Err(why) = name::check_slot(raw.as_bytes()) {
        return Err(cf.refuse(format_args!("the name of slot \"{slot}\" of group \"{}\" {why}", group.name)));
    }
    if group.position(slot.as_bytes()).is_some() {
        return Err(cf.refuse(format_args!("duplicate slot \"{slot}\" in group \"{}\"", group.name)));
    }
    if group.slots.len() == MAX_SLOTS {
        return Err(cf.refuse(format_args!(
            "slot \"{slot}\" is one too many: group \"{}\" may have {MAX_SLOTS} slots",
            group.name
        )));
    }
    let (upstream, place) = (cf.word(2), cf.place());
    group.slots.push(Slot::new(slot, upstream, place));
    Ok(())
}

fn set_active(cf: &mut ngx_conf_t, block: &mut Block<'_>) -> Result<(), Logged> {
    if block.active.is_some() {
        return Err(duplicate(cf, block.group));
    }
    block.active = Some((cf.word(1), cf.place()));
    Ok(())
}

fn set_split_key(cf: &mut ngx_conf_t, block: &mut Block<'_>) -> Result<(), Logged> {
    if !block.group.split_key.is_null() {
        return Err(duplicate(cf, block.group));
    }
    block.group.split_key = compile(cf, 1)?;
    Ok(())
}

fn set_backend(cf: &mut ngx_conf_t, block: &mut Block<'_>) -> Result<(), Logged> {
    let group = &mut *block.group;
    if group.backend.is_some() {
        return Err(duplicate(cf, group));
    }
    let raw = cf.words().get(1).copied().ok_or(Logged)?;
    let backend = cf.word(1);
    if backend.as_bytes() != raw.as_bytes() {
        return Err(
            cf.refuse(format_args!("\"backend {backend}\" of group \"{}\" must be UTF-8", group.name))
        );
    }
    group.backend = Some(backend);
    Ok(())
}

fn duplicate(cf: &mut ngx_conf_t, group: &Group) -> Logged {
    let name = cf.word(0);
    cf.refuse(format_args!("\"{name}\" is duplicate in group \"{}\"", group.name))
}

fn names(group: &Group) -> String {
    let names: Vec<String> = group.slots.iter().map(|slot| format!("\"{}\"", slot.name)).collect();
    names.join(", ")
}
