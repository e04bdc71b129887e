//! One test for each kind of mistake in a configuration file.

use super::check;

macro_rules! mistakes {
    ($($name:ident: $text:expr;)*) => {
        $(#[test]
        fn $name() {
            let output = check($text);
            assert!(output.starts_with("exit code 2\n"), "{output}");
            insta::assert_snapshot!(output);
        })*
    };
}

mistakes! {
    all_mistakes_are_reported_at_once: r#"
# A first attempt.
[api]
lissten = "127.0.0.1:8080"
max_body = "64MB"

[restart]
initial = "30s"
max = "10 sec"
limit = "10"

[faults]
enabled = "true"

[[worker]]
name = "My Collector"
"#;

    an_unknown_key_gets_a_suggestion: "[api]\nlissten = \"127.0.0.1:80\"\n";
    an_unknown_key_without_a_similar_one_gets_the_list_of_keys: "[faults]\nzebra = true\n";
    an_unknown_section_gets_a_suggestion: "[analytic]\nmax_series = 1\n";
    a_key_in_the_wrong_section_gets_the_full_name: "capacity = \"64MiB\"\n";

    a_duration_without_a_unit: "restart.max = \"5\"\n";
    a_duration_with_a_wrong_unit: "restart.max = \"5 sec\"\n";
    a_duration_that_is_a_number: "restart.max = 5\n";
    a_duration_out_of_range: "restart.max = \"25h\"\n";
    a_size_with_a_wrong_unit: "link.capacity = \"64MB\"\n";
    a_size_that_is_a_number: "api.max_body = 4194304\n";
    a_size_out_of_range: "link.capacity = \"1MiB\"\n";
    a_capacity_that_is_not_a_power_of_two: "link.capacity = \"48MiB\"\n";

    a_number_in_quotes: "restart.limit = \"10\"\n";
    a_number_out_of_range: "[analytics]\nmax_series = -1\n";
    a_flag_in_quotes: "faults.enabled = \"true\"\n";
    a_flag_that_is_a_number: "faults.enabled = 1\n";
    a_number_instead_of_a_string: "state_dir = 5\n";
    a_command_that_is_not_a_list: "api.command = \"my-api --fast\"\n";
    an_argument_that_is_not_a_string: "api.command = [\"my-api\", \"--port\", 80]\n";
    an_empty_command: "api.command = []\n";
    a_variable_that_is_not_a_string: "api.env = { LEVEL = 3 }\n";
    a_section_that_is_a_value: "api = \"127.0.0.1:8080\"\n";
    a_misspelt_value: "log.level = \"warning\"\n";

    an_address_without_a_port: "api.listen = \"127.0.0.1\"\n";
    a_path_with_a_tilde: "state_dir = \"~/x\"\napi.token_file = \"~/t\"\napi.cwd = \"$HOME\"\napi.command = [\"~/run.sh\"]\n";
    a_hang_timeout_of_a_plain_worker: "[[worker]]\nname = \"a\"\ncommand = [\"collector\"]\nhang_timeout = \"5s\"\n";
    a_key_of_another_section_in_a_plain_worker: "[[worker]]\nname = \"a\"\ncommand = [\"collector\"]\nmax_attempts = 3\n";
    a_worker_whose_name_is_an_option: "[[worker]]\nname = \"-x\"\ncommand = [\"collector\"]\n";
    a_socket_with_a_relative_path: "api.listen = \"unix:api.sock\"\n";
    listening_beyond_loopback_without_a_token: "[api]\nlisten = \"0.0.0.0:8080\"\n";
    listening_beyond_loopback_with_insecure_false: "[api]\ninsecure = false\n\nlisten = \"[::]:8080\"\n";
    more_connections_per_address_than_in_total:
        "[api]\nmax_connections = 100\nmax_connections_per_address = 200\n";
    more_connections_per_address_than_the_default_total: "api.max_connections_per_address = 5000\n";
    an_event_larger_than_any: "api.max_event = \"2MiB\"\n";
    an_event_too_large_for_the_ring: "[api]\nmax_event = \"1MiB\"\n\n[link]\ncapacity = \"8MiB\"\n";
    an_initial_delay_above_the_maximum: "[restart]\ninitial = \"10s\"\nmax = \"1s\"\n";
    an_initial_delay_above_the_default_maximum: "restart.initial = \"11s\"\n";

    two_workers_with_the_same_name:
        "[[worker]]\nname = \"one\"\ncommand = [\"collector\"]\n\n[[worker]]\nname = \"one\"\ncommand = [\"collector\"]\n";
    a_worker_with_a_reserved_name: "[[worker]]\nname = \"api\"\ncommand = [\"collector\"]\n";
    a_worker_with_an_invalid_name: "[[worker]]\nname = \"Collector 1\"\ncommand = [\"collector\"]\n";
    a_worker_without_a_name_and_a_command: "\n[[worker]]\ncwd = \"/\"\n";
    a_single_bracket_before_worker: "[worker]\nname = \"one\"\ncommand = [\"collector\"]\n";
    a_variable_that_is_set_and_passed_on:
        "[api]\nenv = { TZ = \"UTC\", LEVEL = \"3\" }\npass_env = [\"HOME\", \"LEVEL\"]\n";
    a_variable_with_a_nul: "api.env = { A = \"b\\u0000c\" }\n";
    a_variable_with_an_invalid_name: "api.env = { \"A=B\" = \"c\" }\n";
    a_variable_that_the_supervisor_sets: "analytics.env = { BULKHEAD_FDS = \"3\" }\n";

    a_reserved_key: "[analytics]\ninstances = 2\n";
    a_reserved_section: "[history]\nkeep = \"30d\"\n";
    a_reserved_value: "[link]\ntransport = \"socket\"\ndurability = \"disk\"\n";

    an_unterminated_string: "state_dir = \"/var/lib/bulkhead\n[api]\nmax_body = \"1MiB\"\n";
    a_value_without_quotes: "[api]\nlisten = 127.0.0.1:8080\n";
    a_key_without_a_value: "[restart]\nmax =\nlimit = 3\n";
    a_duplicate_key: "[restart]\nlimit = 3\nlimit = 4\n";
    an_unterminated_section: "[restart\nlimit = 3\n";
    an_unterminated_list: "api.command = [\"my-api\",\n\n[restart]\nlimit = 3\n";
    json_instead_of_toml: "{\"api\": {\"listen\": \"127.0.0.1:80\"}}\n";
    terminal_escapes_in_the_text: "state_dir = \"\u{1b}[2J\"\n\"\u{1b}[31m\" = 1\n";
}
