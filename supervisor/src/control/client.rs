//! The client side of the control socket.

use super::{
    connect_error::describe_connect_error,
    protocol::{CommandOutcome, ControlCommand, MAX_REPLY, PROTOCOL, ParseError, Reply, Request, parse},
};
use crate::socket_address::SocketAddress;
use interprocess::local_socket::{GenericFilePath, Stream, prelude::*};
use std::{
    fmt,
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
    os::fd::{AsFd, BorrowedFd},
    path::{Path, PathBuf},
    time::Duration,
};

/// How long to wait for a reply that the supervisor sends at once.
const REPLY_TIMEOUT: Duration = Duration::from_secs(10);

/// How long to wait for a reply that the supervisor sends when a command is complete; a little longer than the limit of
/// the server (`MAX_COMMAND_TIME`).
const COMPLETION_TIMEOUT: Duration = Duration::from_secs(630);

/// Why there is no reply.
#[derive(Debug)]
pub enum ClientError {
    /// No connection to any of these sockets.
    Unreachable(Vec<(PathBuf, io::Error)>),
    /// A connection was made, but the exchange failed.
    Failed(PathBuf, String),
}

impl fmt::Display for ClientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable(tried) => {
                let denied = tried.iter().any(|(_, error)| error.kind() == io::ErrorKind::PermissionDenied);
                f.write_str(match denied {
                    true => "permission denied: this user may not send commands to the supervisor. Tried:",
                    false => "cannot reach a supervisor; is `bulkhead run` running? Tried:",
                })?;
                for (path, error) in tried {
                    write!(f, "\n  {}: {}", path.display(), describe_connect_error(path, error))?;
                }
                f.write_str("\nUse --socket or BULKHEAD_SOCKET to name another socket.")
            }
            Self::Failed(path, why) => write!(f, "{}: {why}", path.display()),
        }
    }
}

impl std::error::Error for ClientError {}

/// A connection to a supervisor.
#[derive(Debug)]
pub struct Connection {
    path: PathBuf,
    stream: BufReader<Stream>,
    /// [`REPLY_TIMEOUT`] and [`COMPLETION_TIMEOUT`]; shorter in tests.
    timeouts: (Duration, Duration),
}

impl Connection {
    /// Connects to the first of these sockets that accepts a connection.
    ///
    /// # Errors
    /// No socket accepts one.
    pub fn open(paths: &[PathBuf]) -> Result<Self, ClientError> {
        let mut tried = Vec::new();
        for path in paths {
            match connect(path) {
                Ok(stream) => {
                    let timeouts = (REPLY_TIMEOUT, COMPLETION_TIMEOUT);
                    return Ok(Self { path: path.clone(), stream: BufReader::new(stream), timeouts });
                }
                Err(error) => tried.push((path.clone(), error)),
            }
        }
        Err(ClientError::Unreachable(tried))
    }

    /// Sends a command and waits for its reply.
    ///
    /// # Errors
    /// The exchange fails or times out, or the reply is invalid.
    pub fn request(&mut self, command: ControlCommand) -> Result<Reply, ClientError> {
        self.request_with_timeout(command).map_err(|why| ClientError::Failed(self.path.clone(), why))
    }

    fn request_with_timeout(&mut self, command: ControlCommand) -> Result<Reply, String> {
        let (short, long) = self.timeouts;
        if !command.waits_for_completion() {
            return self.exchange(command, short);
        }
        // Ask for the status first: the long timeout is used only for a supervisor that answers.
        let status = self.exchange(ControlCommand::Status, short)?;
        if status.outcome == CommandOutcome::Done { self.exchange(command, long) } else { Ok(status) }
    }

    /// Whether [`Self::next_line`] would wait for the supervisor.
    #[must_use]
    pub fn would_wait(&self) -> bool {
        self.stream.buffer().is_empty()
    }

    /// The next line after a reply, without a timeout; `None` at the end.
    ///
    /// # Errors
    /// The connection fails.
    pub fn next_line(&mut self) -> Result<Option<String>, ClientError> {
        self.stream
            .get_ref()
            .set_recv_timeout(None)
            .and_then(|()| self.receive())
            .map_err(|error| ClientError::Failed(self.path.clone(), format!("cannot read the log: {error}")))
    }

    fn exchange(&mut self, command: ControlCommand, timeout: Duration) -> Result<Reply, String> {
        self.stream.get_ref().set_recv_timeout(Some(timeout)).map_err(|error| error.to_string())?;
        let request = Request { protocol: PROTOCOL, command };
        let mut line = serde_json::to_vec(&request).map_err(|error| error.to_string())?;
        line.push(b'\n');
        // A supervisor that refuses this client may close the connection before it reads. Its reply has the reason.
        let sent = self.stream.get_mut().write_all(&line);
        match self.receive() {
            Ok(Some(reply)) => parse_reply(&reply),
            Ok(None) => {
                sent.map_err(|error| format!("cannot send the command: {error}"))?;
                Err("the supervisor closed the connection without a reply".into())
            }
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                Err(format!(
                    "no reply within {} s; the supervisor may be suspended or the machine overloaded; see the log of \
                     the supervisor",
                    timeout.as_secs()
                ))
            }
            Err(error) => Err(format!("cannot read the reply: {error}")),
        }
    }

    fn receive(&mut self) -> io::Result<Option<String>> {
        let mut line = String::new();
        let length = (&mut self.stream).take(MAX_REPLY).read_line(&mut line)?;
        Ok((length > 0).then_some(line))
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        let Stream::UdSocket(stream) = self.stream.get_ref();
        stream.as_fd()
    }
}

fn connect(path: &Path) -> io::Result<Stream> {
    Stream::connect(SocketAddress::new(path)?.as_ref().to_fs_name::<GenericFilePath>()?)
}

fn parse_reply(line: &str) -> Result<Reply, String> {
    parse(line.as_bytes()).map_err(|error| match error {
        ParseError::Malformed(error) => format!("the program on this socket is not a supervisor: {error}"),
        ParseError::Version(version) => format!(
            "the supervisor uses protocol {version}, this program (bulkhead {}) uses {PROTOCOL}; run the bulkhead program \
             that started the supervisor",
            env!("CARGO_PKG_VERSION")
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;

    /// The error of a client that connects to this listener.
    fn error_against(listener: impl FnOnce(UnixListener) + Send + 'static) -> String {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let listening = UnixListener::bind(&path).unwrap();
        let peer = std::thread::spawn(move || listener(listening));
        let mut connection = Connection::open(&[path]).unwrap();
        connection.timeouts = (Duration::from_millis(50), Duration::from_secs(60));
        let error = connection.request(ControlCommand::Status).unwrap_err().to_string();
        drop(connection);
        peer.join().unwrap();
        error.split_once("/s: ").unwrap().1.to_owned()
    }

    /// Sends this text to the first client.
    fn sends(text: &'static str) -> impl FnOnce(UnixListener) {
        move |listener| {
            let (mut stream, _) = listener.accept().unwrap();
            stream.write_all(text.as_bytes()).unwrap();
            // Wait for the client to close.
            let _ = stream.read_to_end(&mut Vec::new());
        }
    }

    #[test]
    fn a_supervisor_that_does_not_reply_times_out() {
        let error = error_against(|listener| {
            let _ = listener.accept().unwrap().0.read_to_end(&mut Vec::new());
        });
        assert!(error.starts_with("no reply within"), "{error}");
    }

    #[test]
    fn another_protocol_version_is_reported_with_both_versions() {
        let error = error_against(sends("{\"protocol\":7,\"more\":true}\n"));
        assert!(error.starts_with("the supervisor uses protocol 7, this program"), "{error}");
    }

    #[test]
    fn another_program_on_the_socket_is_recognised() {
        let error = error_against(sends("220 mail.example.org ESMTP\n"));
        assert!(error.starts_with("the program on this socket is not a supervisor"), "{error}");
    }
}
