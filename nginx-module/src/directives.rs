//! The directives: a table for nginx, and what sets each of them.

use std::ptr;

use ngx::ffi::{
    NGX_CONF_ANY, NGX_CONF_BLOCK, NGX_CONF_NOARGS, NGX_CONF_TAKE1, NGX_HTTP_LIF_CONF, NGX_HTTP_LOC_CONF,
    NGX_HTTP_LOC_CONF_OFFSET, NGX_HTTP_MAIN_CONF, NGX_HTTP_MAIN_CONF_OFFSET, NGX_HTTP_SRV_CONF,
    ngx_command_t,
};
use ngx::ngx_string;

mod api;
mod group;
mod slot;
mod state;
mod value;

/// The directives, in the order of the documentation.
pub(crate) static mut COMMANDS: [ngx_command_t; 7] = [
    ngx_command_t {
        name: ngx_string!("cutover_state"),
        type_: (NGX_HTTP_MAIN_CONF | NGX_CONF_TAKE1) as usize,
        set: Some(state::set_state),
        conf: NGX_HTTP_MAIN_CONF_OFFSET,
        offset: 0,
        post: ptr::null_mut(),
    },
    ngx_command_t {
        name: ngx_string!("cutover"),
        type_: (NGX_HTTP_MAIN_CONF | NGX_CONF_BLOCK | NGX_CONF_TAKE1) as usize,
        set: Some(group::set_group),
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
        set: Some(slot::set_slot),
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
        set: Some(slot::set_group),
        conf: NGX_HTTP_LOC_CONF_OFFSET,
        offset: 0,
        post: ptr::null_mut(),
    },
    ngx_command_t {
        name: ngx_string!("cutover_api"),
        type_: (NGX_HTTP_LOC_CONF | NGX_CONF_ANY) as usize,
        set: Some(api::set_api),
        conf: NGX_HTTP_LOC_CONF_OFFSET,
        offset: 0,
        post: ptr::null_mut(),
    },
    ngx_command_t {
        name: ngx_string!("cutover_metrics"),
        type_: (NGX_HTTP_LOC_CONF | NGX_CONF_NOARGS) as usize,
        set: Some(api::set_metrics),
        conf: NGX_HTTP_LOC_CONF_OFFSET,
        offset: 0,
        post: ptr::null_mut(),
    },
    ngx_command_t::empty(),
];
