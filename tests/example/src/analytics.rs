//! An analysis of one's own: per weather station the mean temperature and the highest dew point, from value and `data`.
#![forbid(unsafe_code)]

use bulkhead_worker_analytics::{Analysis, Decode, Encode, Event, run};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::process::ExitCode;

struct Weather;

/// What is kept of a station. It survives every crash, together with the position in the stream of events.
#[derive(Default, Encode, Decode)]
#[bincode(crate = "bulkhead_worker_analytics::bincode")]
struct Station {
    readings: u64,
    celsius_sum: f64,
    highest_dew_point: Option<f64>,
}

#[derive(Deserialize)]
struct Data {
    humidity: f64,
}

impl Analysis for Weather {
    type State = Station;
    const NAME: &'static str = "weather";
    const VERSION: u32 = 1;

    fn apply(&self, station: &mut Station, event: &Event<'_>) {
        station.readings += 1;
        station.celsius_sum += event.value;
        if let Some(data) = event.data
            && let Ok(Data { humidity }) = serde_json::from_str(data)
        {
            let highest = station.highest_dew_point.unwrap_or(f64::MIN);
            station.highest_dew_point = Some(highest.max(dew_point(event.value, humidity)));
        }
    }

    fn render<'a>(&'a self, series: &'a str, station: &'a Station) -> impl Serialize + 'a {
        json!({
            "series": series,
            "readings": station.readings,
            "mean_celsius": station.celsius_sum / station.readings as f64,
            "highest_dew_point": station.highest_dew_point,
        })
    }
}

/// Magnus' formula, with the coefficients of Sonntag (1990).
fn dew_point(celsius: f64, humidity: f64) -> f64 {
    let gamma = humidity.ln() + 17.62 * celsius / (243.12 + celsius);
    243.12 * gamma / (17.62 - gamma)
}

fn main() -> ExitCode {
    run(Weather)
}
