//! The server side of the control socket.

use super::{
    log_readers::{LogReaders, LogStream},
    peer::authorize,
    protocol::{CommandOutcome, ControlCommand, MAX_REQUEST, Reply, parse_request},
};
use crate::{log::LogBuffer, socket_address::SocketAddress, socket_file::SocketFile};
use anyhow::Context as _;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::{
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _},
    path::Path,
    sync::Arc,
    time::Duration,
};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader, Interest},
    net::{UnixListener, UnixStream},
    sync::{Semaphore, mpsc, oneshot},
    task::AbortHandle,
    time::timeout,
};

/// The mode of the socket: owner and group may connect.
const SOCKET_MODE: u32 = 0o660;

/// The most clients at once; further ones wait to be accepted.
const MAX_CLIENTS: usize = 16;

/// How long a client may take to send a request, or to read the reply.
const CLIENT_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a command may take: longer than a stop with any sensible `stop_timeout`.
const MAX_COMMAND_TIME: Duration = Duration::from_secs(600);

/// A command for the event loop, and the channel for its reply.
#[derive(Debug)]
pub struct ClientRequest {
    /// The command.
    pub command: ControlCommand,
    /// If this is dropped without a reply, the client gets "the supervisor is stopping".
    pub reply: oneshot::Sender<Reply>,
}

/// The listening control socket. Its file is removed on drop.
#[derive(Debug)]
pub struct ControlSocket {
    file: SocketFile,
    requests: mpsc::Sender<ClientRequest>,
    readers: LogReaders,
    /// The task that accepts clients.
    accepting: AbortHandle,
}

impl ControlSocket {
    pub(crate) const fn file(&self) -> &SocketFile {
        &self.file
    }

    /// Creates the socket again at the same path. Connections to the old one continue.
    pub(crate) fn reopen(&mut self) -> anyhow::Result<()> {
        let (file, accepting) = open(self.file.path(), self.requests.clone(), self.readers.clone())?;
        std::mem::replace(&mut self.accepting, accepting).abort();
        self.file = file;
        Ok(())
    }

    /// Sends the last lines to clients that follow the log; waits at most 200 ms for them.
    pub async fn finish(&self) {
        self.readers.finish().await;
    }
}

/// What the connections share.
#[derive(Clone)]
struct ControlServer {
    /// The group of the socket.
    group: u32,
    requests: mpsc::Sender<ClientRequest>,
    readers: LogReaders,
}

/// Creates the control socket and starts to serve its clients.
///
/// # Errors
/// Another process listens on the socket, or the socket cannot be created.
pub fn serve(
    path: &Path,
    requests: mpsc::Sender<ClientRequest>,
    buffer: LogBuffer,
) -> anyhow::Result<ControlSocket> {
    let readers = LogReaders::new(buffer);
    let (file, accepting) = open(path, requests.clone(), readers.clone()).with_context(|| {
        format!("cannot listen on the control socket {}; use --socket to choose another", path.display())
    })?;
    Ok(ControlSocket { file, requests, readers, accepting })
}

/// Creates the socket and the task that accepts its clients.
fn open(
    path: &Path,
    requests: mpsc::Sender<ClientRequest>,
    readers: LogReaders,
) -> anyhow::Result<(SocketFile, AbortHandle)> {
    let listener = listen(path)?;
    let file = SocketFile::created(path)?;
    let group = std::fs::metadata(path)?.gid();
    let accepting = tokio::spawn(accept(listener, ControlServer { group, requests, readers }));
    Ok((file, accepting.abort_handle()))
}

fn listen(path: &Path) -> anyhow::Result<UnixListener> {
    if let Some(dir) = path.parent().filter(|dir| !dir.as_os_str().is_empty()) {
        std::fs::DirBuilder::new().recursive(true).mode(0o750).create(dir)?;
    }
    crate::listener::remove_stale_socket(path)?;
    let listener = UnixListener::bind(SocketAddress::new(path)?)?;
    // A client that connects before the mode is set is authorized like every other.
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(SOCKET_MODE))?;
    Ok(listener)
}

async fn accept(listener: UnixListener, server: ControlServer) {
    let permits = Arc::new(Semaphore::new(MAX_CLIENTS));
    while let Ok(permit) = Arc::clone(&permits).acquire_owned().await {
        match listener.accept().await {
            Ok((stream, _)) => {
                let server = server.clone();
                tokio::spawn(async move {
                    server.serve_client(stream).await;
                    drop(permit);
                });
            }
            Err(error) => {
                // Most likely out of file descriptors: retrying at once would spin.
                tracing::warn!("cannot accept a client on the control socket: {error}");
                tokio::time::sleep(CLIENT_TIMEOUT).await;
            }
        }
    }
}

impl ControlServer {
    /// Answers the requests of one client until the client closes, times out, or sends an invalid request.
    async fn serve_client(&self, stream: UnixStream) {
        let allowed = authorize(&stream, self.group);
        let mut stream = BufReader::with_capacity(MAX_REQUEST, stream);
        if let Err(refusal) = allowed {
            let _ = send(&mut stream, &Reply::new(CommandOutcome::Refused, refusal)).await;
            return;
        }
        while let Ok(Some(line)) = timeout(CLIENT_TIMEOUT, receive(&mut stream)).await {
            let (reply, log_stream) = match line.and_then(|line| parse_request(&line)) {
                Ok(command) => match self.answer(command, stream.get_ref()).await {
                    Some(answer) => answer,
                    None => return,
                },
                Err(refusal) => (Reply::new(CommandOutcome::Refused, refusal), None),
            };
            let refused = reply.outcome == CommandOutcome::Refused;
            if send(&mut stream, &reply).await.is_none() || refused {
                return;
            }
            if let Some(log_stream) = log_stream {
                return log_stream.serve(&mut stream).await;
            }
        }
    }

    /// The reply to a command, and a log stream to follow it; `None` if the client closes meanwhile.
    async fn answer(
        &self,
        command: ControlCommand,
        stream: &UnixStream,
    ) -> Option<(Reply, Option<LogStream>)> {
        let query = if let ControlCommand::Logs(query) = &command { Some(query.clone()) } else { None };
        let reply = tokio::select! {
            reply = execute(command, &self.requests) => reply,
            () = client_closed(stream) => return None,
        };
        let Some(query) = query.filter(|_| reply.outcome == CommandOutcome::Done) else {
            return Some((reply, None));
        };
        Some(match self.readers.admit(&query) {
            Ok(log_stream) => (reply, Some(log_stream)),
            Err(busy) => (Reply::new(CommandOutcome::Conflict, busy), None),
        })
    }
}

/// Waits until the client has closed. A client that shut down only its sending side, or that sends more, still waits
/// for the reply.
async fn client_closed(stream: &UnixStream) {
    let closed = || {
        let mut poll_fds = [PollFd::new(stream, PollFlags::empty())];
        poll(&mut poll_fds, Some(&Timespec::default())).is_ok()
            && poll_fds[0].revents().contains(PollFlags::HUP)
    };
    match stream.ready(Interest::READABLE).await {
        Ok(ready) if ready.is_read_closed() && closed() => {}
        Ok(_) | Err(_) => std::future::pending().await,
    }
}

/// One line without its newline; `None` at the end of the stream.
async fn receive(stream: &mut BufReader<UnixStream>) -> Option<Result<Vec<u8>, String>> {
    let mut line = Vec::new();
    let limit = u64::try_from(MAX_REQUEST).unwrap_or(u64::MAX);
    stream.take(limit).read_until(b'\n', &mut line).await.ok()?;
    match line.pop() {
        Some(b'\n') => Some(Ok(line)),
        Some(_) if line.len() + 1 == MAX_REQUEST => {
            Some(Err(format!("invalid request: a command is one line of at most {MAX_REQUEST} bytes")))
        }
        Some(_) | None => None,
    }
}

async fn execute(command: ControlCommand, requests: &mpsc::Sender<ClientRequest>) -> Reply {
    let stopping = || Reply::new(CommandOutcome::Conflict, "the supervisor is stopping");
    let (reply, answer) = oneshot::channel();
    if requests.send(ClientRequest { command, reply }).await.is_err() {
        return stopping();
    }
    match timeout(MAX_COMMAND_TIME, answer).await {
        Ok(Ok(reply)) => reply,
        Ok(Err(_)) => stopping(),
        Err(_) => Reply::new(
            CommandOutcome::Conflict,
            format!("the command has not completed after {} s; see the log", MAX_COMMAND_TIME.as_secs()),
        ),
    }
}

async fn send(stream: &mut BufReader<UnixStream>, reply: &Reply) -> Option<()> {
    let mut line = serde_json::to_vec(reply).ok()?;
    line.push(b'\n');
    timeout(CLIENT_TIMEOUT, stream.get_mut().write_all(&line)).await.ok()?.ok()
}
