//! The operator's side of the control socket.

use super::{
    explain::explain,
    protocol::{Ask, Command, Ended, MAX_REPLY, PROTOCOL, Reply},
};
use interprocess::local_socket::{GenericFilePath, Stream, prelude::*};
use serde::Deserialize;
use std::{
    fmt,
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
    path::{Path, PathBuf},
    time::Duration,
};

/// How long to wait for a reply that the supervisor gives at once.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long to wait for one that it gives when something is done: a little longer than the daemon does.
const LONG_PATIENCE: Duration = Duration::from_secs(630);

/// Why there is no reply.
#[derive(Debug)]
pub enum ClientError {
    /// Nobody listens at any of these places, or none that lets us in.
    Unreachable(Vec<(PathBuf, io::Error)>),
    /// Somebody does, but does not speak as a supervisor does.
    Broken(PathBuf, String),
}

impl fmt::Display for ClientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable(tried) => {
                let denied = tried.iter().any(|(_, error)| error.kind() == io::ErrorKind::PermissionDenied);
                f.write_str(match denied {
                    true => "a supervisor may be there, but you may not command it. Tried:",
                    false => "no supervisor can be reached; is `bulkhead run` running? Tried:",
                })?;
                for (path, error) in tried {
                    write!(f, "\n  {}: {}", path.display(), explain(path, error))?;
                }
                f.write_str("\nName its socket by --socket or BULKHEAD_SOCKET.")
            }
            Self::Broken(path, why) => write!(f, "{}: {why}", path.display()),
        }
    }
}

impl std::error::Error for ClientError {}

/// A connection to a supervisor.
#[derive(Debug)]
pub struct Connection {
    path: PathBuf,
    stream: BufReader<Stream>,
    /// How long to wait for a reply that comes at once, and for one that does not.
    patience: (Duration, Duration),
}

impl Connection {
    /// Connects to the first supervisor that listens at one of these places.
    ///
    /// # Errors
    /// When there is none.
    pub fn open(places: &[PathBuf]) -> Result<Self, ClientError> {
        let mut tried = Vec::new();
        for path in places {
            match connect(path) {
                Ok(stream) => {
                    let stream = BufReader::new(stream);
                    return Ok(Self { path: path.clone(), stream, patience: (PATIENCE, LONG_PATIENCE) });
                }
                Err(error) => tried.push((path.clone(), error)),
            }
        }
        Err(ClientError::Unreachable(tried))
    }

    /// Sends a command and waits for its reply.
    ///
    /// # Errors
    /// When there is none, or it is not understood.
    pub fn ask(&mut self, command: Command) -> Result<Reply, ClientError> {
        self.converse(command).map_err(|why| ClientError::Broken(self.path.clone(), why))
    }

    fn converse(&mut self, command: Command) -> Result<Reply, String> {
        let (short, long) = self.patience;
        if !command.takes_time() {
            return self.exchange(command, short);
        }
        // One that is alive says so at once; only then is it worth to wait.
        let alive = self.exchange(Command::Status, short)?;
        if alive.outcome == Ended::Done { self.exchange(command, long) } else { Ok(alive) }
    }

    /// The next of the lines that follow a reply, however long it takes; none at their end.
    ///
    /// # Errors
    /// When the connection breaks.
    pub fn line(&mut self) -> Result<Option<String>, ClientError> {
        self.stream
            .get_ref()
            .set_recv_timeout(None)
            .and_then(|()| self.receive())
            .map_err(|error| ClientError::Broken(self.path.clone(), format!("cannot be read: {error}")))
    }

    fn exchange(&mut self, command: Command, patience: Duration) -> Result<Reply, String> {
        self.stream.get_ref().set_recv_timeout(Some(patience)).map_err(|error| error.to_string())?;
        let ask = Ask { protocol: PROTOCOL, command };
        let mut line = serde_json::to_vec(&ask).map_err(|error| error.to_string())?;
        line.push(b'\n');
        // A supervisor that refuses this client may close before it reads; its reply says why.
        let sent = self.stream.get_mut().write_all(&line);
        match self.receive() {
            Ok(Some(reply)) => understand(&reply),
            Ok(None) => {
                sent.map_err(|error| format!("the supervisor cannot be written to: {error}"))?;
                Err("the supervisor left without an answer".into())
            }
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                Err(format!(
                    "a supervisor listens, but has not answered within {} s; is it suspended, or its machine \
                     overloaded? See its log",
                    patience.as_secs()
                ))
            }
            Err(error) => Err(format!("the supervisor does not answer: {error}")),
        }
    }

    fn receive(&mut self) -> io::Result<Option<String>> {
        let mut line = String::new();
        let length = (&mut self.stream).take(MAX_REPLY).read_line(&mut line)?;
        Ok((length > 0).then_some(line))
    }
}

fn connect(path: &Path) -> io::Result<Stream> {
    Stream::connect(path.to_fs_name::<GenericFilePath>()?)
}

/// Reads a reply. Its version comes first: of another one, nothing else need be understood.
fn understand(reply: &str) -> Result<Reply, String> {
    #[derive(Deserialize)]
    struct Version {
        protocol: u32,
    }
    let foreign = |error| format!("what listens there does not answer as a supervisor does: {error}");
    let Version { protocol } = serde_json::from_str(reply).map_err(foreign)?;
    if protocol != PROTOCOL {
        return Err(format!(
            "the supervisor speaks protocol {protocol}, and this program (bulkhead {}) {PROTOCOL}: use the bulkhead \
             with which the supervisor was started",
            env!("CARGO_PKG_VERSION")
        ));
    }
    serde_json::from_str(reply).map_err(foreign)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;

    /// What a client makes of somebody who listens, and then does this.
    fn told(listener: impl FnOnce(UnixListener) + Send + 'static) -> String {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s");
        let listening = UnixListener::bind(&path).unwrap();
        let peer = std::thread::spawn(move || listener(listening));
        let mut connection = Connection::open(&[path]).unwrap();
        connection.patience = (Duration::from_millis(50), Duration::from_secs(60));
        let error = connection.ask(Command::Status).unwrap_err().to_string();
        drop(connection);
        peer.join().unwrap();
        error.split_once("/s: ").unwrap().1.to_owned()
    }

    /// Says this to the first who comes.
    fn says(text: &'static str) -> impl FnOnce(UnixListener) {
        move |listener| {
            let (mut stream, _) = listener.accept().unwrap();
            stream.write_all(text.as_bytes()).unwrap();
            // Until it has left.
            let _ = stream.read_to_end(&mut Vec::new());
        }
    }

    #[test]
    fn a_supervisor_that_does_not_answer_is_not_waited_for_for_ever() {
        let error = told(|listener| {
            let _ = listener.accept().unwrap().0.read_to_end(&mut Vec::new());
        });
        assert!(error.starts_with("a supervisor listens, but has not answered within"), "{error}");
    }

    #[test]
    fn a_supervisor_of_another_version_is_named_with_its_version() {
        let error = told(says("{\"protocol\":7,\"more\":true}\n"));
        assert!(error.starts_with("the supervisor speaks protocol 7, and this program"), "{error}");
    }

    #[test]
    fn another_program_at_the_socket_is_told_from_a_supervisor() {
        let error = told(says("220 mail.example.org ESMTP\n"));
        assert!(error.starts_with("what listens there does not answer as a supervisor does"), "{error}");
    }
}
