//! The operator's side of the control socket.

use super::protocol::{Ask, Command, MAX_REPLY, PROTOCOL, Reply};
use interprocess::local_socket::{GenericFilePath, Stream, prelude::*};
use std::{
    fmt,
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
    path::{Path, PathBuf},
    time::Duration,
};

/// How long to wait for a reply: a little longer than the daemon does.
const PATIENCE: Duration = Duration::from_secs(630);

/// Why there is no reply.
#[derive(Debug)]
pub enum ClientError {
    /// Nobody listens at any of these places.
    Unreachable(Vec<(PathBuf, io::Error)>),
    /// Somebody does, but does not speak as a supervisor does.
    Broken(PathBuf, String),
}

impl fmt::Display for ClientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable(tried) => {
                f.write_str("no supervisor can be reached; is `bulkhead run` running? Tried:")?;
                for (path, error) in tried {
                    write!(f, "\n  {}: {error}", path.display())?;
                }
                f.write_str("\nName its socket by --socket or BULKHEAD_SOCKET.")
            }
            Self::Broken(path, why) => write!(f, "{}: {why}", path.display()),
        }
    }
}

impl std::error::Error for ClientError {}

/// Sends a command to the first supervisor that listens at one of these places, and waits for its reply.
///
/// # Errors
/// When there is none, or it does not answer.
pub fn call(places: &[PathBuf], command: Command) -> Result<Reply, ClientError> {
    let mut tried = Vec::new();
    for path in places {
        match connect(path) {
            Ok(stream) => {
                return converse(&stream, command).map_err(|why| ClientError::Broken(path.clone(), why));
            }
            Err(error) => tried.push((path.clone(), error)),
        }
    }
    Err(ClientError::Unreachable(tried))
}

fn connect(path: &Path) -> io::Result<Stream> {
    Stream::connect(path.to_fs_name::<GenericFilePath>()?)
}

fn converse(stream: &Stream, command: Command) -> Result<Reply, String> {
    let failed = |what: &str, error: &dyn fmt::Display| format!("the supervisor {what}: {error}");
    stream.set_recv_timeout(Some(PATIENCE)).map_err(|error| error.to_string())?;
    let mut line =
        serde_json::to_vec(&Ask { protocol: PROTOCOL, command }).map_err(|error| error.to_string())?;
    line.push(b'\n');
    // A supervisor that refuses this client may close before it reads; its reply says why.
    let sent = { stream }.write_all(&line);
    let mut reply = String::new();
    BufReader::new(stream.take(MAX_REPLY))
        .read_line(&mut reply)
        .map_err(|error| failed("does not answer", &error))?;
    if reply.is_empty() {
        sent.map_err(|error| failed("cannot be written to", &error))?;
        return Err("the supervisor left without an answer".into());
    }
    serde_json::from_str(&reply)
        .map_err(|error| failed("answers what this program does not understand", &error))
}
