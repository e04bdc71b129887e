//! The configuration through its public functions.

use super::*;
use bulkhead_proto::{wire::role::Role, worker::settings::Limits};
use proptest::{
    collection::vec,
    prelude::*,
    sample::{Index, select},
};
use std::{ffi::OsString, time::Duration};

fn read(text: &str) -> Result<Config, String> {
    parse(text, Source::File("t.toml".into()), &Overrides::default()).map_err(|error| error.to_string())
}

fn errors(text: &str) -> String {
    read(text).unwrap_err()
}

#[test]
fn an_empty_configuration_has_the_documented_defaults() {
    let config = read("").unwrap();
    assert_eq!(config.state_dir, Path::new("bulkhead-state"));
    assert_eq!(config.listen.to_string(), "127.0.0.1:8080");
    assert_eq!((config.max_body, config.max_series, config.ring_capacity), (4 << 20, 100_000, 64 << 20));
    assert!(!config.policy.faults);
    assert_eq!((config.policy.initial, config.policy.max), (Duration::ZERO, Duration::from_secs(10)));
    assert_eq!((config.policy.limit, config.policy.period), (10, Duration::from_secs(30)));
    let workers: Vec<_> =
        config.workers.iter().map(|w| (w.name.as_str(), w.role, w.command[0].as_str())).collect();
    assert_eq!(
        workers,
        [("api", Role::Api, "bulkhead-api"), ("analytics", Role::Analytics, "bulkhead-analytics")]
    );
}

#[test]
fn the_commented_default_file_equals_the_defaults() {
    let text = include_str!("../../../deploy/bulkhead.toml");
    assert_eq!(read(text).unwrap(), read("").unwrap());
    // Lines of the form "#key = value" are examples, or defaults that depend on the machine. They must be valid too.
    let shown: String = text
        .lines()
        .map(|line| {
            line.strip_prefix('#')
                .filter(|rest| rest.starts_with(|c: char| c.is_ascii_lowercase() || c == '['))
                .unwrap_or(line)
                .to_owned()
                + "\n"
        })
        .collect();
    let (config, report, diagnostics) = parse_text(shown, Source::Defaults, &Overrides::default());
    assert!(report.ok() && config.workers.len() == 3, "the example of a plain worker: {report}");
    // `diagnostics` has all keys that were read, and the positions of those that were found.
    let missing = |name: &String| {
        diagnostics.span_of(name).or(diagnostics.span_of(&name.replace("worker.", "worker[0]."))).is_none()
    };
    let missing: Vec<String> = diagnostics.known_keys().into_iter().filter(missing).collect();
    assert!(missing.is_empty(), "not in deploy/bulkhead.toml: {missing:?}");
}

#[test]
fn an_invalid_key_causes_no_second_problem() {
    for text in
        ["restart = { initial = \"1h\", max = 5 }", "api = { listen = \"0.0.0.0:1\", token_file = 1 }"]
    {
        assert_eq!(errors(text).lines().count(), 1, "{}", errors(text));
    }
}

#[test]
fn an_empty_variable_counts_as_unset() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let dir = Path::new("/start");
    let (config, _) = load(Some(file.path()), &|_| Some(OsString::new()), dir).unwrap();
    assert_eq!(config, read("").unwrap().in_directory(dir));
}

#[test]
fn a_path_in_the_environment_need_not_be_utf_8() {
    use std::os::unix::ffi::OsStringExt as _;
    let odd = OsString::from_vec(b"/\xff".to_vec());
    let file = tempfile::NamedTempFile::new().unwrap();
    let (config, _) =
        load(Some(file.path()), &|name| (name == "BULKHEAD_STATE_DIR").then(|| odd.clone()), Path::new(""))
            .unwrap();
    assert_eq!(config.state_dir, Path::new(&odd));
}

#[test]
fn the_systemd_credential_is_the_default_token_file() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("c.toml");
    std::fs::write(&file, "").unwrap();
    let variable = |name: &str| (name == "CREDENTIALS_DIRECTORY").then(|| dir.path().into());
    assert_eq!(load(Some(&file), &variable, Path::new("")).unwrap().0.token_file, None);
    std::fs::write(dir.path().join("token"), "correct-horse-battery-staple").unwrap();
    assert_eq!(
        load(Some(&file), &variable, Path::new("")).unwrap().0.token_file,
        Some(dir.path().join("token"))
    );
    let other = dir.path().join("other");
    std::fs::write(&other, "another-token-of-some-length").unwrap();
    std::fs::write(&file, format!("api.token_file = {other:?}")).unwrap();
    assert_eq!(load(Some(&file), &variable, Path::new("")).unwrap().0.token_file, Some(other));
}

#[test]
fn every_key_has_an_effect() {
    let config = read(
        r#"
        state_dir = "/s"
        [log]
        format = "json"
        level = "debug"
        [api]
        listen = "unix:/run/api.sock"
        max_body = "1MiB"
        max_event = "512KiB"
        token_file = "/t"
        max_connections = 7
        max_connections_per_address = 0
        request_timeout = "5s"
        idle_timeout = "2m"
        [analytics]
        command = ["/opt/mine", "--fast"]
        max_series = 10
        expire = "30d"
        max_attempts = 5
        stop_timeout = "3s"
        [link]
        capacity = "8MiB"
        [restart]
        initial = "1s"
        max = "1m"
        limit = 3
        period = "1m"
        [faults]
        enabled = true
        [[worker]]
        name = "one"
        command = ["sh", "-c", "true"]
        env = { A = "b" }
        pass_env = ["C"]
        cwd = "/"
        "#,
    )
    .unwrap();
    assert_eq!(config.state_dir, Path::new("/s"));
    assert_eq!(config.log.format, LogFormat::Json);
    assert_eq!(config.log.level, tracing::level_filters::LevelFilter::DEBUG);
    assert_eq!(config.listen, ListenAddr::Unix("/run/api.sock".into()));
    assert_eq!((config.max_body, config.max_series, config.ring_capacity), (1 << 20, 10, 8 << 20));
    assert_eq!(config.policy.max_attempts, 5);
    assert_eq!(config.expire, Some(Duration::from_secs(30 * 24 * 3600)));
    assert_eq!(
        config.limits,
        Limits {
            max_connections: 7,
            max_connections_per_address: 0,
            request_timeout_ms: 5_000,
            idle_timeout_ms: 120_000,
            max_event: 512 << 10,
        }
    );
    assert_eq!(config.token_file.as_deref(), Some(Path::new("/t")));
    assert_eq!((config.policy.limit, config.policy.faults), (3, true));
    assert_eq!(config.workers[1].command, ["/opt/mine", "--fast"]);
    assert_eq!(config.workers[1].stop_timeout, Duration::from_secs(3));
    let one = &config.workers[2];
    assert_eq!((one.name.as_str(), one.role), ("one", Role::Plain));
    assert_eq!((one.env["A"].as_str(), one.pass_env.as_slice()), ("b", &["C".to_owned()][..]));
    assert_eq!(one.cwd.as_deref(), Some(Path::new("/")));
}

#[test]
fn the_log_form_has_one_line_per_problem_with_its_position() {
    let text = "[api]\nlissten = \"x\"\nmax_body = 7\n[restart]\nmax = \"5 s\"\n";
    assert_eq!(
        errors(text),
        "t.toml:2:1: api.lissten: unknown key; not a key in api; did you mean listen?\n\
         t.toml:3:12: api.max_body: 7 is not a size; expected a size such as \"512KiB\", \"64MiB\" or \"1GiB\"\n\
         t.toml:5:7: restart.max: \"5 s\" is not a duration; expected a duration such as \"500ms\", \"5s\", \"2m\", \"1h\" or \"30d\"; \
         did you mean \"5s\"?"
    );
}

#[test]
fn reserved_keys_and_values_are_refused_as_not_supported() {
    for text in [
        "analytics.instances = 2",
        "link.transport = \"socket\"",
        "link.durability = \"disk\"",
        "[history]\nkeep = 3",
    ] {
        assert!(errors(text).contains("not supported in this version"), "{text}: {}", errors(text));
    }
}

#[test]
fn only_the_analysis_has_a_default_memory_limit() {
    let limits = |text: &str| -> Vec<Option<u64>> {
        let config = read(text).unwrap();
        config.workers.iter().map(|worker| worker.memory_limit).collect()
    };
    let worker = "[[worker]]\nname = \"w\"\ncommand = [\"x\"]\n";
    assert_eq!(limits(worker), [None, Some(1 << 30), None]);
    let all = format!(
        "api.memory_limit = \"2GiB\"\nanalytics.memory_limit = \"64MiB\"\n{worker}memory_limit = \"16MiB\""
    );
    assert_eq!(limits(&all), [Some(2 << 30), Some(64 << 20), Some(16 << 20)]);
    let too_small = errors("analytics.memory_limit = \"15MiB\"");
    assert!(too_small.contains("expected \"16MiB\" to \"16384GiB\""), "{too_small}");
}

#[test]
fn an_address_beyond_loopback_needs_a_token_or_insecure() {
    assert!(
        errors("api.listen = \"0.0.0.0:80\"")
            .contains("t.toml:1:14: api.listen: \"0.0.0.0:80\" can be reached")
    );
    assert!(read("api.listen = \"0.0.0.0:80\"\napi.insecure = true").is_ok());
    assert!(read("api.listen = \"0.0.0.0:80\"\napi.token_file = \"/t\"").is_ok());
    let overrides = Overrides { listen: Some("0.0.0.0:80".into()), ..Overrides::default() };
    let error = parse("", Source::Defaults, &overrides).unwrap_err().to_string();
    assert!(error.contains("the environment: BULKHEAD_API_LISTEN: \"0.0.0.0:80\""), "{error}");
}

#[test]
fn worker_names_are_unique_and_plain() {
    let worker = |name: &str| format!("[[worker]]\nname = \"{name}\"\ncommand = [\"x\"]\n");
    assert!(read(&worker("one")).is_ok());
    for name in ["", "api", "analytics", "Big", "a b", "ä", "-x"] {
        assert!(errors(&worker(name)).contains("worker[0].name"), "{name}");
    }
}

#[test]
fn values_out_of_range_are_refused() {
    for text in [
        "link.capacity = \"1MiB\"",
        "link.capacity = \"5MiB\"",
        "restart.limit = 0",
        "restart.limit = 65",
        "restart.period = \"25h\"",
        "analytics.max_series = -1",
        "analytics.expire = \"999ms\"",
        "analytics.max_attempts = 0",
        "analytics.max_attempts = 101",
        "analytics.command = []",
        "analytics.command = [\"\"]",
        "api.env = { \"A=B\" = \"c\" }",
        "restart.initial = \"11s\"",
    ] {
        assert!(read(text).is_err(), "{text}");
    }
}

#[test]
fn the_state_directory_is_known_despite_errors() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("t.toml");
    let dir = |variable: Option<&str>| {
        state_dir(&|name| match name {
            "BULKHEAD_CONFIG" => Some(file.clone().into_os_string()),
            "BULKHEAD_STATE_DIR" => variable.map(OsString::from),
            _ => None,
        })
    };
    assert_eq!(dir(Some("/data")), Path::new("/data"), "there is no such file");
    std::fs::write(&file, "state_dir = \"/one\"\n[api]\nlisten = 5\n[lnk").unwrap();
    assert_eq!(dir(None), Path::new("/one"));
    assert_eq!(dir(Some("/data")), Path::new("/data"));
}

#[test]
fn the_option_precedes_the_variable() {
    let dir = tempfile::tempdir().unwrap();
    let (one, two) = (dir.path().join("one"), dir.path().join("two"));
    std::fs::write(&one, "state_dir = \"/one\"").unwrap();
    std::fs::write(&two, "state_dir = \"/two\"").unwrap();
    let variable = |name: &str| (name == "BULKHEAD_CONFIG").then(|| two.clone().into_os_string());
    assert_eq!(load(Some(&one), &variable, Path::new("")).unwrap().0.state_dir, Path::new("/one"));
    assert_eq!(load(None, &variable, Path::new("")).unwrap().0.state_dir, Path::new("/two"));
    let missing =
        load(Some(Path::new("/nonexistent.toml")), &variable, Path::new("")).unwrap_err().to_string();
    assert!(missing.starts_with("/nonexistent.toml: cannot read"), "{missing}");
}

#[test]
fn the_environment_overrides_address_and_state_directory() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("c.toml");
    std::fs::write(&file, "state_dir = \"/file\"\napi.listen = \"127.0.0.1:1\"").unwrap();
    let variable = |name: &str| match name {
        "BULKHEAD_STATE_DIR" => Some("/env".into()),
        "BULKHEAD_API_LISTEN" => Some("127.0.0.1:2".into()),
        _ => None,
    };
    let (config, _) = load(Some(&file), &variable, Path::new("")).unwrap();
    assert_eq!(
        (config.state_dir.as_path(), config.listen.to_string().as_str()),
        (Path::new("/env"), "127.0.0.1:2")
    );
    let systemd = |name: &str| (name == "STATE_DIRECTORY").then(|| OsString::from("/var/lib/bulkhead:/x"));
    assert_eq!(load(Some(&file), &systemd, Path::new("")).unwrap().0.state_dir, Path::new("/file"));
    std::fs::write(&file, "").unwrap();
    assert_eq!(
        load(Some(&file), &systemd, Path::new("")).unwrap().0.state_dir,
        Path::new("/var/lib/bulkhead")
    );
}

/// Any text gives a configuration or a report that renders in every form.
fn assert_handled(text: &str) {
    if let Err(report) = parse(text, Source::File("t.toml".into()), &Overrides::default()) {
        assert!(!report.ok() && !report.to_string().is_empty());
        assert!(report.render(true).contains("error"));
        assert!(!report.render(false).contains('\u{1b}'));
        assert!(serde_json::to_string(&report.json()).unwrap().contains("message"));
    }
}

#[test]
fn deep_and_long_texts_are_handled() {
    for text in ["[", "a.", "{", "a=[", "a={b=", "\"", "'''", "é", "\r", "\u{feff}", "a=1\n", "[[worker]]\n"]
    {
        assert_handled(&text.repeat(20_000));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn any_text_is_handled(text in any::<String>()) {
        assert_handled(&text);
    }

    #[test]
    fn texts_that_look_like_toml_are_handled(words in vec(select(FRAGMENTS), 0..40)) {
        assert_handled(&words.concat());
    }

    #[test]
    fn the_default_file_with_random_changes_is_handled(
        changes in vec((any::<Index>(), 0..9_usize, vec(select(FRAGMENTS), 0..2)), 1..8),
    ) {
        let mut text: Vec<char> = include_str!("../../../deploy/bulkhead.toml").chars().collect();
        for (position, cut, insertion) in changes {
            let start = position.index(text.len());
            let end = (start + cut).min(text.len());
            text.splice(start..end, insertion.concat().chars());
        }
        assert_handled(&text.into_iter().collect::<String>());
    }
}

/// Pieces of texts that look like TOML.
const FRAGMENTS: &[&str] = &[
    "[",
    "]",
    "[[",
    "]]",
    "{",
    "}",
    "=",
    " = ",
    ".",
    ",",
    "#",
    "\n",
    "\r\n",
    "\r",
    " ",
    "\t",
    "\"",
    "'",
    "'''",
    "\"\"\"",
    "\\",
    "\\u0000",
    "\0",
    "\u{feff}",
    "\u{1b}",
    "é",
    "🦀",
    "api",
    "link",
    "restart",
    "worker",
    "listen",
    "env",
    "name",
    "command",
    "pass_env",
    "max",
    "limit",
    "transport",
    "\"one\"",
    "\"5 s\"",
    "\"0.0.0.0:1\"",
    "5",
    "-1",
    "1e9",
    "0x7",
    "nan",
    "true",
    "2026-11-22T00:00:00Z",
    "07:00",
];
