//! The daemon's side of the control socket.

use super::protocol::{Command, Ended, MAX_ASK, Reply, parse};
use anyhow::Context as _;
use std::{
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
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
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Begins to serve.
///
/// # Errors
/// When somebody else listens there, or the socket cannot be made.
pub fn serve(path: &Path, calls: mpsc::Sender<Call>) -> anyhow::Result<Server> {
    let listener = listen(path).with_context(|| {
        format!("cannot listen on the control socket {}; choose another by --socket", path.display())
    })?;
    let group = std::fs::metadata(path)?.gid();
    tokio::spawn(accept(listener, group, calls));
    Ok(Server { path: path.to_owned() })
}

fn listen(path: &Path) -> anyhow::Result<UnixListener> {
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        std::fs::DirBuilder::new().recursive(true).mode(0o750).create(folder)?;
    }
    crate::listener::remove_stale(path)?;
    let listener = UnixListener::bind(path)?;
    // Whoever connected before this is checked like everybody else.
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(MODE))?;
    Ok(listener)
}

async fn accept(listener: UnixListener, group: u32, calls: mpsc::Sender<Call>) {
    let slots = Arc::new(Semaphore::new(MAX_CLIENTS));
    while let Ok(slot) = Arc::clone(&slots).acquire_owned().await {
        match listener.accept().await {
            Ok((stream, _)) => {
                let calls = calls.clone();
                tokio::spawn(async move {
                    converse(stream, group, calls).await;
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

/// Answers one client's lines until it leaves, falls silent, or talks nonsense.
async fn converse(stream: UnixStream, group: u32, calls: mpsc::Sender<Call>) {
    let allowed = may_command(&stream, group);
    let mut stream = BufReader::with_capacity(MAX_ASK, stream);
    if let Err(refusal) = allowed {
        let _ = send(&mut stream, &Reply::new(Ended::Refused, refusal)).await;
        return;
    }
    while let Ok(Some(line)) = timeout(PATIENCE, receive(&mut stream)).await {
        let reply = match parse(&line) {
            Ok(command) => ask(command, &calls).await,
            Err(refusal) => Reply::new(Ended::Refused, refusal),
        };
        let refused = reply.outcome == Ended::Refused;
        if send(&mut stream, &reply).await.is_none() || refused {
            return;
        }
    }
}

/// One line, without its end; none at the end of the stream, or when it is too long.
async fn receive(stream: &mut BufReader<UnixStream>) -> Option<Vec<u8>> {
    let mut line = Vec::new();
    let limit = u64::try_from(MAX_ASK).unwrap_or(u64::MAX);
    stream.take(limit).read_until(b'\n', &mut line).await.ok()?;
    (line.pop() == Some(b'\n')).then_some(line)
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

/// Whether the process at the other end is root's, our own user's, or of the socket's group. The socket's mode says the
/// same; this holds even where the file's permissions were changed.
///
/// Through tokio's sockets, for `interprocess` takes a peer outside of our pid namespace, whose pid the kernel gives as 0,
/// for a broken connection: that is the operator who commands a container from its host.
fn may_command(stream: &UnixStream, group: u32) -> Result<(), String> {
    let peer = stream.peer_cred().map_err(|error| format!("cannot tell who you are: {error}"))?;
    let own = rustix::process::geteuid().as_raw();
    let in_group =
        || peer.gid() == group || peer.pid().is_some_and(|pid| supplementary(pid).contains(&group));
    if peer.uid() == 0 || peer.uid() == own || in_group() {
        return Ok(());
    }
    Err(format!("you must be root, user {own}, or in group {group} to command this supervisor"))
}

/// The supplementary groups of a process, which Linux does not tell with its other credentials.
fn supplementary(pid: i32) -> Vec<u32> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("Groups:"));
    line.into_iter().flat_map(str::split_whitespace).filter_map(|group| group.parse().ok()).collect()
}
