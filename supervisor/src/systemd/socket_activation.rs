//! Socket activation: a listening socket inherited from systemd. It keeps listening while the service is stopped, so
//! that connections wait. See sd_listen_fds(3).

use crate::{
    config::{Config, ListenAddr},
    listener::Listener,
};
use anyhow::{Context as _, bail, ensure};
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketType, getsockname,
    sockopt::{socket_acceptconn, socket_domain, socket_type},
};
use std::{
    ffi::OsStr,
    net::SocketAddr,
    os::{fd::OwnedFd, unix::ffi::OsStrExt as _},
};

/// Names of the API's socket: the name in the packaged unit (`FileDescriptorName=`), and systemd's default.
const API_NAMES: &[&str] = &["api", "bulkhead.socket"];

/// Names of a socket without a name.
const UNNAMED: &[&str] = &["", "unknown"];

/// The API's socket among the inherited sockets, if there is one. It takes precedence over `api.listen`. `inherited`:
/// names and sockets.
///
/// # Errors
/// There are several sockets for the API, the socket is not a listening TCP or Unix stream socket, or the configuration does not
/// allow its address.
pub fn inherited_listener(
    config: &Config,
    inherited: Vec<(String, OwnedFd)>,
) -> anyhow::Result<Option<Listener>> {
    let Some(fd) = api_socket(inherited)? else { return Ok(None) };
    let address = address(&fd).context("the socket from systemd")?;
    ensure!(
        address.is_local() || config.insecure || config.token_file.is_some(),
        "the socket from systemd listens on {address}, which other machines can reach without a token: set api.token_file \
         (or api.insecure = true), or ListenStream=127.0.0.1:8080 in the socket unit"
    );
    if address != config.listen {
        tracing::info!(
            "the API listens on {address}, the socket from systemd; api.listen ({}) is not used",
            config.listen
        );
    }
    Ok(Some(Listener::inherited(fd, address)))
}

fn api_socket(inherited: Vec<(String, OwnedFd)>) -> anyhow::Result<Option<OwnedFd>> {
    // A single socket needs no name.
    let single = inherited.len() == 1;
    let is_api = |name: &str| API_NAMES.contains(&name) || single && UNNAMED.contains(&name);
    let (mut api, others): (Vec<_>, Vec<_>) = inherited.into_iter().partition(|(name, _)| is_api(name));
    for (name, _) in others {
        tracing::warn!(
            "ignored a socket named {name:?} from systemd; the socket for the API is named {:?}",
            API_NAMES[0]
        );
    }
    ensure!(
        api.len() <= 1,
        "systemd passed {} sockets for the API, which serves only one: keep one ListenStream= in the socket unit",
        api.len()
    );
    Ok(api.pop().map(|(_, fd)| fd))
}

/// The address on which the socket listens.
fn address(fd: &OwnedFd) -> anyhow::Result<ListenAddr> {
    let kind = socket_type(fd).context("expected a socket")?;
    ensure!(kind == SocketType::STREAM, "expected a stream socket: use ListenStream= in the socket unit");
    ensure!(socket_acceptconn(fd)?, "expected a listening socket: use Accept=no in the socket unit");
    let name = getsockname(fd)?;
    match socket_domain(fd)? {
        AddressFamily::INET | AddressFamily::INET6 => Ok(ListenAddr::Tcp(SocketAddr::try_from(name)?)),
        AddressFamily::UNIX => match SocketAddrUnix::try_from(name)?.path() {
            Some(path) => Ok(ListenAddr::Unix(OsStr::from_bytes(path.to_bytes()).into())),
            None => bail!("expected a Unix socket with a path: use ListenStream=/run/… in the socket unit"),
        },
        _ => bail!("expected a TCP or Unix socket"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Overrides, Source, parse};
    use std::{
        net::{TcpListener, UdpSocket},
        os::unix::net::UnixListener,
    };

    fn config(text: &str) -> Config {
        parse(text, Source::Defaults, &Overrides::default()).unwrap()
    }

    fn tcp(address: &str) -> OwnedFd {
        TcpListener::bind(address).unwrap().into()
    }

    fn refusal(name: &str, fd: OwnedFd) -> String {
        format!("{:#}", inherited_listener(&config(""), vec![(name.to_owned(), fd)]).unwrap_err())
    }

    #[test]
    fn the_socket_is_found_by_its_name_in_any_order() {
        let fd = tcp("127.0.0.1:0");
        let address = address(&fd).unwrap();
        let inherited = vec![("other".to_owned(), tcp("127.0.0.1:0")), ("api".to_owned(), fd)];
        assert_eq!(inherited_listener(&config(""), inherited).unwrap().unwrap().address, address);
        assert!(
            inherited_listener(&config(""), vec![("other".to_owned(), tcp("127.0.0.1:0"))])
                .unwrap()
                .is_none()
        );
        assert!(inherited_listener(&config(""), vec![]).unwrap().is_none());
    }

    #[test]
    fn a_single_socket_needs_no_name() {
        assert!(
            inherited_listener(&config(""), vec![(String::new(), tcp("127.0.0.1:0"))]).unwrap().is_some()
        );
    }

    #[test]
    fn two_sockets_for_the_api_are_an_error() {
        let two = ["api", "bulkhead.socket"].map(|name| (name.to_owned(), tcp("127.0.0.1:0")));
        let error = inherited_listener(&config(""), two.into()).unwrap_err().to_string();
        assert!(error.contains("2 sockets"), "{error}");
    }

    #[test]
    fn a_socket_that_other_machines_reach_is_refused_unless_the_configuration_allows_it() {
        let error = refusal("api", tcp("0.0.0.0:0"));
        assert!(error.contains("0.0.0.0") && error.contains("api.token_file"), "{error}");
        let inherited = vec![("api".to_owned(), tcp("0.0.0.0:0"))];
        assert!(inherited_listener(&config("api.insecure = true"), inherited).unwrap().is_some());
    }

    #[test]
    fn a_socket_that_the_api_cannot_serve_is_refused_with_the_correction() {
        let datagrams = UdpSocket::bind("127.0.0.1:0").unwrap();
        assert!(refusal("api", datagrams.into()).contains("ListenStream="));
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let connected = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        assert!(refusal("api", connected.into()).contains("Accept=no"));
        let file = std::fs::File::open("/dev/null").unwrap();
        assert!(refusal("api", file.into()).contains("expected a socket"));
    }

    #[test]
    fn the_file_of_an_inherited_unix_socket_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let fd = UnixListener::bind(&path).unwrap().into();
        let listener = inherited_listener(&config(""), vec![("api".to_owned(), fd)]).unwrap().unwrap();
        assert_eq!(listener.address, ListenAddr::Unix(path.clone()));
        drop(listener);
        assert!(path.exists());
    }
}
