//! Where a database is: `postgres://user:password@host/name`. The password is part of the text, and is never shown.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The address of a database.
#[derive(Clone, PartialEq, Eq)]
pub struct Url {
    kind: Kind,
    /// The text for the driver, without the keys of [`Tls`].
    text: String,
    tls: Tls,
}

/// Which database it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// SQLite.
    Sqlite,
    /// PostgreSQL.
    Postgres,
    /// MySQL or MariaDB.
    Mysql,
}

/// `sslmode` and `sslrootcert`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tls {
    /// Whether the connection must be encrypted and the server be verified.
    pub(crate) required: bool,
    /// A file with the certificates that are trusted. `None` trusts those of the system.
    pub(crate) roots: Option<PathBuf>,
}

/// How long operations may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The wait for a lock of the database.
    pub lock: Duration,
    /// One migration.
    pub migration: Duration,
}

/// A text that is no address of a database. It never shows a password.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadUrl {
    /// The scheme is missing or unknown.
    #[error(
        "\"{0}\" is not the URL of a database: expected sqlite:/PATH, postgres://USER@HOST/NAME, mysql://USER@HOST/NAME, or \
         where that is written: env:NAME or file:PATH"
    )]
    Scheme(String),
    /// The path of an SQLite file is not absolute.
    #[error("\"{0}\" needs an absolute path, as in sqlite:/srv/shop/shop.sqlite")]
    Path(String),
    /// A key has a wrong value.
    #[error("{url}: {key} \"{value}\" is not known: expected {expected}")]
    Value {
        /// The URL.
        url: String,
        /// The key.
        key: &'static str,
        /// Its value.
        value: String,
        /// What it may be.
        expected: &'static str,
    },
    /// The user or the password has a character that ends it.
    #[error("{0}: write \"?\" in a user or a password as %3F, and \"/\" as %2F")]
    NotEncoded(String),
    /// There is no database in it.
    #[error("{0} does not name a database: add its name, as in postgres://USER@HOST/NAME")]
    NoName(String),
    /// The driver does not understand it.
    #[error("{url} is not understood: {why}")]
    Driver {
        /// The URL.
        url: String,
        /// The driver's message.
        why: String,
    },
}

impl Url {
    /// Parses the text of a URL.
    pub fn parse(text: &str) -> Result<Self, BadUrl> {
        let text = text.trim();
        let Some((scheme, rest)) = text.split_once(':') else { return Err(BadUrl::Scheme(hidden(text))) };
        let kind = match scheme {
            "sqlite" => Kind::Sqlite,
            "postgres" | "postgresql" => Kind::Postgres,
            "mysql" | "mariadb" => Kind::Mysql,
            _ => return Err(BadUrl::Scheme(hidden(text))),
        };
        if kind == Kind::Sqlite {
            let path = rest.strip_prefix("//").unwrap_or(rest);
            return match Path::new(path).is_absolute() {
                true => Ok(Self { kind, text: path.to_owned(), tls: Tls::default() }),
                false => Err(BadUrl::Path(text.to_owned())),
            };
        }
        if let Some((account, _)) = rest.split_once('@')
            && account.trim_start_matches('/').contains(['?', '/'])
            && !rest.split_once('?').is_some_and(|(base, _)| base.trim_start_matches('/').contains('/'))
        {
            return Err(BadUrl::NotEncoded(hidden(text)));
        }
        let (base, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (tls, query) = tls_of(text, query)?;
        let base = match kind {
            Kind::Mysql => format!("mysql:{base}"),
            _ => format!("postgres:{base}"),
        };
        let text = if query.is_empty() { base } else { format!("{base}?{query}") };
        Ok(Self { kind, text, tls })
    }

    /// Which database it is.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Whether both name the same database, whoever the user is. Two names of one server, or its socket and its port, are not
    /// recognised.
    pub fn is_same(&self, other: &Self) -> bool {
        self.kind == other.kind && self.place().is_some_and(|place| other.place() == Some(place))
    }

    /// The server and the database, or the file. `None`: the driver does not understand the text.
    fn place(&self) -> Option<String> {
        Some(match self.kind {
            Kind::Sqlite => {
                let path = Path::new(&self.text);
                path.canonicalize().unwrap_or_else(|_| path.to_owned()).display().to_string()
            }
            Kind::Postgres => postgres_place(&self.text.parse().ok()?),
            Kind::Mysql => {
                let (base, query) = self.text.split_once('?').unwrap_or((&self.text, ""));
                let opts = mysql_async::Opts::from_url(base).ok()?;
                let socket = query.split('&').find_map(|pair| pair.strip_prefix("socket="));
                let server = match socket {
                    Some(socket) => socket.to_owned(),
                    None => format!("{}:{}", loopback(opts.ip_or_hostname()), opts.tcp_port()),
                };
                format!("{server}/{}", opts.db_name().unwrap_or_default())
            }
        })
    }

    /// The text for the driver. It has the password.
    pub(crate) fn secret(&self) -> &str {
        &self.text
    }

    pub(crate) fn tls(&self) -> &Tls {
        &self.tls
    }

    pub(crate) fn refused_by_driver(&self, why: impl fmt::Display) -> BadUrl {
        BadUrl::Driver { url: self.to_string(), why: why.to_string() }
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            Kind::Sqlite => write!(f, "sqlite:{}", self.text),
            Kind::Postgres | Kind::Mysql => f.write_str(&hidden(&self.text)),
        }
    }
}

impl fmt::Debug for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

fn postgres_place(config: &tokio_postgres::Config) -> String {
    let hosts = config.get_hosts().iter().map(|host| match host {
        tokio_postgres::config::Host::Tcp(name) => loopback(name),
        tokio_postgres::config::Host::Unix(folder) => folder.display().to_string(),
    });
    let hosts = hosts.collect::<Vec<_>>().join(",");
    let ports = config.get_ports().iter().map(u16::to_string).collect::<Vec<_>>().join(",");
    let ports = if ports.is_empty() { "5432" } else { &ports };
    // The server takes the name of the user if there is none.
    let database = config.get_dbname().or(config.get_user()).unwrap_or_default();
    format!("{hosts}:{ports}/{database}")
}

/// A host in one spelling.
fn loopback(host: &str) -> String {
    match host.to_ascii_lowercase().as_str() {
        "localhost" | "::1" | "[::1]" => "127.0.0.1".to_owned(),
        host => host.to_owned(),
    }
}

/// Takes the keys of TLS out of a query.
fn tls_of(url: &str, query: &str) -> Result<(Tls, String), BadUrl> {
    let mut tls = Tls::default();
    let mut rest = Vec::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        match pair.split_once('=') {
            Some(("sslmode", "disable")) => tls.required = false,
            Some(("sslmode", "require" | "verify-ca" | "verify-full")) => tls.required = true,
            Some(("sslmode", value)) => {
                return Err(BadUrl::Value {
                    url: hidden(url),
                    key: "sslmode",
                    value: value.to_owned(),
                    expected: "disable, require, verify-ca or verify-full; each but the first verifies the certificate",
                });
            }
            Some(("sslrootcert", path)) => {
                tls.required = true;
                tls.roots = Some(PathBuf::from(path));
            }
            _ => rest.push(pair),
        }
    }
    Ok((tls, rest.join("&")))
}

/// The text of a URL without its password and without values of keys that may be one.
pub(crate) fn hidden(text: &str) -> String {
    let (base, query) = text.split_once('?').map_or((text, None), |(base, query)| (base, Some(query)));
    // A "?" that belongs to a password.
    if query.is_some_and(|query| query.contains('@')) && !base.contains('@') {
        return text.split_once("//").map_or("***".to_owned(), |(scheme, _)| format!("{scheme}//***"));
    }
    // A password may contain an unescaped "@": the host follows the last one.
    let base = match (base.find("//"), base.rfind('@')) {
        (Some(begin), Some(at)) if at > begin => {
            let (scheme, rest) = base.split_at(begin + 2);
            let (account, host) = rest.split_at(at - begin - 2);
            let user = account.split_once(':').map_or(account.to_owned(), |(user, _)| format!("{user}:***"));
            format!("{scheme}{user}{host}")
        }
        // Not a URL: it may be a password alone.
        (None, Some(_)) => "***".to_owned(),
        _ => base.to_owned(),
    };
    let Some(query) = query else { return base };
    let shown = query.split('&').map(|pair| match pair.split_once('=') {
        Some((key @ ("host" | "socket" | "port" | "dbname" | "user" | "sslmode" | "sslrootcert"), value)) => {
            format!("{key}={value}")
        }
        Some((key, _)) => format!("{key}=***"),
        None => "***".to_owned(),
    });
    format!("{base}?{}", shown.collect::<Vec<_>>().join("&"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_that_ends_the_url_is_refused_and_not_shown() {
        for text in ["postgres://shop:pa?ss@db/x?sslmode=require", "mysql://shop:pa/ss@db/x"] {
            let said = Url::parse(text).unwrap_err().to_string();
            assert!(said.contains("%3F") && !said.contains("pa?") && !said.contains("ss@"), "{said}");
        }
        assert!(Url::parse("postgres://shop:pa%3Fss@db/x?sslmode=require").unwrap().tls().required);
        Url::parse("postgres://db/x?password=a@b").unwrap();
    }

    #[test]
    fn a_url_is_shown_without_its_password() {
        for (text, shown) in [
            ("postgres://shop:s3cret@db/shop", "postgres://shop:***@db/shop"),
            ("postgresql://shop:s3@cret@db/shop?sslmode=require", "postgres://shop:***@db/shop"),
            (
                "postgres://shop@/shop?host=/run/pg&password=s3cret",
                "postgres://shop@/shop?host=/run/pg&password=***",
            ),
            (
                "mariadb://shop:s3cret@localhost/shop?socket=/run/my.sock",
                "mysql://shop:***@localhost/shop?socket=/run/my.sock",
            ),
            ("sqlite:/srv/a@b.sqlite", "sqlite:/srv/a@b.sqlite"),
            ("sqlite:///srv/shop.sqlite", "sqlite:/srv/shop.sqlite"),
        ] {
            let url = Url::parse(text).unwrap();
            assert_eq!((url.to_string().as_str(), format!("{url:?}").as_str()), (shown, shown));
        }
    }

    #[test]
    fn the_same_database_in_another_spelling() {
        let folder = std::env::temp_dir();
        let through = format!("sqlite:{}/../{}", folder.display(), folder.file_name().unwrap().display());
        for (one, other, is_same) in [
            ("postgres://a:x@db/shop", "postgresql://b:y@DB:5432/shop?sslmode=require", true),
            ("postgres://localhost/shop", "postgres://127.0.0.1/shop", true),
            ("postgres://shop@db", "postgres://db/shop", true),
            ("postgres:///shop?host=/run/pg", "postgres://a@/shop?host=/run/pg", true),
            ("postgres://db/shop", "postgres://db/api", false),
            ("postgres://db/shop", "postgres://db:5433/shop", false),
            ("postgres://db/shop", "mysql://db/shop", false),
            ("mysql://a@db/shop", "mariadb://b:c@db:3306/shop", true),
            ("mysql://a@localhost/shop?socket=/s", "mysql://a@localhost/shop?socket=/t", false),
            (&through, &format!("sqlite:{}", folder.display()), true),
            ("sqlite:/nowhere/a", "sqlite:/nowhere/b", false),
        ] {
            let [one, other] = [one, other].map(|text| Url::parse(text).unwrap());
            assert_eq!((one.is_same(&other), other.is_same(&one)), (is_same, is_same), "{one} {other}");
        }
    }

    #[test]
    fn no_error_shows_a_password() {
        for (text, said) in [
            ("s3cret", "is not the URL of a database: expected sqlite:/PATH"),
            ("oracle://shop:s3cret@db/x", "\"oracle://shop:***@db/x\" is not the URL of a database"),
            ("user:s3cret@db", "\"***\" is not the URL of a database"),
            ("sqlite:shop.sqlite", "needs an absolute path"),
            (
                "postgres://shop:s3cret@db/x?sslmode=prefer",
                "sslmode \"prefer\" is not known: expected disable, require",
            ),
        ] {
            let found = Url::parse(text).unwrap_err().to_string();
            assert!(found.contains(said), "{found}");
            assert!(text == "s3cret" || !found.contains("s3cret"), "{found}");
        }
    }

    #[test]
    fn tls_is_asked_for_by_a_key() {
        let tls = |query: &str| Url::parse(&format!("postgres://a@h/d?{query}")).unwrap().tls().clone();
        assert!(!tls("").required && !tls("sslmode=disable").required);
        assert!(tls("sslmode=verify-full").required);
        assert_eq!(tls("sslrootcert=/etc/ca.pem").roots, Some("/etc/ca.pem".into()));
        let kept = Url::parse("mysql://a@h/d?socket=/s&sslmode=require").unwrap();
        assert_eq!(kept.secret(), "mysql://a@h/d?socket=/s");
    }
}
