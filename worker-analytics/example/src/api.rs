//! A route of your own: `POST /v1/readings` converts the readings of weather stations and appends them as
//! events.
//!
//! All routes of Bulkhead's API stay available beside it.
#![forbid(unsafe_code)]

use bulkhead_worker_api::{
    ApiHandle, AppendError, Authorized, NewEvent,
    axum::{Json, Router, extract::State, http::StatusCode, routing::post},
    serve,
};
use serde::Deserialize;
use serde_json::{Value, json};
use std::process::ExitCode;

/// A reading as a station sends it.
#[derive(Deserialize)]
struct Reading {
    station: String,
    fahrenheit: f64,
    /// Relative humidity, 0 to 1.
    humidity: f64,
}

/// Accepts all of the readings or none.
///
/// `Authorized` requires the bearer token if the service is configured with one. `AppendError` becomes the
/// same error responses (400, 413, 503) as those of `POST /v1/events`.
async fn readings(
    _: Authorized,
    State(api): State<ApiHandle>,
    Json(readings): Json<Vec<Reading>>,
) -> Result<(StatusCode, Json<Value>), AppendError> {
    // `NewEvent` borrows its strings, so they are collected first.
    let converted: Vec<_> = readings
        .iter()
        .map(|reading| {
            let series = format!("weather.{}", reading.station);
            let celsius = (reading.fahrenheit - 32.0) / 1.8;
            (series, celsius, json!({ "humidity": reading.humidity }).to_string())
        })
        .collect();
    let events: Vec<_> =
        converted.iter().map(|(series, celsius, data)| NewEvent::new(series, *celsius).data(data)).collect();
    // Writes to shared memory and does not wait for the analysis. From here on the events survive a crash of
    // any worker.
    let appended = api.append(&events)?;
    Ok((StatusCode::ACCEPTED, Json(json!({ "accepted": events.len(), "last_seq": appended.last }))))
}

fn main() -> ExitCode {
    // `serve` connects to the supervisor and returns when the supervisor stops this worker. Call nothing
    // before it.
    serve(Router::new().route("/v1/readings", post(readings)))
}
