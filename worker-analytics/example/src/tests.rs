//! The tests that each analysis of your own should have.

use super::Weather;
use bulkhead_worker_analytics::{Event, testing};

#[test]
fn a_station_has_a_mean_temperature_and_a_highest_dew_point() {
    let humid = Event { data: Some(r#"{"humidity":1}"#), ..Event::new("weather.roof", 25.0) };
    let no_temperature = Event::without_value("weather.roof", r#"{"humidity":1}"#);
    let events = [humid, no_temperature, Event::new("weather.roof", 21.0), Event::new("weather.cellar", 8.0)];

    // Also checks that the states survive crashes, that they are small enough, and more.
    let rendered = testing::check(|| Weather, &events).unwrap();

    let roof = &rendered["weather.roof"];
    assert_eq!((&roof["readings"], &roof["mean_celsius"]), (&2.into(), &23.0.into()));
    assert!((roof["highest_dew_point"].as_f64().unwrap() - 25.0).abs() < 1e-9, "{roof}");
    assert!(rendered["weather.cellar"]["highest_dew_point"].is_null());
}
