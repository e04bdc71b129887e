//! Authorizes the peer of a control connection.

use tokio::net::UnixStream;

/// Admits root, the supervisor's own user, and members of the socket's group. The mode of the socket grants the same
/// access; this check holds even if the mode was changed.
///
/// This uses a tokio socket. `interprocess` treats a peer outside of our pid namespace as a broken connection, because
/// the kernel reports its pid as 0. Such a peer is an operator on the host who sends commands to a container.
///
/// # Errors
/// Text for a client without access.
pub(super) fn authorize(stream: &UnixStream, group: u32) -> Result<(), String> {
    let peer = stream.peer_cred().map_err(|error| format!("cannot read your credentials: {error}"))?;
    let own = rustix::process::geteuid().as_raw();
    let in_group =
        || peer.gid() == group || peer.pid().is_some_and(|pid| supplementary_groups(pid).contains(&group));
    if peer.uid() == 0 || peer.uid() == own || in_group() {
        return Ok(());
    }
    Err(format!("permission denied: only root, uid {own} and members of gid {group} may send commands"))
}

/// The supplementary groups of a process. `SO_PEERCRED` does not include them.
fn supplementary_groups(pid: i32) -> Vec<u32> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("Groups:"));
    line.into_iter().flat_map(str::split_whitespace).filter_map(|group| group.parse().ok()).collect()
}
