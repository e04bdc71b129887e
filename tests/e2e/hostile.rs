//! Workers that misbehave: they are ended or borne, the rest goes on, and the log says what they did (P5, P6).
//! The stand-in is `tests/misbehave`.

use bulkhead_proto::wire::{control::PROTOCOL, crash::MAX_LINE};
use bulkhead_tests::{Bulkhead, Home, binaries, eventually, footprint::Footprint, log::Line, process};
use std::path::PathBuf;

/// The most memory that the supervisor may have in use after 100 MiB of output, in KiB.
const MOST_RESIDENT: u64 = 64 << 10;

fn misbehave() -> PathBuf {
    env!("CARGO_BIN_EXE_bulkhead-misbehave").into()
}

/// A service in which that worker misbehaves in this way, and is parked after its first death.
fn service(worker: &str, way: &str, more: &str) -> Bulkhead {
    let command = [misbehave().to_str().unwrap(), way].map(|word| format!("{word:?}")).join(", ");
    Home::new(&format!("restart.limit = 1\n[{worker}]\ncommand = [{command}]\n{more}")).begin()
}

/// The first death of that worker, and that it is parked for it.
fn death(bulkhead: &Bulkhead, worker: &str) -> Line {
    let mut story = bulkhead.log().from_start();
    let died = story.wait_for_worker("worker_died", worker);
    story.wait_for_worker("worker_parked", worker);
    died
}

fn assert_accepts_and_answers(bulkhead: &Bulkhead) {
    bulkhead.log().from_start().wait_for_worker("worker_activated", "api");
    let client = bulkhead.client();
    assert_eq!(client.post_events(r#"{"series":"s","value":1}"#).unwrap().status, 202);
    assert!(client.json("/v1/stats")["accepted"].as_u64() >= Some(1));
    assert_eq!(bulkhead.say(&["status"]).code, Some(0));
}

#[test]
fn a_worker_that_sends_what_is_no_frame_is_ended_and_the_log_says_why() {
    for (way, why) in [
        ("sends-half-a-frame", "cannot be read"),
        ("sends-garbage-at-work", "cannot be read"),
        ("sends-too-much-at-work", "extra bytes after the value"),
    ] {
        for worker in ["analytics", "api"] {
            let bulkhead = service(worker, way, "");
            let died = death(&bulkhead, worker);
            assert_eq!(died.text("cause"), "protocol", "{}", died.raw());
            assert!(died.text("detail").contains(why), "{}", died.raw());
            if worker == "analytics" {
                assert_accepts_and_answers(&bulkhead);
            }
        }
    }
}

#[test]
fn a_worker_that_says_what_it_may_not_say_now_is_ended_and_the_log_says_why() {
    for (way, why) in [
        ("is-ready-before-its-hello", "sent Ready, which is not allowed before its Hello"),
        ("greets-twice", "sent Hello, which is not allowed between Hello and Ready"),
        ("asks-what-it-may-not", "sent Request, which is not allowed"),
    ] {
        let bulkhead = service("analytics", way, "");
        let died = death(&bulkhead, "analytics");
        assert_eq!(died.text("cause"), "protocol", "{}", died.raw());
        assert!(died.text("detail").contains(why), "{}", died.raw());
        assert_accepts_and_answers(&bulkhead);
    }
}

#[test]
fn a_worker_of_another_protocol_version_is_not_tried_again_and_both_versions_are_named() {
    let bulkhead = service("analytics", "speaks-another-version", "");
    let died = death(&bulkhead, "analytics");
    assert_eq!(died.text("cause"), "handshake", "{}", died.raw());
    let (theirs, ours) = (format!("protocol {}", PROTOCOL + 1), format!("this supervisor speaks {PROTOCOL}"));
    for text in ["misbehave 1", &theirs, &ours, "install both from one release"] {
        assert!(died.text("detail").contains(text), "no {text:?} in {}", died.raw());
    }
    assert_eq!(died.text("next"), "parked until it is started by command", "{}", died.raw());
    assert_accepts_and_answers(&bulkhead);
}

#[test]
fn workers_that_never_become_ready_are_ended_and_said_to_have_been_silent() {
    let command = |way| format!("command = [{:?}, {way:?}]", misbehave().to_str().unwrap());
    let config = format!(
        "restart.limit = 1\n[analytics]\n{}\n[api]\n{}\n",
        command("says-nothing"),
        command("says-hello-and-no-more")
    );
    let bulkhead = Home::new(&config).begin();
    for (worker, what) in [("analytics", "it never said hello"), ("api", "but never that it is ready")] {
        let died = death(&bulkhead, worker);
        assert_eq!(died.text("cause"), "handshake", "{}", died.raw());
        assert!(died.text("detail").contains(what), "{}", died.raw());
    }
}

#[test]
fn a_worker_that_closes_all_its_pipes_is_left_alone_and_wakes_nobody() {
    let bulkhead =
        service("analytics", "closes-all-pipes-at-work", "stop_timeout = \"50ms\"\nhang_timeout = \"1h\"\n");
    bulkhead.log().from_start().wait_for_worker("worker_activated", "analytics");
    let pid = bulkhead.pid_of("analytics");
    eventually(bulkhead.log(), "its pipes to be closed", || {
        let pipe = |(_, target): &(i32, process::FDTarget)| matches!(target, process::FDTarget::Pipe(_));
        !process::fds(pid).iter().any(pipe)
    });
    assert_accepts_and_answers(&bulkhead);
    // A closed pipe is readable for ever: whoever watches it without end never sleeps.
    let mut before = process::cpu_ticks(bulkhead.pid());
    eventually(bulkhead.log(), "the supervisor to be asleep", || {
        assert!(!bulkhead.log().ends_within(std::time::Duration::from_millis(500)));
        let now = process::cpu_ticks(bulkhead.pid());
        std::mem::replace(&mut before, now) == now
    });
    let said = bulkhead.say(&["stop", "analytics"]);
    assert_eq!(said.code, Some(0), "{said:?}");
}

/// A service whose honest analysis has worked, and was replaced by one that misbehaves.
fn service_with_a_past(way: &str) -> Bulkhead {
    let home = Home::new("");
    let program = home.link("analysis", &binaries::find(binaries::ANALYTICS));
    let config =
        format!("[analytics]\ncommand = [{:?}, {way:?}]\nmax_series = 16\n", program.to_str().unwrap());
    std::fs::write(home.path("bulkhead.toml"), config).unwrap();
    let bulkhead = home.start();
    for _ in 0..20 {
        assert_eq!(bulkhead.client().post_events(r#"{"series":"s","value":1}"#).unwrap().status, 202);
    }
    bulkhead.settled();
    assert_eq!(bulkhead.client().json("/v1/series/s")["count"], 20);
    bulkhead.home().link("analysis", &misbehave());
    let said = bulkhead.say(&["restart", "analytics"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    bulkhead
}

/// Whatever the memory says, nobody is left without an answer, and none of them is a failure of the API's own.
fn assert_all_routes_answer(bulkhead: &Bulkhead) {
    let client = bulkhead.client();
    for path in [
        "/v1/stats",
        "/v1/series",
        "/v1/series/s",
        "/v1/workers",
        "/v1/crashes",
        "/v1/quarantine",
        "/livez",
        "/healthz",
        "/readyz",
    ] {
        let answer = client.get(path).unwrap();
        assert!(matches!(answer.status, 200 | 503), "GET {path}: {answer:?}");
    }
    let answer = client.post_events(r#"{"series":"s","value":1}"#).unwrap();
    assert!(matches!(answer.status, 202 | 503), "{answer:?}");
    assert_eq!(bulkhead.say(&["status", "--json"]).code, Some(0));
}

#[test]
fn an_analysis_that_scribbles_over_all_its_memory_stops_neither_reads_nor_writes() {
    let bulkhead = service_with_a_past("scribbles");
    bulkhead.log().from_start().wait_for("the scribbling", |line| line.raw().contains("scribbled"));
    let api = bulkhead.pid_of("api");
    for _ in 0..100 {
        assert_all_routes_answer(&bulkhead);
        assert_eq!(bulkhead.client().json("/v1/series/s")["count"], 20, "the last good copy");
    }
    assert_eq!(bulkhead.pid_of("api"), api, "the API did not die of it");
    // A successor of the API finds the same memory.
    process::signal(api, process::Signal::SIGKILL);
    let mut story = bulkhead.log().from_now();
    story.wait_for_worker("worker_activated", "api");
    for _ in 0..50 {
        assert_all_routes_answer(&bulkhead);
    }
    let answer = bulkhead.client().get("/v1/series/s").unwrap();
    assert_eq!(
        answer.status, 503,
        "no copy is left, but that there is no such series is not known: {answer:?}"
    );
}

#[test]
fn an_analysis_that_scribbles_and_dies_is_explained_and_an_orderly_stop_still_ends() {
    let bulkhead = service_with_a_past("scribbles-and-dies");
    let mut story = bulkhead.log().from_start();
    let died = story.wait_for("the death by SIGABRT", |line| {
        line.tells("worker_died", "analytics") && line.text("detail").contains("SIGABRT")
    });
    assert_eq!(died.text("cause"), "signal", "{}", died.raw());
    // The honest one is back, and says that it cannot go on from such memory.
    bulkhead.home().link("analysis", &binaries::find(binaries::ANALYTICS));
    story.wait_for("the honest one's word", |line| {
        line.text("worker") == "analytics" && line.raw().contains("does not verify")
    });
    assert_all_routes_answer(&bulkhead);
    let stopped = bulkhead.stop(process::Signal::SIGTERM);
    assert_eq!(stopped.status.code(), Some(1), "{}", stopped.log.dump());
    stopped.log.from_start().wait_for("why nothing was saved", |line| {
        line.is("supervisor_stopped") && line.raw().contains("nothing was saved")
    });
}

#[test]
fn a_commit_in_the_name_of_another_generation_changes_nothing_for_anybody() {
    let bulkhead = service_with_a_past("signs-as-another");
    bulkhead.log().from_start().wait_for("its commit", |line| line.raw().contains("signed as another"));
    assert_all_routes_answer(&bulkhead);
    assert_eq!(bulkhead.client().json("/v1/series/s")["count"], 20);
    bulkhead.home().link("analysis", &binaries::find(binaries::ANALYTICS));
    let said = bulkhead.say(&["restart", "analytics"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    let assert_all_counted = |bulkhead: &Bulkhead| {
        let stats = bulkhead.settled();
        assert_eq!((&stats["accepted"], &stats["analysed"]), (&21.into(), &21.into()), "{stats}");
        assert_eq!(bulkhead.client().json("/v1/series/s")["count"], 21);
        assert!(stats["analytics"][0]["generation"].as_u64() < Some(10), "{stats}");
    };
    assert_all_counted(&bulkhead);
    let stopped = bulkhead.stop(process::Signal::SIGTERM);
    assert!(stopped.status.success(), "{}", stopped.log.dump());
    assert_all_counted(&stopped.home.start());
}

#[test]
fn a_flood_of_hostile_output_is_cut_counted_and_keeps_nobody_waiting() {
    let config = format!(
        "[[worker]]\nname = \"loud\"\ncommand = [{:?}, \"floods-its-output\"]\n",
        misbehave().to_str().unwrap()
    );
    let bulkhead = Home::new(&config).start();
    let mut story = bulkhead.log().from_start();
    story.wait_for_worker("worker_started", "loud");
    assert_accepts_and_answers(&bulkhead);
    story.wait_for("word of what was dropped", |line| line.raw().contains("lines dropped"));
    story.wait_for("the end of the flood", |line| line.raw().contains("the flood is over"));
    assert_accepts_and_answers(&bulkhead);
    let deaths = bulkhead.log().all(|line| line.is("worker_died"));
    assert!(deaths.is_empty(), "a line of a worker's passed for the supervisor's: {deaths:?}");
    let hidden = |line: &Line| line.raw().contains(|character: char| character.is_control());
    let hidden = bulkhead.log().all(hidden);
    assert!(hidden.is_empty(), "it reaches the terminal: {:?}", hidden[0].raw());
    let resident = Footprint::of(bulkhead.pid()).resident;
    assert!(resident < MOST_RESIDENT, "the supervisor has grown to {resident} KiB");
}

/// An analysis that dies of an event of this series, with a report that can be read; what it says.
fn loud_death(series: &str) -> serde_json::Value {
    let bulkhead = service("analytics", "dies-loudly", "");
    bulkhead.log().from_start().wait_for_worker("worker_activated", "api");
    let report = crate::crashes::next_report(&bulkhead, "analytics", || {
        let body = format!(r#"{{"series":{series:?},"value":1}}"#);
        assert_eq!(bulkhead.client().post_events(&body).unwrap().status, 202);
    });
    assert_accepts_and_answers(&bulkhead);
    assert_eq!((&report["cause"], &report["event"]["series"]), (&"panic".into(), &series.into()), "{report}");
    let shown = bulkhead.say(&["crashes", "1"]);
    assert_eq!(shown.code, Some(0), "{shown:?}");
    let hidden = |character: char| character.is_control() && character != '\n';
    assert!(!shown.out.contains(hidden), "it reaches the terminal: {shown:?}");
    for line in report["output"].as_array().unwrap() {
        let text = line["text"].as_str().unwrap();
        assert!(text.len() <= MAX_LINE && !text.contains(char::is_control), "{text:?}");
    }
    let resident = Footprint::of(bulkhead.pid()).resident;
    assert!(resident < MOST_RESIDENT, "the supervisor has grown to {resident} KiB");
    report
}

#[test]
fn a_panic_with_10_mb_of_terminal_escapes_is_cut_and_shown_harmlessly() {
    let report = loud_death("s");
    let message = report["panic"]["message"].as_str().unwrap();
    assert!(message.len() > 1000 && message.len() <= 1024, "{}", message.len());
    assert!(message.starts_with("\u{1b}[31m"), "the very text, in JSON: {message:?}");
    let detail = report["detail"].as_str().unwrap();
    assert!(
        detail.starts_with(r#""\u{1b}[31m"#) && detail.contains("…\" at ") && detail.contains("thread"),
        "{detail}"
    );
    let output = report["output"].to_string();
    assert!(output.contains("xff\\\\xfe\\\\u{1b}[2J no text"), "{output}");
}

#[test]
fn a_panic_whose_payload_is_no_text_is_explained_as_one() {
    let report = loud_death("bytes");
    assert_eq!(report["panic"]["message"], "a payload that is no text", "{report}");
}

#[test]
fn a_flood_before_a_death_is_dropped_and_counted_and_the_report_still_tells_why() {
    let report = loud_death("flood");
    assert_eq!(report["panic"]["message"], "after a flood", "{report}");
    assert!(report["output_dropped"].as_u64().unwrap() > 50_000, "{}", report["output_dropped"]);
    assert_eq!(report["output"].as_array().unwrap().len(), 50);
}
