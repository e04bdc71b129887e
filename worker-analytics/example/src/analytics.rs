//! An analysis of your own: the mean temperature and the highest dew point of each weather station.
//!
//! Events come from `api.rs`. Each has the series `weather.STATION`, the temperature as its value, and the
//! humidity in its `data`.
#![forbid(unsafe_code)]

use bulkhead_worker_analytics::{Analysis, Event, run};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::process::ExitCode;

/// The analysis. Keep changing values in [`Station`], not here: only the state survives a crash.
struct Weather;

/// The state of one series, here of one station.
///
/// Bulkhead commits it together with the position in the event stream, and restores it after a crash, so that
/// every event counts exactly once. A field with `#[serde(default)]` can be added at any time. Raise `VERSION` below
/// with any other change.
#[derive(Default, Serialize, Deserialize)]
struct Station {
    readings: u64,
    celsius_sum: f64,
    /// In degrees Celsius; `None` until an event has a humidity.
    highest_dew_point: Option<f64>,
}

/// The `data` of an event: JSON that Bulkhead stores and passes on without interpreting it.
#[derive(Deserialize)]
struct Data {
    /// Relative humidity, 0 to 1.
    humidity: f64,
}

impl Analysis for Weather {
    type State = Station;
    const NAME: &'static str = "weather";
    const VERSION: u32 = 1;

    /// Must be deterministic: after a crash, the events since the last commit are applied again.
    fn apply(&self, station: &mut Station, event: &Event<'_>) {
        // Clients can also append events through `POST /v1/events`: without a temperature, or with other data. Those are
        // ignored. A panic here would be survived, too: Bulkhead restarts the worker, and quarantines an event that
        // kills it again and again.
        let Some(celsius) = event.value else { return };
        station.readings += 1;
        station.celsius_sum += celsius;
        if let Some(data) = event.data
            && let Ok(Data { humidity }) = serde_json::from_str(data)
        {
            let highest = station.highest_dew_point.unwrap_or(f64::MIN);
            station.highest_dew_point = Some(highest.max(dew_point(celsius, humidity)));
        }
    }

    /// The JSON object that `GET /v1/series/weather.STATION` returns.
    fn render<'a>(&'a self, series: &'a str, station: &'a Station) -> impl Serialize + 'a {
        json!({
            "series": series,
            "readings": station.readings,
            "mean_celsius": station.celsius_sum / station.readings as f64,
            "highest_dew_point": station.highest_dew_point,
        })
    }
}

/// The Magnus formula with the coefficients of Sonntag (1990). In degrees Celsius.
fn dew_point(celsius: f64, humidity: f64) -> f64 {
    let gamma = humidity.ln() + 17.62 * celsius / (243.12 + celsius);
    243.12 * gamma / (17.62 - gamma)
}

fn main() -> ExitCode {
    // `run` connects to the supervisor and returns when the supervisor stops this worker. Call nothing before
    // it.
    run(Weather)
}

#[cfg(test)]
mod tests;
