//! The addresses that servers listen on, as nginx has collected them from `listen`.

use ngx::ffi::{
    ngx_conf_t, ngx_http_conf_addr_t, ngx_http_conf_port_t, ngx_http_core_main_conf_t, ngx_http_core_module,
    ngx_http_core_srv_conf_t,
};
use ngx::http::HttpModuleConfExt;

use crate::conf::RemoteApi;
use crate::ext::{self, ConfExt, Logged, elements};
use crate::layout::bits;

/// A server of the configuration.
pub(super) type Server = *mut ngx_http_core_srv_conf_t;

/// The addresses of these servers.
pub(super) fn addresses<'a>(
    cf: &ngx_conf_t,
    servers: &'a [Server],
) -> impl Iterator<Item = &'a ngx_http_conf_addr_t> {
    let core = ext::module(&raw const ngx_http_core_module);
    // SAFETY: the core module's main configuration is an ngx_http_core_main_conf_t.
    let main = unsafe { cf.http_main_conf_unchecked::<ngx_http_core_main_conf_t>(core) };
    // SAFETY: belongs to the configuration that is being parsed.
    let ports = main.map_or(std::ptr::null(), |main| unsafe { main.as_ref() }.ports.cast_const());
    // SAFETY: the ports that `listen` collects are ngx_http_conf_port_t.
    let ports: &[ngx_http_conf_port_t] = unsafe { elements(ports) };
    let addresses = ports.iter().flat_map(|port| {
        // SAFETY: the addresses of a port are ngx_http_conf_addr_t.
        let addresses: &[ngx_http_conf_addr_t] = unsafe { elements(&raw const port.addrs) };
        addresses
    });
    addresses.filter(|address| {
        // SAFETY: the servers of an address are pointers to server configurations.
        let here: &[Server] = unsafe { elements(&raw const address.servers) };
        here.iter().any(|server| servers.contains(server))
    })
}

/// Refuses `remote=on` in a server that clients of other hosts could not use, because it has no TLS.
pub(crate) fn check_remote(cf: &mut ngx_conf_t, apis: &[RemoteApi]) -> Result<(), Logged> {
    for RemoteApi { server, place } in apis {
        let has_tls =
            addresses(cf, &[*server]).any(|address| bits::ngx_http_listen_opt_t::SSL.is_set(&address.opt));
        if !has_tls {
            return Err(cf.refuse_at(
                place,
                format_args!(
                    "\"remote=on\" in \"cutover_api\" needs TLS: add \"ssl\" to a \"listen\" of this server, and \
                     \"ssl_certificate\" and \"ssl_certificate_key\""
                ),
            ));
        }
    }
    Ok(())
}
