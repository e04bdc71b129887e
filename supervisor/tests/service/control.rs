//! The control socket with well-behaved and misbehaving clients.

use crate::harness::{Service, bulkhead, send_signal};
use serde_json::{Value, json};
use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    os::unix::net::UnixStream,
    process::{Command, Stdio},
    time::Duration,
};

/// Much longer than any reply takes. Only a failure waits until then.
const DEADLINE: Duration = Duration::from_secs(60);

fn connect(service: &Service) -> BufReader<UnixStream> {
    let stream = UnixStream::connect(service.socket()).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    BufReader::new(stream)
}

/// Sends a line. Returns the reply, and whether the supervisor then closes the connection.
fn send_line(service: &Service, line: &[u8]) -> (Value, bool) {
    let mut stream = connect(service);
    // The supervisor may refuse the line before all of it is written.
    let _ = stream.get_mut().write_all(line);
    let mut reply = String::new();
    stream.read_line(&mut reply).unwrap();
    let closed = matches!(stream.read(&mut [0]), Ok(0) | Err(_));
    (serde_json::from_str(&reply).unwrap_or_else(|error| panic!("{error}: {reply:?}")), closed)
}

fn ready_service() -> Service {
    let mut service = Service::start(&["sleep", "60"], "");
    service.wait_for("worker_ready", "one");
    service
}

#[test]
fn a_client_of_another_version_gets_both_versions() {
    let service = ready_service();
    let (reply, closed) = send_line(&service, b"{\"protocol\":2,\"command\":{\"dance\":[]}}\n");
    assert_eq!((&reply["protocol"], &reply["outcome"], closed), (&json!(1), &json!("refused"), true));
    let text = reply["text"].as_str().unwrap();
    assert!(text.contains("protocol 1, not 2"), "{text}");
}

#[test]
fn garbage_is_refused_and_the_connection_closed() {
    let service = ready_service();
    for line in [&b"GET / HTTP/1.1\r\n\r\n"[..], b"\xff\xfe\n", b"{\"protocol\":1}\n", b"[[[[\n", b"\n"] {
        let (reply, closed) = send_line(&service, line);
        assert_eq!((&reply["outcome"], closed), (&json!("refused"), true), "{reply}");
        assert!(reply["text"].as_str().unwrap().starts_with("invalid request"), "{reply}");
    }
}

#[test]
fn an_oversized_line_is_refused_with_the_limit() {
    let service = ready_service();
    let (reply, closed) = send_line(&service, &vec![b'x'; 1 << 20]);
    assert_eq!((&reply["outcome"], closed), (&json!("refused"), true));
    assert!(reply["text"].as_str().unwrap().contains("at most 4096 bytes"), "{reply}");
}

#[test]
fn one_connection_carries_many_commands() {
    let service = ready_service();
    let mut stream = connect(&service);
    for _ in 0..3 {
        stream.get_mut().write_all(b"{\"protocol\":1,\"command\":\"status\"}\n").unwrap();
        let mut reply = String::new();
        stream.read_line(&mut reply).unwrap();
        assert!(reply.contains("\"outcome\":\"done\""), "{reply}");
    }
}

#[test]
fn clients_that_never_read_delay_no_other_client() {
    let script = "while :; do echo noise noise noise noise; sleep 0.01; done";
    let mut service = Service::start(&["sh", "-c", script], "");
    service.wait_for("worker_ready", "one");
    let follow = "{\"protocol\":1,\"command\":{\"logs\":{\"follow\":true}}}\n";
    let idle: Vec<_> = (0..8)
        .map(|_| {
            let mut stream = connect(&service);
            stream.get_mut().write_all(follow.as_bytes()).unwrap();
            let mut reply = String::new();
            stream.read_line(&mut reply).unwrap();
            assert!(reply.contains("done"), "{reply}");
            stream
        })
        .collect();
    let (reply, _) = send_line(&service, b"{\"protocol\":1,\"command\":{\"logs\":{\"follow\":false}}}\n\n");
    assert_eq!(reply["outcome"], "conflict", "the number of log readers is limited: {reply}");
    assert_eq!(service.row("one")["state"], "running");
    assert!(service.command(&["restart", "one"]).status.success());
    drop(idle);
    assert_eq!(service.stop("TERM"), Some(0));
}

#[test]
fn a_second_supervisor_on_the_same_control_socket_is_refused() {
    let service = ready_service();
    let other = tempfile::tempdir().unwrap();
    let output = bulkhead(other.path())
        .arg("--socket")
        .arg(service.socket())
        .arg("run")
        .env("BULKHEAD_API_LISTEN", "127.0.0.1:0")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.contains("address in use") && text.contains("--socket"), "{text}");
    assert_eq!(service.row("one")["state"], "running", "the first supervisor is not affected");
}

#[test]
fn logs_are_selected_by_worker_number_and_format() {
    let mut service = Service::start(&["sh", "-c", "echo one; echo two >&2; exec sleep 60"], "");
    for text in ["one", "two"] {
        service.wait_for_line(|line| line["message"] == text);
    }
    let logs = |arguments: &[&str]| {
        let output = service.command(&[&["logs"], arguments].concat());
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let of_one = logs(&["one"]);
    assert!(of_one.contains("INFO worker_started: one generation"), "{of_one}");
    assert!(of_one.lines().last().unwrap().ends_with("stderr: two"), "{of_one}");
    assert!(!of_one.contains("listening"), "{of_one}");
    assert_eq!(logs(&["one", "-n", "1"]).lines().count(), 1);
    let own = logs(&["supervisor"]);
    assert!(
        own.contains("listening") && own.contains("worker_started: one") && !own.contains("two"),
        "{own}"
    );
    let last: Value = serde_json::from_str(&logs(&["--json", "-n1", "one"])).unwrap();
    assert!(service.lines().contains(&last), "the same object as in the log: {last}");
}

#[test]
fn logs_of_an_unknown_worker_list_the_known_ones() {
    let service = ready_service();
    let output = service.command(&["logs", "onne"]);
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.contains("did you mean \"one\"?") && text.contains("supervisor"), "{text}");
}

#[test]
fn following_ends_after_the_last_line_of_the_supervisor() {
    let mut service = ready_service();
    let mut follower = bulkhead(service.socket().parent().unwrap())
        .arg("--socket")
        .arg(service.socket())
        .args(["logs", "-f", "--json"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(follower.stdout.take().unwrap()).lines().map(Result::unwrap);
    lines.find(|line| line.contains("listening")).unwrap();
    assert_eq!(service.stop("TERM"), Some(0));
    assert!(lines.last().unwrap().contains("supervisor_stopped"));
    assert_eq!(follower.wait().unwrap().code(), Some(0));
}

#[test]
fn following_ends_with_success_on_ctrl_c() {
    let service = ready_service();
    let mut follower = bulkhead(service.socket().parent().unwrap())
        .arg("--socket")
        .arg(service.socket())
        .args(["logs", "-f"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    // Keep stdout open: a closed pipe would also end the command.
    let mut output = BufReader::new(follower.stdout.take().unwrap());
    output.read_line(&mut String::new()).unwrap();
    send_signal(&follower, "INT");
    assert_eq!(follower.wait().unwrap().code(), Some(0));
}

#[test]
fn a_closed_pipe_ends_the_command_without_an_error() {
    let mut service = Service::start(&["sh", "-c", "while echo noise; do sleep 0.01; done"], "");
    service.wait_for_line(|line| line["message"] == "noise");
    let program = env!("CARGO_BIN_EXE_bulkhead");
    let script = format!(
        "{program} --socket {} logs -f | head -n 2; echo ${{PIPESTATUS[0]}}",
        service.socket().display()
    );
    let output = Command::new("bash").args(["-c", &script]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!((text.lines().count(), text.lines().last()), (3, Some("0")), "{text}");
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// Starts a command, reads one line, and closes the pipe of its stdout. The command must end then.
fn assert_ends_with_its_reader(service: &Service, arguments: &[&str]) {
    let mut command = service.start_command(arguments);
    let mut first = String::new();
    let mut stdout = BufReader::new(command.stdout.take().unwrap());
    stdout.read_line(&mut first).unwrap();
    assert!(!first.is_empty());
    drop(stdout);
    assert_eq!(command.wait().unwrap().code(), Some(0), "{arguments:?}");
}

#[test]
fn commands_that_follow_end_with_their_reader() {
    let mut service = Service::start(&["sleep", "60"], "");
    service.wait_for("worker_ready", "one");
    for arguments in
        [&["status", "--watch"][..], &["status", "--watch", "--json"], &["logs", "-f", "-n", "1"]]
    {
        assert_ends_with_its_reader(&service, arguments);
    }
}
