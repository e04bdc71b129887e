//! The test that each analysis of your own should have.

use super::Weather;
use bulkhead_worker_analytics::{Event, check_state};

#[test]
fn the_state_of_a_station_survives_a_crash_after_each_event() {
    let humid = Event { data: Some(r#"{"humidity":0.5}"#), ..Event::new("weather.roof", 25.0) };
    assert_eq!(check_state(&Weather, &[humid, Event::new("weather.roof", 21.0)]), Ok(()));
}
