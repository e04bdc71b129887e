//! A route of one's own: `POST /v1/readings` takes what weather stations send and appends it as events.
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
    /// Relative, 0 to 1.
    humidity: f64,
}

/// All of the readings are accepted or none; the errors (400, 413, 503) are those of `POST /v1/events`.
async fn readings(
    _: Authorized,
    State(api): State<ApiHandle>,
    Json(readings): Json<Vec<Reading>>,
) -> Result<(StatusCode, Json<Value>), AppendError> {
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
    let appended = api.append(&events)?;
    Ok((StatusCode::ACCEPTED, Json(json!({ "accepted": events.len(), "last_seq": appended.last }))))
}

fn main() -> ExitCode {
    serve(Router::new().route("/v1/readings", post(readings)))
}
