//! The custom route and the custom analysis of the example, run by the supervisor.

use bulkhead_tests::{Bulkhead, Fixture, process::Signal};

const CONFIG: &str = include_str!("../../worker-analytics/example/example.toml");

/// The service of the example, whose programs are in the directory of the other binaries.
fn start() -> Bulkhead {
    assert!(CONFIG.contains(r#"["target/release/bulkhead-example-"#), "{CONFIG}");
    Fixture::new(&CONFIG.replace("target/release/", "")).start()
}

#[test]
fn a_custom_route_and_a_custom_analysis_survive_the_death_of_either_worker() {
    let bulkhead = start();
    let readings = |fahrenheit: f64| {
        let body = format!(r#"[{{"station":"roof","fahrenheit":{fahrenheit},"humidity":1}}]"#);
        bulkhead.client().post("/v1/readings", "application/json", &body).unwrap()
    };
    let response = readings(50.0);
    assert_eq!((response.status, &response.json()["accepted"]), (202, &1.into()), "{response:?}");
    bulkhead.wait_until_committed();
    for worker in ["analytics", "api"] {
        let mut log = bulkhead.log().from_now();
        bulkhead.signal_worker(bulkhead.worker_pid(worker), Signal::SIGKILL);
        log.wait_for_worker("worker_activated", worker);
    }
    assert_eq!(readings(68.0).status, 202);
    bulkhead.wait_until_committed();

    let roof = bulkhead.client().get_json("/v1/series/weather.roof");

    assert_eq!(roof["readings"], 2, "{roof}");
    assert!((roof["mean_celsius"].as_f64().unwrap() - 15.0).abs() < 1e-9, "{roof}");
    // In saturated air, the dew point equals the temperature.
    assert!((roof["highest_dew_point"].as_f64().unwrap() - 20.0).abs() < 1e-9, "{roof}");
}

#[test]
fn a_custom_route_refuses_invalid_readings() {
    let bulkhead = start();
    let response = bulkhead.client().post("/v1/readings", "application/json", r#"[{"station":1}]"#).unwrap();
    assert_eq!(response.status / 100, 4, "{response:?}");
    assert_eq!(bulkhead.client().get_json("/v1/stats")["accepted"], 0);
}
