//! The route and the analysis of `worker-analytics/example`, run under the supervisor with its configuration.

use bulkhead_tests::{Home, process::Signal};

const CONFIG: &str = include_str!("../../worker-analytics/example/example.toml");

#[test]
fn an_own_route_and_an_own_analysis_survive_the_death_of_either() {
    let bulkhead = Home::new(CONFIG).start();
    let readings = |fahrenheit: f64| {
        let body = format!(r#"[{{"station":"roof","fahrenheit":{fahrenheit},"humidity":1}}]"#);
        bulkhead.client().post("/v1/readings", "application/json", &body).unwrap()
    };
    let answer = readings(50.0);
    assert_eq!((answer.status, &answer.json()["accepted"]), (202, &1.into()), "{answer:?}");
    bulkhead.settled();
    for worker in ["analytics", "api"] {
        let mut story = bulkhead.log().from_now();
        bulkhead.signal_worker(bulkhead.pid_of(worker), Signal::SIGKILL);
        story.wait_for_worker("worker_activated", worker);
    }
    assert_eq!(readings(68.0).status, 202);
    bulkhead.settled();

    let roof = bulkhead.client().json("/v1/series/weather.roof");

    assert_eq!(roof["readings"], 2, "{roof}");
    assert!((roof["mean_celsius"].as_f64().unwrap() - 15.0).abs() < 1e-9, "{roof}");
    // In saturated air the dew point is the temperature itself.
    assert!((roof["highest_dew_point"].as_f64().unwrap() - 20.0).abs() < 1e-9, "{roof}");
}

#[test]
fn bad_readings_are_refused_by_the_own_route() {
    let bulkhead = Home::new(CONFIG).start();
    let answer = bulkhead.client().post("/v1/readings", "application/json", r#"[{"station":1}]"#).unwrap();
    assert_eq!(answer.status / 100, 4, "{answer:?}");
    assert_eq!(bulkhead.client().json("/v1/stats")["accepted"], 0);
}
