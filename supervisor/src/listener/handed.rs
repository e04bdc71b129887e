//! A socket that systemd hands over: it goes on to listen while the service is stopped, so that connections wait.

use super::Listener;
use crate::config::{Config, ListenAddr};
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

/// The names of ours: what the packaged unit calls it (`FileDescriptorName=`), and what systemd calls it by itself.
const NAMES: &[&str] = &["api", "bulkhead.socket"];

/// What a socket is called that has no name.
const NAMELESS: &[&str] = &["", "unknown"];

/// The API's socket among those that were handed over, if it is there; it wins over `api.listen`.
///
/// # Errors
/// When it is not one that the API can serve, or may serve.
pub fn choose(plan: &Config, handed: Vec<(String, OwnedFd)>) -> anyhow::Result<Option<Listener>> {
    let Some(fd) = ours(handed)? else { return Ok(None) };
    let address = address(&fd).context("the socket that systemd handed over")?;
    ensure!(
        address.is_local() || plan.insecure || plan.token_file.is_some(),
        "the socket that systemd handed over listens at {address}: it can be reached from other machines, and anybody there \
         may then change things; set api.token_file (or api.insecure = true), or ListenStream=127.0.0.1:8080 in the socket unit"
    );
    Ok(Some(Listener { fd, address, keep: true }))
}

fn ours(handed: Vec<(String, OwnedFd)>) -> anyhow::Result<Option<OwnedFd>> {
    // A single one needs no name.
    let alone = handed.len() == 1;
    let is_ours = |name: &str| NAMES.contains(&name) || alone && NAMELESS.contains(&name);
    let (mut ours, others): (Vec<_>, Vec<_>) = handed.into_iter().partition(|(name, _)| is_ours(name));
    for (name, _) in others {
        tracing::warn!(
            "systemd handed over a socket named {name:?}, which nobody here serves; the API's is named {:?}",
            NAMES[0]
        );
    }
    ensure!(
        ours.len() <= 1,
        "systemd handed over {} sockets for the API, which serves one: keep one ListenStream= in the socket unit",
        ours.len()
    );
    Ok(ours.pop().map(|(_, fd)| fd))
}

/// Where it listens.
fn address(fd: &OwnedFd) -> anyhow::Result<ListenAddr> {
    let kind = socket_type(fd).context("wanted a socket")?;
    ensure!(kind == SocketType::STREAM, "wanted a stream socket: use ListenStream= in the socket unit");
    ensure!(socket_acceptconn(fd)?, "wanted a listening socket: use Accept=no in the socket unit");
    let name = getsockname(fd)?;
    match socket_domain(fd)? {
        AddressFamily::INET | AddressFamily::INET6 => Ok(ListenAddr::Tcp(SocketAddr::try_from(name)?)),
        AddressFamily::UNIX => match SocketAddrUnix::try_from(name)?.path() {
            Some(path) => Ok(ListenAddr::Unix(OsStr::from_bytes(path.to_bytes()).into())),
            None => bail!("wanted a Unix socket with a path: use ListenStream=/run/… in the socket unit"),
        },
        _ => bail!("wanted a TCP or Unix socket"),
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

    fn plan(text: &str) -> Config {
        parse(text, Source::Defaults, &Overrides::default()).unwrap()
    }

    fn tcp(address: &str) -> OwnedFd {
        TcpListener::bind(address).unwrap().into()
    }

    fn refusal(name: &str, fd: OwnedFd) -> String {
        format!("{:#}", choose(&plan(""), vec![(name.to_owned(), fd)]).unwrap_err())
    }

    #[test]
    fn it_is_found_by_its_name_in_whatever_order() {
        let fd = tcp("127.0.0.1:0");
        let address = address(&fd).unwrap();
        let handed = vec![("other".to_owned(), tcp("127.0.0.1:0")), ("api".to_owned(), fd)];
        assert_eq!(choose(&plan(""), handed).unwrap().unwrap().address, address);
        assert!(choose(&plan(""), vec![("other".to_owned(), tcp("127.0.0.1:0"))]).unwrap().is_none());
        assert!(choose(&plan(""), vec![]).unwrap().is_none());
    }

    #[test]
    fn a_single_one_needs_no_name() {
        assert!(choose(&plan(""), vec![(String::new(), tcp("127.0.0.1:0"))]).unwrap().is_some());
    }

    #[test]
    fn of_two_for_the_api_none_is_guessed() {
        let two = ["api", "bulkhead.socket"].map(|name| (name.to_owned(), tcp("127.0.0.1:0")));
        let error = choose(&plan(""), two.into()).unwrap_err().to_string();
        assert!(error.contains("2 sockets"), "{error}");
    }

    #[test]
    fn one_that_other_machines_reach_is_refused_as_the_configuration_says() {
        let error = refusal("api", tcp("0.0.0.0:0"));
        assert!(error.contains("0.0.0.0") && error.contains("api.token_file"), "{error}");
        let handed = vec![("api".to_owned(), tcp("0.0.0.0:0"))];
        assert!(choose(&plan("api.insecure = true"), handed).unwrap().is_some());
    }

    #[test]
    fn what_cannot_be_served_is_refused_with_the_mending() {
        let datagrams = UdpSocket::bind("127.0.0.1:0").unwrap();
        assert!(refusal("api", datagrams.into()).contains("ListenStream="));
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let connected = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        assert!(refusal("api", connected.into()).contains("Accept=no"));
        let file = std::fs::File::open("/dev/null").unwrap();
        assert!(refusal("api", file.into()).contains("wanted a socket"));
    }

    #[test]
    fn the_file_of_a_unix_socket_is_systemds() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s");
        let fd = UnixListener::bind(&path).unwrap().into();
        let listener = choose(&plan(""), vec![("api".to_owned(), fd)]).unwrap().unwrap();
        assert_eq!(listener.address, ListenAddr::Unix(path.clone()));
        drop(listener);
        assert!(path.exists());
    }
}
