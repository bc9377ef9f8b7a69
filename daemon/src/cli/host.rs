//! The address of a daemon: `ssh://[user@]host[:port][/path/of/socket]` or `unix:/path/of/socket`.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// Where a daemon listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Host {
    /// A control socket of this machine.
    Unix(PathBuf),
    /// A control socket of another machine, reached through ssh.
    Ssh(SshHost),
}

/// A machine that ssh reaches. Host and user are free of characters that ssh or a shell would read as something else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SshHost {
    pub(super) user: Option<String>,
    pub(super) host: String,
    pub(super) port: Option<u16>,
    /// The control socket there. `None` is the one of the configuration there.
    pub(super) socket: Option<String>,
}

/// Why a text is not the address of a daemon.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(super) enum BadHost {
    #[error("\"{0}\" is neither ssh://[USER@]HOST[:PORT][/SOCKET] nor unix:/SOCKET{hint}", hint = hint(.0))]
    NoScheme(String),
    #[error("scheme \"{0}\" is unknown; write ssh://[USER@]HOST[:PORT][/SOCKET] or unix:/SOCKET")]
    Scheme(String),
    #[error(
        "\"{0}\" is not the path of a socket: write it from the root, as in unix:/run/cutover/cutover.sock"
    )]
    Path(String),
    #[error("the host is missing: write ssh://[USER@]HOST[:PORT][/SOCKET]")]
    NoHost,
    #[error("\"{0}\" is an IPv6 address without brackets: write ssh://[{0}]")]
    Brackets(String),
    #[error(
        "\"{0}\" is not the name of a host: it begins with \"-\" or has a character that no name of a host has"
    )]
    HostName(String),
    #[error(
        "\"{0}\" is not the name of a user: it is empty, begins with \"-\" or has a character that a shell may read"
    )]
    User(String),
    #[error("it contains a password, which ssh does not take from here: use a key")]
    Password,
    #[error("\"{0}\" is not a port: write a number from 1 to 65535")]
    Port(String),
}

impl FromStr for Host {
    type Err = BadHost;

    fn from_str(text: &str) -> Result<Self, BadHost> {
        if let Some(path) = text.strip_prefix("unix:") {
            return match path.starts_with('/') && !path.ends_with('/') && !path.contains(char::is_control) {
                true => Ok(Self::Unix(path.into())),
                false => Err(BadHost::Path(path.to_owned())),
            };
        }
        match text.split_once("://") {
            Some(("ssh", rest)) => ssh_host(rest).map(Self::Ssh),
            Some((scheme, _)) => Err(BadHost::Scheme(scheme.to_owned())),
            None => Err(BadHost::NoScheme(text.to_owned())),
        }
    }
}

fn hint(text: &str) -> String {
    match text {
        "" => String::new(),
        _ if text.starts_with('/') => format!("; did you mean unix:{text}?"),
        _ => format!("; did you mean ssh://{text}?"),
    }
}

fn ssh_host(rest: &str) -> Result<SshHost, BadHost> {
    let (authority, path) = match rest.find('/') {
        Some(slash) => rest.split_at(slash),
        None => (rest, "/"),
    };
    let (user, place) = match authority.rsplit_once('@') {
        Some((user, place)) => (Some(user_name(user)?), place),
        None => (None, authority),
    };
    // The colons of an IPv6 address are inside brackets.
    let (host, port) = match place.strip_prefix('[').and_then(|inside| inside.split_once(']')) {
        Some((host, "")) => (host, None),
        Some((host, port)) => match port.strip_prefix(':') {
            Some(port) => (host, Some(port)),
            None => return Err(BadHost::HostName(place.to_owned())),
        },
        None if place.matches(':').count() > 1 => return Err(BadHost::Brackets(place.to_owned())),
        None => place.split_once(':').map_or((place, None), |(host, port)| (host, Some(port))),
    };
    Ok(SshHost {
        user,
        host: host_name(host)?,
        port: port.map(port_number).transpose()?,
        socket: socket_path(path)?,
    })
}

fn user_name(user: &str) -> Result<String, BadHost> {
    // The user's configuration of ssh may hand the name to a shell, as ProxyCommand does with "%r".
    let read_by_a_shell = |c: char| c.is_control() || c.is_whitespace() || "'`\"$\\;&<>|(){}".contains(c);
    match user {
        _ if user.contains(':') => Err(BadHost::Password),
        _ if user.is_empty() || user.starts_with('-') || user.contains(read_by_a_shell) => {
            Err(BadHost::User(user.to_owned()))
        }
        _ => Ok(user.to_owned()),
    }
}

fn host_name(host: &str) -> Result<String, BadHost> {
    let fits = |c: char| c.is_alphanumeric() || "-_.:%".contains(c);
    match host {
        "" => Err(BadHost::NoHost),
        _ if host.starts_with('-') || !host.chars().all(fits) => Err(BadHost::HostName(host.to_owned())),
        _ => Ok(host.to_owned()),
    }
}

fn port_number(port: &str) -> Result<u16, BadHost> {
    match port.parse() {
        Ok(number) if number > 0 => Ok(number),
        _ => Err(BadHost::Port(port.to_owned())),
    }
}

fn socket_path(path: &str) -> Result<Option<String>, BadHost> {
    match path {
        "/" => Ok(None),
        _ if path.ends_with('/') || path.contains(char::is_control) => Err(BadHost::Path(path.to_owned())),
        _ => Ok(Some(path.to_owned())),
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Ssh(host) => host.fmt(f),
        }
    }
}

impl fmt::Display for SshHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ssh://")?;
        if let Some(user) = &self.user {
            write!(f, "{user}@")?;
        }
        match self.host.contains(':') {
            true => write!(f, "[{}]", self.host)?,
            false => f.write_str(&self.host)?,
        }
        if let Some(port) = self.port {
            write!(f, ":{port}")?;
        }
        f.write_str(self.socket.as_deref().unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ssh(user: Option<&str>, host: &str, port: Option<u16>, socket: Option<&str>) -> Host {
        let owned = |text: Option<&str>| text.map(str::to_owned);
        Host::Ssh(SshHost { user: owned(user), host: host.to_owned(), port, socket: owned(socket) })
    }

    #[test]
    fn addresses_are_shown_as_they_are_written() {
        for (text, host) in [
            ("unix:/run/c.sock", Host::Unix("/run/c.sock".into())),
            ("ssh://edge", ssh(None, "edge", None, None)),
            ("ssh://deploy@edge-1.example.com", ssh(Some("deploy"), "edge-1.example.com", None, None)),
            ("ssh://deploy@edge:2222", ssh(Some("deploy"), "edge", Some(2222), None)),
            ("ssh://edge/run/my c.sock", ssh(None, "edge", None, Some("/run/my c.sock"))),
            ("ssh://a@b@edge:22/s", ssh(Some("a@b"), "edge", Some(22), Some("/s"))),
            ("ssh://[::1]", ssh(None, "::1", None, None)),
            ("ssh://root@[fe80::1%eth0]:22/s", ssh(Some("root"), "fe80::1%eth0", Some(22), Some("/s"))),
        ] {
            assert_eq!(text.parse(), Ok(host.clone()), "{text}");
            assert_eq!(host.to_string(), text);
        }
        assert_eq!("ssh://edge/".parse(), Ok(ssh(None, "edge", None, None)));
    }

    #[test]
    fn other_texts_are_refused_with_what_is_wrong() {
        let owned = str::to_owned;
        for (text, error) in [
            ("edge", BadHost::NoScheme(owned("edge"))),
            ("", BadHost::NoScheme(owned(""))),
            ("tcp://edge:80", BadHost::Scheme(owned("tcp"))),
            ("unix:c.sock", BadHost::Path(owned("c.sock"))),
            ("unix:", BadHost::Path(owned(""))),
            ("ssh://edge/folder/", BadHost::Path(owned("/folder/"))),
            ("ssh://", BadHost::NoHost),
            ("ssh://deploy@", BadHost::NoHost),
            ("ssh://-oProxyCommand=reboot", BadHost::HostName(owned("-oProxyCommand=reboot"))),
            ("ssh://edge$(reboot)", BadHost::HostName(owned("edge$(reboot)"))),
            ("ssh://edge?x", BadHost::HostName(owned("edge?x"))),
            ("ssh://[::1]x", BadHost::HostName(owned("[::1]x"))),
            ("ssh://-l@edge", BadHost::User(owned("-l"))),
            ("ssh://@edge", BadHost::User(owned(""))),
            ("ssh://`reboot`@edge", BadHost::User(owned("`reboot`"))),
            ("ssh://deploy:secret@edge", BadHost::Password),
            ("ssh://edge:", BadHost::Port(owned(""))),
            ("ssh://edge:0", BadHost::Port(owned("0"))),
            ("ssh://edge:65536", BadHost::Port(owned("65536"))),
            ("ssh://::1", BadHost::Brackets(owned("::1"))),
        ] {
            assert_eq!(text.parse::<Host>(), Err(error), "{text}");
        }
    }
}
