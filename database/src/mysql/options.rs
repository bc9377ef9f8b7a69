//! The options of a connection, from a URL.

use mysql_async::{Opts, OptsBuilder, SslOpts};

use crate::error::DatabaseError;
use crate::url::{BadUrl, Url};

/// Reads a URL. `who` is shown to those who look at the connections of the server.
pub(super) fn options(url: &Url, who: &str) -> Result<Opts, DatabaseError> {
    let text = url.secret();
    let (base, query) = text.split_once('?').unwrap_or((text, ""));
    let opts = Opts::from_url(base).map_err(|error| url.refused_by_driver(error))?;
    if opts.db_name().is_none() {
        return Err(BadUrl::NoName(url.to_string()).into());
    }
    let mut builder = OptsBuilder::from_opts(opts)
        .prefer_socket(false)
        .connect_attribute("program_name", format!("cutover {who}"));
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        match pair.split_once('=') {
            Some(("socket", path)) => builder = builder.socket(Some(path)),
            _ => {
                let key = pair.split_once('=').map_or(pair, |(key, _)| key);
                let why = format!("the key \"{key}\" is not known: expected socket, sslmode or sslrootcert");
                return Err(url.refused_by_driver(why).into());
            }
        }
    }
    if url.tls().required {
        let roots = url.tls().roots.iter().map(|path| path.clone().into()).collect::<Vec<_>>();
        builder = builder.ssl_opts(SslOpts::default().with_root_certs(roots));
    }
    Ok(builder.into())
}
