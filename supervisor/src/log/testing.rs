//! Tests look at what was logged on their own thread.

use super::{Format, Line};
use serde_json::Value;
use std::sync::{Arc, Mutex};
use tracing::{Event, Subscriber};
use tracing_subscriber::{
    layer::{Context, Layer, SubscriberExt as _},
    registry,
};

struct Gather(Arc<Mutex<Vec<Line>>>);

impl<S: Subscriber> Layer<S> for Gather {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        self.0.lock().unwrap().push(Line::of(event));
    }
}

/// What is logged while `act` runs.
pub(crate) fn lines(act: impl FnOnce()) -> Vec<Line> {
    let lines = Arc::new(Mutex::new(Vec::new()));
    tracing::subscriber::with_default(registry().with(Gather(Arc::clone(&lines))), act);
    std::mem::take(&mut *lines.lock().unwrap())
}

/// The one line that is logged, as people see it, without its time.
pub(super) fn pretty(act: impl FnOnce()) -> String {
    let line = Format::Pretty { colour: false }.render(&lines(act)[0]);
    line.split_once(' ').unwrap().1.to_owned()
}

/// The one line that is logged, as machines see it.
pub(super) fn json(act: impl FnOnce()) -> Value {
    serde_json::from_str(&lines(act)[0].to_json()).unwrap()
}
