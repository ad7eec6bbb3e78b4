//! From a URL to a topology. By hand, because no URL parser takes several hosts, and so that a mistake is named
//! without repeating the password beside it.

use std::{collections::BTreeMap, path::PathBuf, sync::OnceLock};

use percent_encoding::percent_decode_str;

use crate::{
    tls,
    topology::{Access, Address, Inner, Kind},
};

const PORT: u16 = 6379;
const SENTINEL_PORT: u16 = 26_379;

/// What is wrong with a URL of Redis.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct UrlError(String);

fn wrong<T>(what: impl Into<String>) -> Result<T, UrlError> {
    Err(UrlError(what.into()))
}

pub(crate) fn parse(text: &str) -> Result<Inner, UrlError> {
    let text = text.trim();
    let urls = split_urls(text);
    if urls.len() > 1 {
        return parse_list(&urls);
    }
    let url = Url::split(text)?;
    match url.scheme {
        Scheme::Unix => unix(&url),
        Scheme::Tcp { tls, form: Form::Single } => single(&url, tls),
        Scheme::Tcp { tls, form: Form::Cluster } => cluster(&[url], tls),
        Scheme::Tcp { tls, form: Form::Sentinel } => sentinel(&url, tls),
    }
}

/// At the commas before a scheme: others may stand in a password, or between hosts.
fn split_urls(text: &str) -> Vec<&str> {
    let mut urls = Vec::new();
    let mut start = 0;
    for (comma, _) in text.match_indices(',') {
        let next = text[comma + 1..].trim_start();
        if SCHEMES.iter().any(|(scheme, _)| next.strip_prefix(scheme).is_some_and(|rest| rest.starts_with("://"))) {
            urls.push(text[start..comma].trim());
            start = comma + 1;
        }
    }
    urls.push(text[start..].trim());
    urls
}

fn parse_list(texts: &[&str]) -> Result<Inner, UrlError> {
    let urls: Vec<Url<'_>> = texts.iter().map(|text| Url::split(text)).collect::<Result<_, _>>()?;
    let mut all_tls = None;
    for url in &urls {
        let Scheme::Tcp { tls, form: Form::Single | Form::Cluster } = url.scheme else {
            return wrong(
                "several comma-separated URLs mean a Redis Cluster: each must start with redis:// or rediss://",
            );
        };
        if *all_tls.get_or_insert(tls) != tls {
            return wrong("the nodes of a Redis Cluster must all be redis:// or all be rediss://");
        }
    }
    cluster(&urls, all_tls.unwrap_or_default())
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scheme {
    Unix,
    Tcp { tls: bool, form: Form },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Single,
    Cluster,
    Sentinel,
}

const SCHEMES: [(&str, Scheme); 10] = [
    ("redis", Scheme::Tcp { tls: false, form: Form::Single }),
    ("rediss", Scheme::Tcp { tls: true, form: Form::Single }),
    ("valkey", Scheme::Tcp { tls: false, form: Form::Single }),
    ("valkeys", Scheme::Tcp { tls: true, form: Form::Single }),
    ("redis+cluster", Scheme::Tcp { tls: false, form: Form::Cluster }),
    ("rediss+cluster", Scheme::Tcp { tls: true, form: Form::Cluster }),
    ("redis+sentinel", Scheme::Tcp { tls: false, form: Form::Sentinel }),
    ("rediss+sentinel", Scheme::Tcp { tls: true, form: Form::Sentinel }),
    ("unix", Scheme::Unix),
    ("redis+unix", Scheme::Unix),
];

/// The parts of one URL, still encoded.
struct Url<'a> {
    scheme: Scheme,
    user: Option<String>,
    password: Option<String>,
    hosts: &'a str,
    /// Without its first slash.
    path: &'a str,
    options: Options,
}

impl<'a> Url<'a> {
    fn split(text: &'a str) -> Result<Self, UrlError> {
        let Some((scheme, rest)) = text.split_once("://") else {
            return wrong("this is no URL: it must start with redis://, rediss://, redis+sentinel:// or unix://");
        };
        let Some((_, scheme)) = SCHEMES.iter().find(|(known, _)| *known == scheme) else {
            // What stands before :// may be anything, a password too.
            return wrong("unknown scheme before ://: use redis, rediss (TLS), redis+sentinel, redis+cluster or unix");
        };
        let (rest, options) = rest.split_once('?').unwrap_or((rest, ""));
        let options = Options::parse(options)?;
        // The last @: one in a password should be encoded, and need not be.
        let (access, rest) = rest.rsplit_once('@').map_or((None, rest), |(access, rest)| (Some(access), rest));
        let (hosts, path) = match scheme {
            Scheme::Unix => ("", rest),
            Scheme::Tcp { .. } => rest.split_once('/').unwrap_or((rest, "")),
        };
        if rest.contains('#') {
            return wrong("nothing can follow a #");
        }
        let (user, password) = match access.map(|access| access.split_once(':').unwrap_or((access, ""))) {
            Some((user, password)) => (decoded("user", user)?, decoded("password", password)?),
            None => (None, None),
        };
        if user.is_some() && password.is_none() {
            return wrong("there is a user but no password: write user:password@, or :password@ for the default user");
        }
        Ok(Self { scheme: *scheme, user, password, hosts, path, options })
    }

    fn addresses(&self, port: u16) -> Result<Vec<Address>, UrlError> {
        self.hosts.split(',').map(|host| address(host.trim(), port)).collect()
    }

    fn access(&self, tls: bool) -> Result<Access, UrlError> {
        Ok(Access { user: self.user.clone(), password: self.password.clone(), tls: self.options.tls(tls)? })
    }
}

fn single(url: &Url<'_>, tls: bool) -> Result<Inner, UrlError> {
    url.options.only(&TLS_OPTIONS)?;
    let addresses = url.addresses(PORT)?;
    let [address] = addresses.as_slice() else {
        return wrong("several hosts: a Redis Cluster is written redis://a:7000,redis://b:7000, with a scheme each");
    };
    let access = url.access(tls)?;
    let kind = Kind::Single(address.clone());
    Ok(Inner { kind, access, sentinels: OnceLock::new(), sentinel_access: Access::default(), db: db(url.path)? })
}

fn unix(url: &Url<'_>) -> Result<Inner, UrlError> {
    url.options.only(&["db", "user", "password"])?;
    if !url.path.starts_with('/') {
        return wrong("a unix:// URL needs an absolute path, with three slashes: unix:///run/redis/redis.sock");
    }
    let Some(path) = decoded("path", url.path)? else { return wrong("the path is empty") };
    let option = |name: &str| url.options.0.get(name).cloned();
    let access = Access {
        user: option("user").or_else(|| url.user.clone()),
        password: option("password").or_else(|| url.password.clone()),
        tls: None,
    };
    let kind = Kind::Single(Address::Unix(PathBuf::from(path)));
    Ok(Inner {
        kind,
        access,
        sentinels: OnceLock::new(),
        sentinel_access: Access::default(),
        db: db(&option("db").unwrap_or_default())?,
    })
}

fn cluster(urls: &[Url<'_>], tls: bool) -> Result<Inner, UrlError> {
    let Some(first) = urls.first() else { return wrong("no URL") };
    let mut seeds = Vec::new();
    for url in urls {
        url.options.only(&TLS_OPTIONS)?;
        seeds.extend(url.addresses(PORT)?);
        if db(url.path)? != 0 {
            return wrong("a Redis Cluster has database 0 only: leave the path out");
        }
        let bare = url.user.is_none() && url.password.is_none() && url.options.0.is_empty();
        let same = url.user == first.user && url.password == first.password && url.options == first.options;
        if !bare && !same {
            return wrong(
                "the nodes of a Redis Cluster share user, password and options: give them in the first URL, or the same in all",
            );
        }
    }
    let access = first.access(tls)?;
    Ok(Inner {
        kind: Kind::Cluster { seeds },
        access,
        sentinels: OnceLock::new(),
        sentinel_access: Access::default(),
        db: 0,
    })
}

fn sentinel(url: &Url<'_>, tls: bool) -> Result<Inner, UrlError> {
    url.options.only(&["ca", "cert", "key", "sentinel_user", "sentinel_password"])?;
    let sentinels = url.addresses(SENTINEL_PORT)?;
    let (master, db_text) = url.path.split_once('/').unwrap_or((url.path, ""));
    let Some(master) = decoded("name of the master", master)? else {
        return wrong("the name of the master is missing: redis+sentinel://host:26379/NAME");
    };
    let access = url.access(tls)?;
    let option = |name: &str| url.options.0.get(name).cloned();
    let sentinel_access =
        Access { user: option("sentinel_user"), password: option("sentinel_password"), tls: access.tls.clone() };
    Ok(Inner {
        kind: Kind::Sentinel { sentinels, master },
        access,
        sentinels: OnceLock::new(),
        sentinel_access,
        db: db(db_text)?,
    })
}

fn address(text: &str, default_port: u16) -> Result<Address, UrlError> {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let Some((host, port)) = rest.split_once(']') else {
                return wrong(format!("{text:?}: the bracket of the IPv6 address is not closed"));
            };
            (host, port.strip_prefix(':'))
        }
        None => text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port))),
    };
    if host.is_empty() {
        return wrong("a host is missing");
    }
    if host.contains([' ', '\\', '"', '<', '>']) {
        return wrong(format!("{host:?} can't be a host"));
    }
    let port = match port {
        None | Some("") => default_port,
        Some(port) => match port.parse() {
            Ok(port) if port != 0 => port,
            // An unencoded password could stand here.
            _ => return wrong(format!("the port of {host:?} must be a number from 1 to 65535")),
        },
    };
    Ok(Address::tcp(host, port))
}

fn db(text: &str) -> Result<i64, UrlError> {
    match text.trim_end_matches('/') {
        "" => Ok(0),
        text => match text.parse() {
            Ok(db) if db >= 0 => Ok(db),
            _ => wrong(format!("{text:?} can't be a database: it must be a number, 0 or more")),
        },
    }
}

fn decoded(what: &str, text: &str) -> Result<Option<String>, UrlError> {
    if text.is_empty() {
        return Ok(None);
    }
    match percent_decode_str(text).decode_utf8() {
        Ok(text) => Ok(Some(text.into_owned())),
        Err(_) => wrong(format!("the {what} is not UTF-8 after percent-decoding")),
    }
}

const TLS_OPTIONS: [&str; 3] = ["ca", "cert", "key"];

/// What follows `?`, decoded.
#[derive(PartialEq, Eq)]
struct Options(BTreeMap<String, String>);

impl Options {
    fn parse(text: &str) -> Result<Self, UrlError> {
        let mut options = BTreeMap::new();
        for option in text.split('&').filter(|option| !option.is_empty()) {
            let Some((name, value)) = option.split_once('=') else {
                return wrong("an option after ? has no value: write name=value");
            };
            let value = decoded("value of an option", value)?.unwrap_or_default();
            options.insert(name.to_owned(), value);
        }
        Ok(Self(options))
    }

    fn only(&self, known: &[&str]) -> Result<(), UrlError> {
        match self.0.keys().find(|name| !known.contains(&name.as_str())) {
            Some(name) => wrong(format!("unknown option {name:?}: known here are {}", known.join(", "))),
            None => Ok(()),
        }
    }

    fn tls(&self, wanted: bool) -> Result<Option<std::sync::Arc<tokio_rustls::rustls::ClientConfig>>, UrlError> {
        let file = |name: &str| self.0.get(name).map(PathBuf::from);
        let files = tls::Files { ca: file("ca"), cert: file("cert"), key: file("key") };
        if wanted {
            return tls::config(&files).map(Some).map_err(UrlError);
        }
        match TLS_OPTIONS.iter().find(|name| self.0.contains_key(**name)) {
            Some(name) => wrong(format!("the option {name:?} is for TLS: write rediss in place of redis")),
            None => Ok(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Topology;

    fn topology(url: &str) -> Topology {
        url.parse().unwrap_or_else(|error| panic!("{url}: {error}"))
    }

    fn at(host: &str, port: u16) -> Address {
        Address::tcp(host, port)
    }

    #[test]
    fn every_form_is_understood() {
        assert_eq!(topology("redis://localhost").kind(), &Kind::Single(at("localhost", 6379)));
        assert_eq!(topology("redis://[::1]:7000/3").kind(), &Kind::Single(at("::1", 7000)));
        assert_eq!(topology("redis://[::1]:7000/3").db(), 3);
        assert_eq!(
            topology("unix:///run/redis.sock?db=2").kind(),
            &Kind::Single(Address::Unix("/run/redis.sock".into()))
        );
        let cluster = Kind::Cluster { seeds: vec![at("a", 1), at("b", 2), at("c", 6379)] };
        assert_eq!(topology("redis://a:1,redis://b:2, redis://c").kind(), &cluster);
        assert_eq!(topology("redis+cluster://a:1,b:2,c").kind(), &cluster);
        let sentinel = Kind::Sentinel { sentinels: vec![at("s1", 26_379), at("s2", 5)], master: "my master".into() };
        let parsed = topology("redis+sentinel://u:p@s1,s2:5/my%20master/1?sentinel_password=x");
        assert_eq!(parsed.kind(), &sentinel);
        assert_eq!(parsed.db(), 1);
        assert_eq!(parsed.access().user.as_deref(), Some("u"));
        assert_eq!(parsed.sentinel_access().user, None);
        assert_eq!(parsed.sentinel_access().password.as_deref(), Some("x"));
    }

    #[test]
    fn user_and_password_may_hold_any_character() {
        let access = topology("redis://al%2Fice:p%40ss#,w@rd@host:1/0");
        assert_eq!(access.access().user.as_deref(), Some("al/ice"));
        assert_eq!(access.access().password.as_deref(), Some("p@ss#,w@rd"));
        let access = topology("redis://:secret@a:1,redis://:secret@b:1");
        assert_eq!(access.access().password.as_deref(), Some("secret"));
        assert_eq!(access.access().user, None);
    }

    #[test]
    fn what_is_printed_has_no_secret_and_can_be_read_back() {
        for (url, printed) in [
            ("redis://u:secret@h/2", "redis://h:6379/2"),
            ("redis://u:secret@a:1,redis://b:1", "redis+cluster://a:1,b:1"),
            ("redis+sentinel://u:secret@a:1,[::1]:2/m?sentinel_password=secret", "redis+sentinel://a:1,[::1]:2/m"),
            ("unix:///a/b?password=secret", "unix:///a/b"),
            ("unix:///a%3Fb%25", "unix:///a%3Fb%25"),
            ("redis+sentinel://a/m%2F1%2C", "redis+sentinel://a:26379/m%2F1%2C"),
        ] {
            assert_eq!(topology(url).to_string(), printed);
            assert!(!format!("{:?}", topology(url)).contains("secret"));
            assert_eq!(topology(printed).kind(), topology(url).kind());
        }
    }

    #[test]
    fn a_mistake_is_named_without_repeating_a_secret() {
        for (url, part) in [
            ("", "must start with"),
            ("localhost:6379", "must start with"),
            ("http://localhost", "unknown scheme"),
            ("redis://", "host is missing"),
            ("redis://secret:6379x", "port of"),
            ("redis://h:0", "port of"),
            ("redis://h:70000", "port of"),
            ("redis://h/x", "database"),
            ("redis://h/-1", "database"),
            ("redis://[::1", "not closed"),
            ("redis://a:1,b:2", "with a scheme each"),
            ("redis://a:1,rediss://b:2", "all be"),
            ("redis://a:1/1,redis://b:2", "database 0"),
            ("redis://u:p1@a:1,redis://u:p2@b:1", "share"),
            ("redis://user@h", "no password"),
            ("redis://:p1@h#insecure", "#"),
            ("redis://h?timeout=1", "unknown option \"timeout\""),
            ("redis://h?ca=/x", "rediss"),
            ("redis+sentinel://a:1", "name of the master"),
            ("redis+sentinel://a:1,redis://b", "several comma-separated"),
            ("unix://relative", "absolute"),
            ("rediss://h?ca=/nowhere/ca.pem", "/nowhere/ca.pem"),
            ("redis://%ff:x@h", "UTF-8"),
        ] {
            let error = url.parse::<Topology>().expect_err(url).to_string();
            assert!(error.contains(part), "{url}: {error}");
            assert!(!error.contains("p1"), "{error}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_a_topology_or_an_error(text in "(rediss?(\\+(sentinel|cluster))?|unix)://[a-z0-9@:/,?&=%\\[\\]#.é]{0,60}|.{0,40}") {
            if let Ok(topology) = text.parse::<Topology>() {
                proptest::prop_assert_eq!(topology.to_string().parse::<Topology>().unwrap().to_string(), topology.to_string());
            }
        }
    }
}
