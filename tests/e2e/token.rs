//! The token of changing requests: asked for, and seen nowhere.

use bulkhead_tests::{Bulkhead, Home, process};

const TOKEN: &str = "correct-horse-battery-staple";
const EVENT: &str = r#"{"series":"s","value":1}"#;

/// A home whose API asks for what this file holds.
fn home(content: &str) -> Home {
    let home = Home::new("");
    std::fs::write(home.path("token"), content).unwrap();
    let config = format!("[api]\ntoken_file = {:?}\n[faults]\nenabled = true\n", home.path("token"));
    std::fs::write(home.path("bulkhead.toml"), config).unwrap();
    home
}

/// A client's status for a changing request with this token.
fn status(bulkhead: &Bulkhead, token: &str) -> u16 {
    bulkhead.client().bearing(token).post_events(EVENT).unwrap().status
}

#[test]
fn changing_requests_need_the_token_and_reading_ones_do_not() {
    let bulkhead = home(&format!("{TOKEN}\n")).start();
    let client = bulkhead.client();
    for path in ["/v1/events", "/v1/faults/analytics/panic"] {
        let answer = client.post(path, "application/json", EVENT).unwrap();
        assert_eq!((answer.status, answer.header("www-authenticate")), (401, "Bearer"), "{answer:?}");
    }
    assert_eq!(status(&bulkhead, "another-one-of-some-length"), 401);
    assert_eq!(client.json("/v1/stats")["accepted"], 0);
    assert_eq!(status(&bulkhead, TOKEN), 202);
    assert_eq!(bulkhead.settled()["accepted"], 1);
}

#[test]
fn each_generation_reads_the_file_anew() {
    let bulkhead = home(TOKEN).start();
    let next = "another-one-of-some-length";
    std::fs::write(bulkhead.home().path("token"), next).unwrap();
    assert_eq!(status(&bulkhead, TOKEN), 202, "the one that was read at its start");
    let mut story = bulkhead.log().from_now();
    assert_eq!(bulkhead.say(&["restart", "api"]).code, Some(0));
    story.wait_for_worker("worker_activated", "api");
    // Until it is gone, the one before may still answer by what it read.
    story.wait_for_worker("worker_died", "api");
    assert_eq!((status(&bulkhead, TOKEN), status(&bulkhead, next)), (401, 202));
}

#[test]
fn a_bad_token_file_fails_the_start_of_a_generation_with_a_clear_error() {
    let bulkhead = home(TOKEN).start();
    let path = bulkhead.home().path("token");
    for (content, word) in [(Some("short"), "16 to 4096"), (None, "cannot be read")] {
        let _ = std::fs::remove_file(&path);
        if let Some(content) = content {
            std::fs::write(&path, content).unwrap();
        }
        let mut story = bulkhead.log().from_now();
        let said = bulkhead.say(&["restart", "api"]);
        assert_eq!(said.code, Some(1), "{said:?}");
        story.wait_for("a line that says why", |line| line.raw().contains(word));
        // The predecessor stays.
        assert_eq!(status(&bulkhead, TOKEN), 202);
    }
}

#[test]
fn an_api_that_finds_no_token_at_its_start_is_tried_again_until_the_file_is_mended() {
    let bulkhead = home(TOKEN).start();
    let path = bulkhead.home().path("token");
    let mut story = bulkhead.log().from_now();
    for content in [None, Some("short")] {
        let _ = std::fs::remove_file(&path);
        if let Some(content) = content {
            std::fs::write(&path, content).unwrap();
        }
        bulkhead.signal_worker(bulkhead.pid_of("api"), process::Signal::SIGKILL);
        story.wait_for("a line that says why", |line| line.raw().contains("token file"));
        std::fs::write(&path, TOKEN).unwrap();
        story.wait_for_worker("worker_activated", "api");
        assert_eq!(status(&bulkhead, TOKEN), 202);
    }
}

#[test]
fn the_token_is_in_no_environment_argument_log_or_report() {
    let bulkhead = home(TOKEN).start();
    assert_eq!((status(&bulkhead, TOKEN), status(&bulkhead, &TOKEN.replace('-', "_"))), (202, 401));
    for process in process::tree(bulkhead.pid()) {
        for file in ["environ", "cmdline"] {
            let text = std::fs::read(format!("/proc/{}/{file}", process.pid())).unwrap();
            assert!(!String::from_utf8_lossy(&text).contains(TOKEN), "{file} of {}", process.pid());
        }
    }
    let mut story = bulkhead.log().from_now();
    assert_eq!(bulkhead.say(&["fault", "api", "panic"]).code, Some(0));
    story.wait_for_worker("worker_activated", "api");
    for arguments in [&["status", "--json"][..], &["status"]] {
        assert!(!bulkhead.say(arguments).out.contains(TOKEN));
    }
    for path in ["/v1/workers", "/v1/stats", "/readyz"] {
        assert!(!bulkhead.client().get(path).unwrap().body.contains(TOKEN));
    }
    let stopped = bulkhead.stop(process::Signal::SIGTERM);
    assert!(!stopped.log.dump().contains(TOKEN));
}
