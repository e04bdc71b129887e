//! Who is at the other end of the control socket.

use tokio::net::UnixStream;

/// Whether the process at the other end is root's, our own user's, or of the socket's group. The socket's mode says the
/// same; this holds even where the file's permissions were changed.
///
/// Through tokio's sockets, for `interprocess` takes a peer outside of our pid namespace, whose pid the kernel gives as 0,
/// for a broken connection: that is the operator who commands a container from its host.
///
/// # Errors
/// Text for whoever may not.
pub(super) fn may_command(stream: &UnixStream, group: u32) -> Result<(), String> {
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
