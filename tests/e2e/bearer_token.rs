//! The bearer token: requests that change state need it, and no output contains it.

use bulkhead_tests::{Bulkhead, Fixture, process};

const TOKEN: &str = "correct-horse-battery-staple";
const EVENT: &str = r#"{"series":"s","value":1}"#;

/// A fixture whose API requires the token in a file with this content.
fn fixture_with_token(content: &str) -> Fixture {
    let fixture = Fixture::new("");
    std::fs::write(fixture.path("token"), content).unwrap();
    let config = format!("[api]\ntoken_file = {:?}\n[faults]\nenabled = true\n", fixture.path("token"));
    std::fs::write(fixture.path("bulkhead.toml"), config).unwrap();
    fixture
}

/// The status of a request that changes state, sent with this token.
fn status(bulkhead: &Bulkhead, token: &str) -> u16 {
    bulkhead.client().with_token(token).post_events(EVENT).unwrap().status
}

#[test]
fn requests_that_change_state_need_the_token_and_reads_do_not() {
    let bulkhead = fixture_with_token(&format!("{TOKEN}\n")).start();
    let client = bulkhead.client();
    for path in ["/v1/events", "/v1/faults/analytics/panic"] {
        let response = client.post(path, "application/json", EVENT).unwrap();
        assert_eq!((response.status, response.header("www-authenticate")), (401, "Bearer"), "{response:?}");
    }
    assert_eq!(status(&bulkhead, "another-one-of-some-length"), 401);
    assert_eq!(client.get_json("/v1/stats")["accepted"], 0);
    assert_eq!(status(&bulkhead, TOKEN), 202);
    assert_eq!(bulkhead.wait_until_committed()["accepted"], 1);
}

#[test]
fn each_generation_reads_the_token_file_again() {
    let bulkhead = fixture_with_token(TOKEN).start();
    let next = "another-one-of-some-length";
    std::fs::write(bulkhead.fixture().path("token"), next).unwrap();
    assert_eq!(status(&bulkhead, TOKEN), 202, "the token that the API read at its start must stay valid");
    let mut log = bulkhead.log().from_now();
    assert_eq!(bulkhead.cli(&["restart", "api"]).code, Some(0));
    log.wait_for_worker("worker_activated", "api");
    // Until the old generation exits, it may still respond and accept the old token.
    log.wait_for_worker("worker_died", "api");
    assert_eq!((status(&bulkhead, TOKEN), status(&bulkhead, next)), (401, 202));
}

#[test]
fn a_bad_token_file_fails_the_restart_and_the_log_has_the_reason() {
    let bulkhead = fixture_with_token(TOKEN).start();
    let path = bulkhead.fixture().path("token");
    for (content, text) in [(Some("short"), "16 to 4096"), (None, "cannot be read")] {
        let _ = std::fs::remove_file(&path);
        if let Some(content) = content {
            std::fs::write(&path, content).unwrap();
        }
        let mut log = bulkhead.log().from_now();
        let output = bulkhead.cli(&["restart", "api"]);
        assert_eq!(output.code, Some(1), "{output:?}");
        log.wait_for("the reason in the log", |line| line.raw().contains(text));
        // The old generation keeps running.
        assert_eq!(status(&bulkhead, TOKEN), 202);
    }
}

#[test]
fn an_api_without_a_valid_token_file_is_restarted_until_the_file_is_valid() {
    let bulkhead = fixture_with_token(TOKEN).start();
    let path = bulkhead.fixture().path("token");
    let mut log = bulkhead.log().from_now();
    for content in [None, Some("short")] {
        let _ = std::fs::remove_file(&path);
        if let Some(content) = content {
            std::fs::write(&path, content).unwrap();
        }
        bulkhead.signal_worker(bulkhead.worker_pid("api"), process::Signal::SIGKILL);
        log.wait_for("the reason in the log", |line| line.raw().contains("token file"));
        std::fs::write(&path, TOKEN).unwrap();
        log.wait_for_worker("worker_activated", "api");
        assert_eq!(status(&bulkhead, TOKEN), 202);
    }
}

#[test]
fn the_token_is_in_no_environment_argument_log_or_report() {
    let bulkhead = fixture_with_token(TOKEN).start();
    assert_eq!((status(&bulkhead, TOKEN), status(&bulkhead, &TOKEN.replace('-', "_"))), (202, 401));
    for process in process::tree(bulkhead.pid()) {
        for file in ["environ", "cmdline"] {
            let text = std::fs::read(format!("/proc/{}/{file}", process.pid())).unwrap();
            assert!(!String::from_utf8_lossy(&text).contains(TOKEN), "{file} of {}", process.pid());
        }
    }
    let mut log = bulkhead.log().from_now();
    assert_eq!(bulkhead.cli(&["fault", "api", "panic"]).code, Some(0));
    log.wait_for_worker("worker_activated", "api");
    for arguments in [&["status", "--json"][..], &["status"]] {
        assert!(!bulkhead.cli(arguments).stdout.contains(TOKEN));
    }
    for path in ["/v1/workers", "/v1/stats", "/readyz"] {
        assert!(!bulkhead.client().get(path).unwrap().body.contains(TOKEN));
    }
    let stopped = bulkhead.stop(process::Signal::SIGTERM);
    assert!(!stopped.log.dump().contains(TOKEN));
}
