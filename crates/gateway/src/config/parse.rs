//! How the texts of settings are read: one function per kind of value, each saying what it expected.

use std::{net::SocketAddr, time::Duration};

use http::Uri;

use super::{Origins, Rate};

/// `host:port`, or a port alone for all addresses.
pub(super) fn address(text: &str) -> Result<SocketAddr, String> {
    if let Ok(port) = text.parse::<u16>() {
        return Ok(SocketAddr::from(([0, 0, 0, 0], port)));
    }
    let text = text.replace("localhost:", "127.0.0.1:");
    text.parse().map_err(|_| "expected an address such as 0.0.0.0:3000, or a port".to_owned())
}

/// `host:port`; the host may be a name.
pub(super) fn host_and_port(text: &str) -> Result<String, String> {
    let valid = text.rsplit_once(':').is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok());
    if valid { Ok(text.to_owned()) } else { Err("expected host:port, such as 10.0.0.7:9090".to_owned()) }
}

/// `250ms`, `5s`, `10m`, `2h`, `30d`; a number alone is in `unit`.
pub(super) fn duration(text: &str, unit: Unit) -> Result<Duration, String> {
    let expected = || "expected a duration such as 250ms, 5s, 10m, 2h or 30d".to_owned();
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, suffix) = text.split_at(digits);
    let number: u64 = number.parse().map_err(|_| expected())?;
    let unit = match suffix.trim() {
        "" => unit,
        "ms" => Unit::Milliseconds,
        "s" => Unit::Seconds,
        "m" => return number.checked_mul(60).map(Duration::from_secs).ok_or_else(expected),
        "h" => return number.checked_mul(3600).map(Duration::from_secs).ok_or_else(expected),
        "d" => return number.checked_mul(86_400).map(Duration::from_secs).ok_or_else(expected),
        _ => return Err(expected()),
    };
    Ok(match unit {
        Unit::Milliseconds => Duration::from_millis(number),
        Unit::Seconds => Duration::from_secs(number),
    })
}

/// What a number without a unit means.
#[derive(Clone, Copy)]
pub(super) enum Unit {
    Milliseconds,
    Seconds,
}

/// A duration that must not be zero.
pub(super) fn positive(text: &str, unit: Unit) -> Result<Duration, String> {
    match duration(text, unit)? {
        Duration::ZERO => Err("must be more than 0".to_owned()),
        duration => Ok(duration),
    }
}

pub(super) fn number(text: &str, smallest: u64) -> Result<u64, String> {
    let expected = || format!("expected a number of at least {smallest}");
    text.parse().map_err(|_| expected()).and_then(|n| if n >= smallest { Ok(n) } else { Err(expected()) })
}

pub(super) fn switch(text: &str) -> Result<bool, String> {
    match text {
        "on" | "true" | "1" | "yes" => Ok(true),
        "off" | "false" | "0" | "no" => Ok(false),
        _ => Err("expected on or off".to_owned()),
    }
}

pub(super) fn one_of<T: Copy>(text: &str, choices: &[(&str, T)]) -> Result<T, String> {
    choices.iter().find(|(name, _)| *name == text).map(|(_, choice)| *choice).ok_or_else(|| {
        let names: Vec<_> = choices.iter().map(|(name, _)| *name).collect();
        format!("expected one of {}", names.join(", "))
    })
}

pub(super) fn list(text: &str) -> Vec<&str> {
    text.split(',').map(str::trim).filter(|item| !item.is_empty()).collect()
}

/// `RATE/BURST`, or `None` for `off`.
pub(super) fn rate(text: &str) -> Result<Option<Rate>, String> {
    if text == "off" {
        return Ok(None);
    }
    let read = || {
        let (per_second, burst) = text.split_once('/')?;
        Some(Rate { per_second: per_second.parse().ok()?, burst: burst.parse().ok()? })
    };
    read().map(Some).ok_or_else(|| "expected RATE/BURST such as 200/4000, or off".to_owned())
}

/// `2%`, or `None` for `off`. At most a quarter.
pub(super) fn share(text: &str) -> Result<Option<f64>, String> {
    if text == "off" {
        return Ok(None);
    }
    let percent = text.strip_suffix('%').and_then(|number| number.trim().parse::<f64>().ok());
    match percent {
        Some(percent) if percent > 0.0 && percent <= 25.0 => Ok(Some(percent / 100.0)),
        _ => Err("expected a share of at most a quarter, such as 2%, or off".to_owned()),
    }
}

/// An `http://` or `https://` URL.
pub(super) fn url(text: &str) -> Result<Uri, String> {
    let uri: Uri = text.parse().map_err(|_| "expected an http:// or https:// URL".to_owned())?;
    match uri.scheme_str() {
        Some("http" | "https") if uri.host().is_some_and(|host| !host.is_empty()) => Ok(uri),
        _ => Err("expected an http:// or https:// URL".to_owned()),
    }
}

pub(super) fn origins(text: &str) -> Result<Origins, String> {
    let mut origins = Vec::new();
    for origin in list(text) {
        if origin == "*" {
            return Ok(Origins::Any);
        }
        let host = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
        match host {
            Some(host) if !host.is_empty() && !host.contains('/') => origins.push(origin.to_lowercase()),
            _ => return Err(format!("`{origin}`: expected an origin such as https://chat.example, without a path")),
        }
    }
    Ok(Origins::List(origins))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_units() {
        assert_eq!(duration("250ms", Unit::Seconds), Ok(Duration::from_millis(250)));
        assert_eq!(duration("8", Unit::Seconds), Ok(Duration::from_secs(8)));
        assert_eq!(duration("25000", Unit::Milliseconds), Ok(Duration::from_secs(25)));
        assert_eq!(duration("30d", Unit::Seconds), Ok(Duration::from_secs(30 * 86_400)));
        for text in ["", "s", "1.5s", "-1s", "5 weeks", "99999999999999999999s", "18446744073709551615d"] {
            assert!(duration(text, Unit::Seconds).is_err(), "{text}");
        }
    }

    #[test]
    fn a_port_alone_is_an_address() {
        assert_eq!(address("3000"), Ok("0.0.0.0:3000".parse().unwrap()));
        assert_eq!(address("localhost:0"), Ok("127.0.0.1:0".parse().unwrap()));
        assert!(address("example").is_err());
    }

    #[test]
    fn shares_are_per_cent() {
        assert_eq!(share("2%"), Ok(Some(0.02)));
        assert_eq!(share("off"), Ok(None));
        for text in ["", "2", "0%", "-1%", "26%", "NaN%", "%"] {
            assert!(share(text).is_err(), "{text}");
        }
    }

    #[test]
    fn rates_are_pairs() {
        let two = std::num::NonZeroU32::new(2).unwrap();
        assert_eq!(rate("2/2"), Ok(Some(Rate { per_second: two, burst: two })));
        assert_eq!(rate("off"), Ok(None));
        for text in ["200", "0/1", "a/b", "1/2/3"] {
            assert!(rate(text).is_err(), "{text}");
        }
    }
}
