//! `cutover_state`, `cutover_slot`, `cutover_group`, `cutover_api` and `cutover_metrics`.

use std::cell::Cell;
use std::ffi::{CString, c_char, c_void};
use std::path::Path;
use std::rc::Rc;

use cutover_core::name::RESERVED_SLOTS;
use ngx::core::Pool;
use ngx::ffi::{
    ngx_command_t, ngx_conf_full_name, ngx_conf_t, ngx_http_compile_complex_value,
    ngx_http_compile_complex_value_t, ngx_http_complex_value_t, ngx_str_t,
};

use super::{Location, NamedGroup, content, main_of};
use crate::admin::{self, Api, Token};
use crate::ext::{self, ConfExt, Logged, conf_status, text};

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

/// Compiles a word of the directive that is being parsed, which may hold variables.
pub(super) fn compile(cf: &mut ngx_conf_t, word: usize) -> Result<*mut ngx_http_complex_value_t, Logged> {
    let mut value = cf.words().get(word).copied().ok_or(Logged)?;
    // SAFETY: the pool is the cycle's.
    let pool = unsafe { Pool::from_ngx_pool(cf.pool) };
    let compiled = pool.calloc_type::<ngx_http_complex_value_t>();
    if compiled.is_null() {
        return Err(Logged);
    }
    // SAFETY: plain data for which zeroes mean "not asked for"; nginx's own callers clear it the same way.
    let mut compile: ngx_http_compile_complex_value_t = unsafe { std::mem::zeroed() };
    compile.cf = cf;
    compile.value = &mut value;
    compile.complex_value = compiled;
    // SAFETY: all pointers live through the call; nginx logs what it refuses.
    if unsafe { ngx_http_compile_complex_value(&mut compile) } != 0 {
        return Err(Logged);
    }
    Ok(compiled)
}

/// Users that may use the API, apart from root: whoever started nginx, and those of `uid=`.
#[derive(Clone, Debug, Default)]
pub(crate) struct AccessList(pub(crate) Vec<u32>);

pub(super) extern "C" fn set_api(
    cf: *mut ngx_conf_t,
    _command: *mut ngx_command_t,
    conf: *mut c_void,
) -> *mut c_char {
    // SAFETY: nginx passes the configuration that it is parsing.
    let cf = unsafe { &mut *cf };
    // SAFETY: nginx passes the configuration that create_loc_conf made for this location.
    conf_status(parse_api(cf, unsafe { &mut *conf.cast() }))
}

fn parse_api(cf: &mut ngx_conf_t, location: &mut Location) -> Result<(), Logged> {
    if location.api.is_some() {
        return Err(cf.refuse(format_args!("\"cutover_api\" is duplicate")));
    }
    // Root is always allowed; when nginx runs without it, the user that started it is.
    let starter = rustix::process::geteuid().as_raw();
    let mut api = Api { write: false, users: AccessList(vec![starter]), token: None, remote: false };
    for index in 1..cf.words().len() {
        let word = cf.word(index);
        match word.split_once('=') {
            Some(("write", "on")) => api.write = true,
            Some(("write", "off")) => api.write = false,
            Some(("write", value)) => {
                return Err(cf.refuse(format_args!(
                    "invalid value \"{value}\" of \"write\" in \"cutover_api\": on or off"
                )));
            }
            Some(("uid", user)) => match uid_of(user) {
                Some(uid) => api.users.0.push(uid),
                None => {
                    return Err(cf.refuse(format_args!(
                        "invalid value \"{user}\" of \"uid\" in \"cutover_api\": no such user"
                    )));
                }
            },
            // Who only brings a signal to nginx must not fail on what is in the file.
            Some(("token_file", _)) if ext::only_signalling() => return Ok(()),
            Some(("token_file", _)) if api.token.is_some() => {
                return Err(cf.refuse(format_args!("\"token_file\" is duplicate in \"cutover_api\"")));
            }
            Some(("token_file", path)) => api.token = Some(read_token(cf, path)?),
            Some(("remote", "on")) => api.remote = true,
            Some(("remote", "off")) => api.remote = false,
            Some(("remote", value)) => {
                return Err(cf.refuse(format_args!(
                    "invalid value \"{value}\" of \"remote\" in \"cutover_api\": on or off"
                )));
            }
            _ => {
                return Err(cf.refuse(format_args!(
                    "invalid parameter \"{word}\" in \"cutover_api\": there are \"write=on|off\", \"uid=USER\", \
                     \"token_file=PATH\" and \"remote=on|off\""
                )));
            }
        }
    }
    if api.remote && api.token.is_none() {
        return Err(cf.refuse(format_args!("\"remote=on\" in \"cutover_api\" needs a \"token_file\"")));
    }
    let server = content::take(cf, admin::handle)?;
    main_of(cf).ok_or(Logged)?.api_servers.push(server);
    location.api = Some(Rc::new(api));
    Ok(())
}

/// The file is read by the user that starts nginx, with each reload; workers only have what was in it.
fn read_token(cf: &mut ngx_conf_t, path: &str) -> Result<Token, Logged> {
    let mut full = cf.words().iter().find_map(|word| {
        let text = word.as_bytes().strip_prefix(b"token_file=")?;
        // SAFETY: a part of the word, which nginx keeps.
        Some(ngx_str_t { data: unsafe { word.data.add(word.len - text.len()) }, len: text.len() })
    });
    let full = full.as_mut().filter(|full| !full.is_empty());
    let Some(full) = full else {
        return Err(
            cf.refuse(format_args!("\"token_file\" in \"cutover_api\" is empty: give the path of a file"))
        );
    };
    // SAFETY: cycle and string belong to the parsing; nginx makes the path absolute against its prefix.
    if unsafe { ngx_conf_full_name(cf.cycle, full, 1) } != 0 {
        return Err(Logged);
    }
    Token::read(Path::new(&text(full)))
        .map_err(|error| cf.refuse(format_args!("\"token_file={path}\" in \"cutover_api\" {error}")))
}

pub(super) extern "C" fn set_metrics(
    cf: *mut ngx_conf_t,
    _command: *mut ngx_command_t,
    _conf: *mut c_void,
) -> *mut c_char {
    // SAFETY: nginx passes the configuration that it is parsing.
    conf_status(content::take(unsafe { &mut *cf }, admin::handle_metrics).map(drop))
}

/// A number, or the name of a user of this system.
fn uid_of(user: &str) -> Option<u32> {
    if let Ok(uid) = user.parse() {
        return Some(uid);
    }
    let name = CString::new(user).ok()?;
    // SAFETY: a C string; the master parses configuration on one thread, so nobody else uses getpwnam's static buffer.
    let entry = unsafe { libc::getpwnam(name.as_ptr()) };
    // SAFETY: null, or an entry that is valid until the next call.
    unsafe { entry.as_ref() }.map(|entry| entry.pw_uid)
}
