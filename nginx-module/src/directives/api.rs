//! `cutover_api` and `cutover_metrics`.

use std::ffi::{CString, c_char, c_void};
use std::path::Path;
use std::rc::Rc;

use ngx::ffi::{ngx_command_t, ngx_conf_full_name, ngx_conf_t, ngx_str_t};

use crate::admin;
use crate::conf::content::Content;
use crate::conf::{AccessList, Api, Location, RemoteApi, Token, main_of};
use crate::ext::{self, ConfExt, Logged, conf_status, text};

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
            Some(("write", value)) => api.write = on_or_off(cf, "write", value)?,
            Some(("uid", user)) => api.users.0.push(uid_of(cf, user)?),
            // A process that only brings a signal to nginx must not fail on what is in the file.
            Some(("token_file", _)) if ext::only_signalling() => return Ok(()),
            Some(("token_file", _)) if api.token.is_some() => {
                return Err(cf.refuse(format_args!("\"token_file\" is duplicate in \"cutover_api\"")));
            }
            Some(("token_file", path)) => api.token = Some(read_token(cf, path)?),
            Some(("remote", value)) => api.remote = on_or_off(cf, "remote", value)?,
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
    let (content, server) = Content::take(cf, admin::handle)?;
    let main = main_of(cf).ok_or(Logged)?;
    main.contents.push(content);
    main.api_servers.push(server);
    if api.remote {
        main.remote_apis.push(RemoteApi { server, place: cf.place() });
    }
    location.api = Some(Rc::new(api));
    Ok(())
}

/// The user that starts nginx reads the file, at each reload; workers only have what was in it.
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
    conf_status(take_for_metrics(unsafe { &mut *cf }))
}

fn take_for_metrics(cf: &mut ngx_conf_t) -> Result<(), Logged> {
    let (content, _) = Content::take(cf, admin::handle_metrics)?;
    main_of(cf).ok_or(Logged)?.contents.push(content);
    Ok(())
}

fn on_or_off(cf: &mut ngx_conf_t, parameter: &str, value: &str) -> Result<bool, Logged> {
    match value {
        "on" => Ok(true),
        "off" => Ok(false),
        _ => Err(cf.refuse(format_args!(
            "invalid value \"{value}\" of \"{parameter}\" in \"cutover_api\": on or off"
        ))),
    }
}

/// A number, or the name of a user of this system.
fn uid_of(cf: &mut ngx_conf_t, user: &str) -> Result<u32, Logged> {
    user.parse().ok().or_else(|| uid_of_name(user)).ok_or_else(|| {
        cf.refuse(format_args!("invalid value \"{user}\" of \"uid\" in \"cutover_api\": no such user"))
    })
}

fn uid_of_name(user: &str) -> Option<u32> {
    let name = CString::new(user).ok()?;
    // SAFETY: a C string; the master parses configuration on one thread, so nobody else uses getpwnam's static buffer.
    let entry = unsafe { libc::getpwnam(name.as_ptr()) };
    // SAFETY: null, or an entry that is valid until the next call.
    unsafe { entry.as_ref() }.map(|entry| entry.pw_uid)
}
