//! Whom a request is for: a page of another site that made its own name point here must not read anything.

use crate::config::Config;
use hyper::Uri;
use hyper::header::{HOST, HeaderMap};
use std::net::{Ipv4Addr, Ipv6Addr};

/// Why a request is refused.
#[derive(Debug, PartialEq, Eq)]
pub enum Refusal {
    /// No host, two of them, or something that is none.
    Malformed,
    /// A host that is not served here.
    Foreign,
}

/// Checks `Host`, and the authority of an absolute request target.
pub fn check(config: &Config, uri: &Uri, headers: &HeaderMap) -> Result<(), Refusal> {
    let mut values = headers.get_all(HOST).iter();
    let (Some(value), None) = (values.next(), values.next()) else { return Err(Refusal::Malformed) };
    let value = value.to_str().map_err(|_| Refusal::Malformed)?;
    allowed(config, value)?;
    uri.authority().map_or(Ok(()), |authority| allowed(config, authority.as_str()))
}

fn allowed(config: &Config, authority: &str) -> Result<(), Refusal> {
    let host = without_port(authority).ok_or(Refusal::Malformed)?.to_ascii_lowercase();
    let host = host.strip_suffix('.').unwrap_or(&host);
    if config.hosts.contains(host) {
        return Ok(());
    }
    // a number needs no name server, so that nobody can make it point elsewhere
    if config.any_address && (host.parse::<Ipv4Addr>().is_ok() || host.parse::<Ipv6Addr>().is_ok()) {
        return Ok(());
    }
    Err(Refusal::Foreign)
}

/// Returns the host without the port, and an IPv6 address without its brackets.
fn without_port(authority: &str) -> Option<&str> {
    let (host, rest) = match authority.strip_prefix('[') {
        Some(inner) => inner.split_once(']')?,
        None => match authority.split_once(':') {
            Some((host, port)) => (host, &authority[authority.len() - port.len() - 1..]),
            None => (authority, ""),
        },
    };
    let port_is_good =
        rest.is_empty() || rest.strip_prefix(':').is_some_and(|port| port.bytes().all(|byte| byte.is_ascii_digit()));
    let host_is_good = !host.is_empty() && !host.bytes().any(|byte| matches!(byte, b'@' | b'/' | b' ' | b','));
    (port_is_good && host_is_good).then_some(host)
}

#[cfg(test)]
mod tests {
    use super::without_port;

    #[test]
    fn hosts_and_ports() {
        for (text, host) in [
            ("localhost", Some("localhost")),
            ("localhost:9000", Some("localhost")),
            ("localhost:", Some("localhost")),
            ("[::1]:80", Some("::1")),
            ("[::1]", Some("::1")),
            ("", None),
            (":80", None),
            ("::1", None),
            ("[::1", None),
            ("[::1]x", None),
            ("localhost:80x", None),
            ("evil@localhost", None),
            ("localhost,evil", None),
        ] {
            assert_eq!(without_port(text), host, "{text}");
        }
    }
}
