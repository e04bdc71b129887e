use super::*;
use crate::core::{
    GenerationState, HangDetector, Identity, Now, Pings, Policy, Process, ProcessPhase, WorkerSpec,
};
use bulkhead_proto::wire::ids::{CrashId, Generation};
use tempfile::TempDir;

/// Receives notifications in place of systemd.
struct FakeSystemd {
    dir: TempDir,
    socket: UnixDatagram,
}

impl FakeSystemd {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let socket = UnixDatagram::bind(dir.path().join("notify")).unwrap();
        socket.set_nonblocking(true).unwrap();
        Self { dir, socket }
    }

    fn notifier(&self) -> Notifier {
        let path = self.dir.path().join("notify").display().to_string();
        Notifier::new(&|name| (name == "NOTIFY_SOCKET").then(|| path.clone()))
    }

    /// The messages received since the last call.
    fn received(&self) -> Vec<String> {
        let mut buffer = [0; 4096];
        std::iter::from_fn(|| {
            let length = self.socket.recv(&mut buffer).ok()?;
            Some(String::from_utf8(buffer[..length].to_vec()).unwrap())
        })
        .collect()
    }
}

fn state(phase: SupervisorPhase) -> State {
    let timeout = Duration::from_secs(10);
    let spec = |name: &str, role| WorkerSpec {
        name: name.into(),
        role,
        stop_timeout: timeout,
        hang_timeout: timeout,
    };
    let specs = vec![spec("api", Role::Api), spec("analytics", Role::Analytics)];
    let identity = Identity { pid: 1, next_generation: Generation(1), next_crash: CrashId(1), seed: 1 };
    let now = Now { mono: Millis(0), unix_ms: 0 };
    State { phase, ..State::new(Policy::default(), specs, identity, now) }
}

/// A state whose API runs.
fn api_running() -> State {
    let mut state = state(SupervisorPhase::Up);
    let process = Process {
        generation: Generation(1),
        phase: ProcessPhase::Running,
        pid: Some(2),
        started: Millis(0),
        started_ms: 0,
        greeted: true,
        activated: Some(Millis(0)),
        trial: false,
        storing_isolated: false,
        panic: None,
        error: None,
        fault: None,
        hang_detector: HangDetector::Idle,
        pings: Pings::default(),
    };
    state.workers[0].main = GenerationState::Live(Box::new(process));
    state
}

#[test]
fn an_unchanged_status_is_not_sent_again() {
    let systemd = FakeSystemd::new();
    let mut notifier = systemd.notifier();
    notifier.notify_state(&state(SupervisorPhase::New));
    notifier.notify_state(&state(SupervisorPhase::New));
    assert_eq!(systemd.received(), ["STATUS=starting\n"]);
    notifier.notify_state(&state(SupervisorPhase::Up));
    assert_eq!(systemd.received(), ["STATUS=0 of 2 workers running; api stopped; analytics stopped\n"]);
}

#[test]
fn each_step_of_the_stop_extends_the_timeout_by_its_own_limit() {
    let systemd = FakeSystemd::new();
    let mut notifier = systemd.notifier();
    notifier.notify_state(&state(SupervisorPhase::Stopping(Role::Api)));
    notifier.notify_state(&state(SupervisorPhase::Saving { deadline: Millis(0) }));
    let received = systemd.received();
    assert!(received[0].ends_with("\nSTOPPING=1\nEXTEND_TIMEOUT_USEC=26000000\n"), "{received:?}");
    assert_eq!(received[1], "STATUS=stopping: saving the state\nSTOPPING=1\nEXTEND_TIMEOUT_USEC=40000000\n");
}

#[test]
fn a_status_that_systemd_does_not_accept_is_sent_again() {
    let systemd = FakeSystemd::new();
    let mut notifier = systemd.notifier();
    // Fills the queue of the socket.
    while notifier.send("X=1") {}
    notifier.notify_state(&state(SupervisorPhase::New));
    systemd.received();
    notifier.notify_state(&state(SupervisorPhase::New));
    assert_eq!(systemd.received(), ["STATUS=starting\n"]);
}

#[test]
fn the_start_of_a_reload_carries_its_time() {
    let systemd = FakeSystemd::new();
    let mut notifier = Notifier { ready: true, ..systemd.notifier() };
    notifier.notify_reloading(Millis(1234));
    notifier.notify_reloaded();
    assert_eq!(systemd.received(), ["RELOADING=1\nMONOTONIC_USEC=1234999\n", "READY=1\n"]);
}

#[test]
fn a_reload_does_not_report_ready_before_the_api_runs() {
    let systemd = FakeSystemd::new();
    let mut notifier = systemd.notifier();
    notifier.notify_reloading(Millis(1));
    notifier.notify_reloaded();
    assert!(systemd.received().is_empty());
}

#[test]
fn the_end_of_a_reload_is_sent_again_if_systemd_does_not_accept_it() {
    let systemd = FakeSystemd::new();
    let mut notifier = Notifier { ready: true, ..systemd.notifier() };
    while notifier.send("X=1") {}
    notifier.notify_reloaded();
    systemd.received();
    notifier.notify_state(&api_running());
    assert!(systemd.received()[0].ends_with("\nREADY=1\n"));
}

#[test]
fn the_service_is_ready_once_the_api_runs() {
    let systemd = FakeSystemd::new();
    let mut notifier = systemd.notifier();
    notifier.notify_state(&state(SupervisorPhase::Up));
    notifier.notify_state(&api_running());
    let received = systemd.received();
    assert!(!received[0].contains("READY"), "{received:?}");
    assert_eq!(received[1], "STATUS=1 of 2 workers running; analytics stopped\nREADY=1\n");
}

#[test]
fn a_socket_may_have_an_abstract_name() {
    let name = format!("bulkhead-test-{}", std::process::id());
    let socket = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
    let notifier = Notifier::new(&|variable| (variable == "NOTIFY_SOCKET").then(|| format!("@{name}")));
    notifier.notify_watchdog();
    let mut buffer = [0; 100];
    let length = socket.recv(&mut buffer).unwrap();
    assert_eq!(&buffer[..length], b"WATCHDOG=1\n");
}

#[tokio::test]
async fn the_watchdog_timer_has_half_the_period_and_only_the_named_process_has_one() {
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
