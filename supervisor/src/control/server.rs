//! The daemon's side of the control socket.

use super::{
    peer::may_command,
    protocol::{Command, Ended, MAX_ASK, Reply, parse},
    readers::{Admitted, Readers},
};
use crate::log::LogBuffer;
use anyhow::Context as _;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::{
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader, Interest},
    net::{UnixListener, UnixStream},
    sync::{Semaphore, mpsc, oneshot},
    time::timeout,
};

/// Who may connect, beside the owner and root: the socket's group.
const MODE: u32 = 0o660;

/// So many clients at once; further ones wait to be accepted.
const MAX_CLIENTS: usize = 16;

/// How long a client may take to say what it wants, or to read the reply.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long the carrying out of a command may take: longer than the longest escalation of a stop that is sensible.
const MAX_WAIT: Duration = Duration::from_secs(600);

/// A command on its way to the event loop, and where its reply goes.
#[derive(Debug)]
pub struct Call {
    /// What is wanted.
    pub command: Command,
    /// Dropped without a reply, it tells the client that the supervisor is leaving.
    pub reply: oneshot::Sender<Reply>,
}

/// The listening control socket; its file goes with it.
#[derive(Debug)]
pub struct Server {
    path: PathBuf,
    readers: Readers,
}

impl Server {
    /// Lets those that follow the log have its last lines, and waits a little for them.
    pub async fn finish(&self) {
        self.readers.finish().await;
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

/// What every client is served with.
#[derive(Clone)]
struct Desk {
    /// The socket's.
    group: u32,
    calls: mpsc::Sender<Call>,
    readers: Readers,
}

/// Begins to serve.
///
/// # Errors
/// When somebody else listens there, or the socket cannot be made.
pub fn serve(path: &Path, calls: mpsc::Sender<Call>, recent: LogBuffer) -> anyhow::Result<Server> {
    let listener = listen(path).with_context(|| {
        format!("cannot listen on the control socket {}; choose another by --socket", path.display())
    })?;
    let group = std::fs::metadata(path)?.gid();
    let readers = Readers::new(recent);
    tokio::spawn(accept(listener, Desk { group, calls, readers: readers.clone() }));
    Ok(Server { path: path.to_owned(), readers })
}

fn listen(path: &Path) -> anyhow::Result<UnixListener> {
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        std::fs::DirBuilder::new().recursive(true).mode(0o750).create(folder)?;
    }
    crate::listener::remove_stale_socket(path)?;
    let listener = UnixListener::bind(path)?;
    // Whoever connected before this is checked like everybody else.
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(MODE))?;
    Ok(listener)
}

async fn accept(listener: UnixListener, desk: Desk) {
    let slots = Arc::new(Semaphore::new(MAX_CLIENTS));
    while let Ok(slot) = Arc::clone(&slots).acquire_owned().await {
        match listener.accept().await {
            Ok((stream, _)) => {
                let desk = desk.clone();
                tokio::spawn(async move {
                    desk.converse(stream).await;
                    drop(slot);
                });
            }
            Err(error) => {
                // Out of fds, most likely: accepting again at once would spin.
                tracing::warn!("control socket: cannot accept a client: {error}");
                tokio::time::sleep(PATIENCE).await;
            }
        }
    }
}

impl Desk {
    /// Answers one client's lines until it leaves, falls silent, or talks nonsense.
    async fn converse(&self, stream: UnixStream) {
        let allowed = may_command(&stream, self.group);
        let mut stream = BufReader::with_capacity(MAX_ASK, stream);
        if let Err(refusal) = allowed {
            let _ = send(&mut stream, &Reply::new(Ended::Refused, refusal)).await;
            return;
        }
        while let Ok(Some(line)) = timeout(PATIENCE, receive(&mut stream)).await {
            let (reply, admitted) = match line.and_then(|line| parse(&line)) {
                Ok(command) => match self.answer(command, stream.get_ref()).await {
                    Some(answer) => answer,
                    None => return,
                },
                Err(refusal) => (Reply::new(Ended::Refused, refusal), None),
            };
            let refused = reply.outcome == Ended::Refused;
            if send(&mut stream, &reply).await.is_none() || refused {
                return;
            }
            if let Some(admitted) = admitted {
                return admitted.serve(&mut stream).await;
            }
        }
    }

    /// The reply to a command, and what follows it; nothing, if the client leaves meanwhile.
    async fn answer(&self, command: Command, stream: &UnixStream) -> Option<(Reply, Option<Admitted>)> {
        let logs = if let Command::Logs(logs) = &command { Some(logs.clone()) } else { None };
        let reply = tokio::select! {
            reply = ask(command, &self.calls) => reply,
            () = hung_up(stream) => return None,
        };
        let answer = match logs.filter(|_| reply.outcome == Ended::Done).map(|logs| self.readers.admit(&logs))
        {
            None => (reply, None),
            Some(Ok(admitted)) => (reply, Some(admitted)),
            Some(Err(busy)) => (Reply::new(Ended::Conflict, busy), None),
        };
        Some(answer)
    }
}

/// Waits until the client is gone. One that has only ended its side (shutdown(2)), or says more, is still there.
async fn hung_up(stream: &UnixStream) {
    let gone = || {
        let mut looked_at = [PollFd::new(stream, PollFlags::empty())];
        poll(&mut looked_at, Some(&Timespec::default())).is_ok()
            && looked_at[0].revents().contains(PollFlags::HUP)
    };
    match stream.ready(Interest::READABLE).await {
        Ok(ready) if ready.is_read_closed() && gone() => {}
        Ok(_) | Err(_) => std::future::pending().await,
    }
}

/// One line, without its end; none at the end of the stream.
async fn receive(stream: &mut BufReader<UnixStream>) -> Option<Result<Vec<u8>, String>> {
    let mut line = Vec::new();
    let limit = u64::try_from(MAX_ASK).unwrap_or(u64::MAX);
    stream.take(limit).read_until(b'\n', &mut line).await.ok()?;
    match line.pop() {
        Some(b'\n') => Some(Ok(line)),
        Some(_) if line.len() + 1 == MAX_ASK => {
            Some(Err(format!("not understood: a command is one line of at most {MAX_ASK} bytes")))
        }
        Some(_) | None => None,
    }
}

async fn ask(command: Command, calls: &mpsc::Sender<Call>) -> Reply {
    let leaving = || Reply::new(Ended::Conflict, "the supervisor is leaving");
    let (reply, answer) = oneshot::channel();
    if calls.send(Call { command, reply }).await.is_err() {
        return leaving();
    }
    match timeout(MAX_WAIT, answer).await {
        Ok(Ok(reply)) => reply,
        Ok(Err(_)) => leaving(),
        Err(_) => {
            Reply::new(Ended::Conflict, format!("still not done after {} s; see the log", MAX_WAIT.as_secs()))
        }
    }
}

async fn send(stream: &mut BufReader<UnixStream>, reply: &Reply) -> Option<()> {
    let mut line = serde_json::to_vec(reply).ok()?;
    line.push(b'\n');
    timeout(PATIENCE, stream.get_mut().write_all(&line)).await.ok()?.ok()
}
