//! `cutover_state`.

use std::ffi::{c_char, c_void};

use ngx::ffi::{ngx_command_t, ngx_conf_full_name, ngx_conf_t};

use crate::conf::main_of;
use crate::ext::{ConfExt, Logged, conf_status, text};

pub(super) extern "C" fn set_state(
    cf: *mut ngx_conf_t,
    _command: *mut ngx_command_t,
    _conf: *mut c_void,
) -> *mut c_char {
    // SAFETY: nginx passes the configuration that it is parsing.
    conf_status(parse_state(unsafe { &mut *cf }))
}

fn parse_state(cf: &mut ngx_conf_t) -> Result<(), Logged> {
    let main = main_of(cf).ok_or(Logged)?;
    if main.state_folder.is_some() {
        return Err(cf.refuse(format_args!("\"cutover_state\" is duplicate")));
    }
    let mut path = cf.words().get(1).copied().ok_or(Logged)?;
    if path.is_empty() {
        return Err(cf.refuse(format_args!("\"cutover_state\" is empty: give the folder for the state file")));
    }
    // SAFETY: cycle and string belong to the parsing; nginx makes the path absolute against its prefix.
    if unsafe { ngx_conf_full_name(cf.cycle, &mut path, 0) } != 0 {
        return Err(Logged);
    }
    main.state_folder = Some((text(&path), cf.place()));
    Ok(())
}
