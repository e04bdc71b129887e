//! The `Host` of a request (RFC 9112, 3.2): it is valid, and it names this service.
//!
//! On a loopback address, only programs of this machine can connect. A web page gets around this by DNS rebinding: the
//! name of its own site resolves to 127.0.0.1, so the browser regards the API as part of that site. Such a request has
//! the name of the site in `Host`.

use super::problem::{MAX_QUOTED, Problem, ProblemKind};
use axum::{
    extract::Request,
    http::{HeaderMap, Version, header},
};
use std::net::{IpAddr, Ipv6Addr};

/// The host names that requests may have.
#[derive(Clone, Debug, Default)]
pub(crate) struct HostRule {
    /// Names in lower case, besides IP addresses and `localhost`; `None`: any name.
    names: Option<Vec<String>>,
}

impl HostRule {
    /// The rule for a listening address. `names` is `api.allowed_hosts`; if it is empty, a loopback address allows no
    /// names, and any other address allows all.
    pub(crate) fn new(names: &[String], loopback: bool) -> Self {
        Self { names: (loopback || !names.is_empty()).then(|| names.to_vec()) }
    }

    /// Checks the host of a request.
    ///
    /// # Errors
    /// When HTTP/1.1 requires a `Host` and there is none, there are several, it is malformed, or it is not allowed.
    pub(crate) fn check<B>(&self, request: &Request<B>) -> Result<(), Problem> {
        let in_header = host_header(request.version(), request.headers())?;
        // A target in absolute form replaces the header (RFC 9112, 3.2.2).
        let host = request.uri().host().or(in_header).unwrap_or_default();
        let Some(names) = &self.names else { return Ok(()) };
        let name = host.strip_suffix('.').unwrap_or(host);
        let allowed = |allowed: &str| allowed.eq_ignore_ascii_case(name);
        if host.is_empty() || is_address(host) || allowed("localhost") || names.iter().any(|n| allowed(n)) {
            return Ok(());
        }
        let quoted = host.get(..MAX_QUOTED).unwrap_or(host);
        let detail = format!(
            "the Host {quoted:?} is not a name of this service; use an IP address or localhost, or add the name to api.allowed_hosts"
        );
        Err(Problem::new(ProblemKind::HostNotAllowed, detail))
    }
}

/// The host of the only `Host` header; `None` if HTTP/1.0 omits it.
fn host_header(version: Version, headers: &HeaderMap) -> Result<Option<&str>, Problem> {
    let invalid = |found: &str| {
        let detail = format!("expected one Host header with a host and an optional port; found {found}");
        Err(Problem::new(ProblemKind::BadRequest, detail))
    };
    let mut values = headers.get_all(header::HOST).iter();
    match (values.next(), values.next()) {
        (None, _) if version < Version::HTTP_11 => Ok(None),
        (None, _) => invalid("none"),
        (Some(_), Some(_)) => invalid("several"),
        (Some(value), None) => match value.to_str().ok().and_then(host_of) {
            Some(host) => Ok(Some(host)),
            None => invalid("another text"),
        },
    }
}

/// The host of `HOST[:PORT]` (RFC 3986, 3.2), with the brackets of an IPv6 address. An empty value is valid.
fn host_of(authority: &str) -> Option<&str> {
    let end = match authority.strip_prefix('[') {
        Some(rest) => rest.find(']')? + 2,
        None => authority.find(':').unwrap_or(authority.len()),
    };
    let (host, port) = authority.split_at_checked(end)?;
    let port = if port.is_empty() { port } else { port.strip_prefix(':')? };
    let in_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~%!$&'()*+,;=".contains(&byte);
    let valid = host.starts_with('[') && is_address(host) || host.bytes().all(in_name);
    (valid && port.bytes().all(|byte| byte.is_ascii_digit())).then_some(host)
}

fn is_address(host: &str) -> bool {
    match host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(v6) => v6.parse::<Ipv6Addr>().is_ok(),
        None => host.parse::<IpAddr>().is_ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The status of the problem of a request with these `Host` headers; 0 without a problem.
    fn check(rule: &HostRule, version: Version, target: &str, hosts: &[&[u8]]) -> u16 {
        let mut request = Request::builder().version(version).uri(target);
        for host in hosts {
            request = request.header("host", *host);
        }
        rule.check(&request.body(()).unwrap()).map_or_else(|problem| problem.kind().status().as_u16(), |()| 0)
    }

    #[test]
    fn http_1_1_needs_exactly_one_valid_host() {
        let any = HostRule::default();
        let check = |version, hosts: &[&[u8]]| check(&any, version, "/", hosts);
        for valid in ["x", "", "x:80", "x:", "a-b_c.example.", "127.0.0.1:8080", "[::1]", "[fe80::1]:80"] {
            assert_eq!(check(Version::HTTP_11, &[valid.as_bytes()]), 0, "{valid}");
        }
        for invalid in
            [&b"x y"[..], b"a@b", b"x/", b"x:y", b"[::1", b"[x]", b"[::1]80", b"x\xe9", b"http://x", b"::1"]
        {
            for version in [Version::HTTP_10, Version::HTTP_11] {
                assert_eq!(check(version, &[invalid]), 400, "{invalid:?}");
            }
        }
        assert_eq!(check(Version::HTTP_11, &[]), 400);
        assert_eq!(check(Version::HTTP_11, &[b"x", b"x"]), 400);
        assert_eq!(check(Version::HTTP_10, &[]), 0, "some health checkers send no Host");
        assert_eq!(check(Version::HTTP_10, &[b"x", b"x"]), 400);
    }

    #[test]
    fn a_loopback_address_allows_addresses_localhost_and_the_configured_names_only() {
        let rule = HostRule::new(&["app.example".to_owned()], true);
        let check = |target, host: &str| check(&rule, Version::HTTP_11, target, &[host.as_bytes()]);
        for allowed in [
            "127.0.0.1:8080",
            "[::1]:8080",
            "192.0.2.1",
            "LocalHost:1",
            "localhost.",
            "App.Example",
            "app.example.:443",
            "",
        ] {
            assert_eq!(check("/", allowed), 0, "{allowed}");
        }
        for foreign in
            ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "xapp.example", "0x7f.1"]
        {
            assert_eq!(check("/", foreign), 421, "{foreign}");
        }
        assert_eq!(check("http://evil.example/", "localhost"), 421, "an absolute target replaces the header");
        assert_eq!(check("http://localhost/", "evil.example"), 0);
    }

    #[test]
    fn another_address_allows_any_name_unless_names_are_configured() {
        let host: &[&[u8]] = &[b"server.lan"];
        let check = |names: &[String]| check(&HostRule::new(names, false), Version::HTTP_11, "/", host);
        assert_eq!(check(&[]), 0);
        assert_eq!(check(&["app.example".to_owned()]), 421);
        assert_eq!(check(&["server.lan".to_owned()]), 0);
    }
}
