//! `cutover_slot` and `cutover_group`.

use std::cell::Cell;
use std::ffi::{c_char, c_void};
use std::rc::Rc;

use cutover_core::name::RESERVED_SLOTS;
use ngx::ffi::{ngx_command_t, ngx_conf_t};

use super::value::compile;
use crate::conf::{Location, NamedGroup, main_of};
use crate::ext::{ConfExt, Logged, conf_status};

pub(super) extern "C" fn set_slot(
    cf: *mut ngx_conf_t,
    _command: *mut ngx_command_t,
    conf: *mut c_void,
) -> *mut c_char {
    // SAFETY: nginx passes the configuration that it is parsing.
    let cf = unsafe { &mut *cf };
    // SAFETY: nginx passes the configuration that create_loc_conf made for this location.
    conf_status(parse_slot(cf, unsafe { &mut *conf.cast() }))
}

fn parse_slot(cf: &mut ngx_conf_t, location: &mut Location) -> Result<(), Logged> {
    if !location.slot.is_null() {
        return Err(cf.refuse(format_args!("\"cutover_slot\" is duplicate")));
    }
    let compiled = compile(cf, 1)?;
    location.slot = compiled;

    // SAFETY: just compiled, in the cycle's pool.
    let literal = unsafe { &*compiled }.lengths.is_null();
    let word = cf.word(1);
    if literal && !word.is_empty() && !RESERVED_SLOTS.contains(&word.as_str()) {
        let place = cf.place();
        main_of(cf).ok_or(Logged)?.literals.push((word, place));
    }
    Ok(())
}

pub(super) extern "C" fn set_group(
    cf: *mut ngx_conf_t,
    _command: *mut ngx_command_t,
    conf: *mut c_void,
) -> *mut c_char {
    // SAFETY: nginx passes the configuration that it is parsing.
    let cf = unsafe { &mut *cf };
    // SAFETY: nginx passes the configuration that create_loc_conf made for this location.
    conf_status(name_group(cf, unsafe { &mut *conf.cast() }))
}

fn name_group(cf: &mut ngx_conf_t, location: &mut Location) -> Result<(), Logged> {
    if location.group.is_some() {
        return Err(cf.refuse(format_args!("\"cutover_group\" is duplicate")));
    }
    let named = Rc::new(NamedGroup { name: cf.word(1), place: cf.place(), at: Cell::new(None) });
    main_of(cf).ok_or(Logged)?.named.push(Rc::clone(&named));
    location.group = Some(named);
    Ok(())
}
