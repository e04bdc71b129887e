use super::*;
use crate::core::{GenerationState, HangDetector, Identity, Now, Pings, Policy, Process, WorkerSpec};
use bulkhead_proto::wire::ids::{CrashId, Generation};
use tempfile::TempDir;

/// Stands in for systemd.
struct Manager {
    folder: TempDir,
    socket: UnixDatagram,
}

impl Manager {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let socket = UnixDatagram::bind(folder.path().join("notify")).unwrap();
        socket.set_nonblocking(true).unwrap();
        Self { folder, socket }
    }

    fn notifier(&self) -> Notifier {
        let path = self.folder.path().join("notify").display().to_string();
        Notifier::new(&|name| (name == "NOTIFY_SOCKET").then(|| path.clone()))
    }

    /// What came since the last time.
    fn heard(&self) -> Vec<String> {
        let mut buffer = [0; 4096];
        std::iter::from_fn(|| {
            let length = self.socket.recv(&mut buffer).ok()?;
            Some(String::from_utf8(buffer[..length].to_vec()).unwrap())
        })
        .collect()
    }
}

fn state(phase: SupervisorPhase) -> State {
    let patience = Duration::from_secs(10);
    let spec = |name: &str, role| WorkerSpec {
        name: name.into(),
        role,
        stop_timeout: patience,
        hang_timeout: patience,
    };
    let specs = vec![spec("api", Role::Api), spec("analytics", Role::Analytics)];
    let identity = Identity { pid: 1, next_generation: Generation(1), next_crash: CrashId(1), seed: 1 };
    let now = Now { mono: Millis(0), unix_ms: 0 };
    State { phase, ..State::new(Policy::default(), specs, identity, now) }
}

/// A state whose API is at work.
fn serving() -> State {
    let mut state = state(SupervisorPhase::Up);
    let process = Process {
        generation: Generation(1),
        pid: Some(2),
        started: Millis(0),
        started_ms: 0,
        greeted: true,
        activated: Some(Millis(0)),
        panic: None,
        fault: None,
        hang_detector: HangDetector::Idle,
        pings: Pings::NONE,
    };
    state.workers[0].main = GenerationState::Running { process };
    state
}

#[test]
fn a_status_is_told_once_until_it_changes() {
    let manager = Manager::new();
    let mut notifier = manager.notifier();
    notifier.tell(&state(SupervisorPhase::New));
    notifier.tell(&state(SupervisorPhase::New));
    assert_eq!(manager.heard(), ["STATUS=starting\n"]);
    notifier.tell(&state(SupervisorPhase::Up));
    assert_eq!(manager.heard(), ["STATUS=0 of 2 workers running; api stopped; analytics stopped\n"]);
}

#[test]
fn each_step_of_the_stop_asks_for_the_time_that_it_may_take() {
    let manager = Manager::new();
    let mut notifier = manager.notifier();
    notifier.tell(&state(SupervisorPhase::Stopping(Role::Api)));
    notifier.tell(&state(SupervisorPhase::Saving { deadline: Millis(0) }));
    let heard = manager.heard();
    assert!(heard[0].ends_with("\nSTOPPING=1\nEXTEND_TIMEOUT_USEC=26000000\n"), "{heard:?}");
    assert_eq!(heard[1], "STATUS=stopping: saving the state\nSTOPPING=1\nEXTEND_TIMEOUT_USEC=40000000\n");
}

#[test]
fn what_systemd_does_not_take_now_is_told_again() {
    let manager = Manager::new();
    let mut notifier = manager.notifier();
    // Its queue is full.
    while notifier.send("X=1") {}
    notifier.tell(&state(SupervisorPhase::New));
    manager.heard();
    notifier.tell(&state(SupervisorPhase::New));
    assert_eq!(manager.heard(), ["STATUS=starting\n"]);
}

#[test]
fn the_beginning_of_a_reload_carries_its_time() {
    let manager = Manager::new();
    let mut notifier = Notifier { ready: true, ..manager.notifier() };
    notifier.reloading(Millis(1234));
    notifier.reloaded();
    assert_eq!(manager.heard(), ["RELOADING=1\nMONOTONIC_USEC=1234999\n", "READY=1\n"]);
}

#[test]
fn a_reload_does_not_make_ready_what_does_not_serve_yet() {
    let manager = Manager::new();
    let mut notifier = manager.notifier();
    notifier.reloading(Millis(1));
    notifier.reloaded();
    assert!(manager.heard().is_empty());
}

#[test]
fn the_end_of_a_reload_is_told_again_if_systemd_does_not_take_it() {
    let manager = Manager::new();
    let mut notifier = Notifier { ready: true, ..manager.notifier() };
    while notifier.send("X=1") {}
    notifier.reloaded();
    manager.heard();
    notifier.tell(&serving());
    assert!(manager.heard()[0].ends_with("\nREADY=1\n"));
}

#[test]
fn it_is_ready_once_the_api_serves() {
    let manager = Manager::new();
    let mut notifier = manager.notifier();
    notifier.tell(&state(SupervisorPhase::Up));
    notifier.tell(&serving());
    let heard = manager.heard();
    assert!(!heard[0].contains("READY"), "{heard:?}");
    assert_eq!(heard[1], "STATUS=1 of 2 workers running; analytics stopped\nREADY=1\n");
}

#[test]
fn a_socket_may_have_an_abstract_name() {
    let name = format!("bulkhead-test-{}", std::process::id());
    let socket = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
    let notifier = Notifier::new(&|variable| (variable == "NOTIFY_SOCKET").then(|| format!("@{name}")));
    notifier.alive();
    let mut buffer = [0; 100];
    let length = socket.recv(&mut buffer).unwrap();
    assert_eq!(&buffer[..length], b"WATCHDOG=1\n");
}

#[tokio::test]
async fn the_watchdog_is_fed_twice_as_often_as_it_wants_and_only_by_whom_it_means() {
    let watched = |pid: u32| {
        watchdog(&|name| match name {
            "WATCHDOG_USEC" => Some("30000000".into()),
            "WATCHDOG_PID" => Some(pid.to_string()),
            _ => None,
        })
    };
    assert_eq!(watched(std::process::id()).unwrap().period(), Duration::from_secs(15));
    assert!(watched(1).is_none());
    assert!(watchdog(&|_| None).is_none());
}
