//! Captures log lines in tests.

use super::{format::Format, line::LogLine};
use serde_json::Value;
use std::sync::{Arc, Mutex};
use tracing::{Event, Subscriber};
use tracing_subscriber::{
    layer::{Context, Layer, SubscriberExt as _},
    registry,
};

struct CaptureLayer(Arc<Mutex<Vec<LogLine>>>);

impl<S: Subscriber> Layer<S> for CaptureLayer {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        self.0.lock().unwrap().push(LogLine::from_event(event));
    }
}

/// The lines that `act` logs on this thread.
pub(crate) fn capture_lines(act: impl FnOnce()) -> Vec<LogLine> {
    let lines = Arc::new(Mutex::new(Vec::new()));
    tracing::subscriber::with_default(registry().with(CaptureLayer(Arc::clone(&lines))), act);
    std::mem::take(&mut *lines.lock().unwrap())
}

/// The first line that `act` logs, in the format for people, without its time.
pub(super) fn capture_pretty(act: impl FnOnce()) -> String {
    let line = Format::Pretty { colour: false }.render(&capture_lines(act)[0]);
    line.split_once(' ').unwrap().1.to_owned()
}

/// The first line that `act` logs, as JSON.
pub(super) fn capture_json(act: impl FnOnce()) -> Value {
    serde_json::from_str(&capture_lines(act)[0].to_json()).unwrap()
}
