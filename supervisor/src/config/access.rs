//! The host names and web origins that requests to the API may have.

use super::{problem::Issue, reader::Section};
use bulkhead_proto::worker::settings::Access;

/// Reads `allowed_hosts` and `cors_origins` of the section `[api]`.
pub(super) fn read_access(api: &mut Section<'_>) -> Access {
    Access {
        allowed_hosts: read_list(api, "allowed_hosts", parse_host),
        cors_origins: read_list(api, "cors_origins", parse_origin),
    }
}

fn read_list(
    api: &mut Section<'_>,
    key: &'static str,
    parse: impl Fn(&str) -> Result<String, Issue>,
) -> Vec<String> {
    let texts = api.string_list(key).unwrap_or_default();
    let parsed = texts.iter().enumerate().filter_map(|(index, text)| {
        parse(text).map_err(|issue| api.report(&format!("{key}[{index}]"), issue)).ok()
    });
    parsed.collect()
}

fn parse_host(text: &str) -> Result<String, Issue> {
    let (host, port) = text.rsplit_once(':').unwrap_or((text, ""));
    if is_name(text) {
        return Ok(text.to_ascii_lowercase());
    }
    let issue = Issue::new(format!("{text:?} is not a host name"), "expected a name such as \"app.example\"");
    let without_port = is_name(host) && !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    Err(issue.suggest(without_port.then(|| format!("{host:?}"))))
}

/// Browsers send origins in this form: lower case, no default port, no path (RFC 6454, 6.2).
fn parse_origin(text: &str) -> Result<String, Issue> {
    let expected = "expected an origin such as \"https://app.example\" or \"http://localhost:3000\"";
    let issue = Issue::new(format!("{text:?} is not an origin"), expected);
    if text == "*" {
        return Err(issue.with_help("list each origin; any web page of a listed origin can use the API"));
    }
    let lower = text.trim_end_matches('/').to_ascii_lowercase();
    let Some((scheme, rest)) = lower.split_once("://") else { return Err(issue) };
    let default_port = if scheme == "https" { ":443" } else { ":80" };
    let rest = rest.strip_suffix(default_port).unwrap_or(rest);
    let (host, port) = rest.rsplit_once(':').filter(|_| !rest.ends_with(']')).unwrap_or((rest, "1"));
    let v6 = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let valid_host = v6.map_or_else(|| is_name(host), |v6| v6.parse::<std::net::Ipv6Addr>().is_ok());
    if !["http", "https"].contains(&scheme) || !valid_host || port.parse::<u16>().is_err() {
        return Err(issue);
    }
    let origin = format!("{scheme}://{rest}");
    if origin == text { Ok(origin) } else { Err(issue.suggest(Some(format!("{origin:?}")))) }
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn help(parsed: Result<String, Issue>) -> String {
        parsed.unwrap_err().help.unwrap_or_default()
    }

    #[test]
    fn a_host_is_a_name_without_a_port() {
        assert_eq!(parse_host("App.example").unwrap(), "app.example");
        assert_eq!(help(parse_host("app.example:443")), "did you mean \"app.example\"?");
        for bad in ["", "*", "http://app.example", "app example", "app.example:", "a/b"] {
            assert_eq!(help(parse_host(bad)), "", "{bad}");
        }
    }

    #[test]
    fn an_origin_has_the_form_in_which_browsers_send_it() {
        for origin in [
            "https://app.example",
            "http://localhost:3000",
            "http://192.0.2.1",
            "http://[::1]:8080",
            "http://[::1]",
        ] {
            assert_eq!(parse_origin(origin).unwrap(), origin);
        }
        for other in ["https://app.example/", "https://App.example", "https://app.example:443"] {
            assert_eq!(help(parse_origin(other)), "did you mean \"https://app.example\"?", "{other}");
        }
        assert!(help(parse_origin("*")).starts_with("list each origin"));
        for bad in [
            "",
            "null",
            "app.example",
            "https://",
            "https://app.example/x",
            "ftp://app.example",
            "http://a:99999",
        ] {
            assert_eq!(help(parse_origin(bad)), "", "{bad}");
        }
    }
}
