//! Each rule is broken by an analysis of its own.

use super::*;
use crate::{Event, MAX_SERIES_BYTES};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::{cell::Cell, collections::HashMap, marker::PhantomData};

/// What an analysis of these tests does with an event; its state is `S`.
struct Rule<S, F>(F, PhantomData<S>);

/// The state `S` is changed by `rule`, which also gets a counter that only the process keeps. It is rendered as it is.
fn analysis<S, F: Fn(&mut S, &Event<'_>) + 'static>(rule: F) -> Rule<S, F> {
    Rule(rule, PhantomData)
}

impl<S, F> Analysis for Rule<S, F>
where
    S: Default + Serialize + serde::de::DeserializeOwned + 'static,
    F: Fn(&mut S, &Event<'_>) + 'static,
{
    type State = S;
    const NAME: &'static str = "rule";
    const VERSION: u32 = 1;

    fn apply(&self, state: &mut S, event: &Event<'_>) {
        (self.0)(state, event);
    }

    fn render<'a>(&'a self, _: &'a str, state: &'a S) -> impl Serialize + 'a {
        state
    }
}

#[derive(Default, Serialize, Deserialize)]
struct Sum {
    sum: f64,
    labels: HashMap<String, u64>,
}

fn add(state: &mut Sum, event: &Event<'_>) {
    state.sum += event.value.unwrap();
    *state.labels.entry(event.label.unwrap_or("none").to_owned()).or_default() += 1;
}

fn values(series: &str) -> Vec<Event<'_>> {
    (0..50).map(|value| Event::new(series, f64::from(value))).collect()
}

fn failure(checked: Result<BTreeMap<String, Value>, Failure>) -> String {
    checked.unwrap_err().to_string()
}

#[test]
fn a_sound_analysis_returns_what_readers_see() {
    let labels: Vec<_> = (0..40).map(|label| format!("label-{label}")).collect();
    let labelled = labels.iter().map(|label| Event { label: Some(label), ..Event::new("b", 1.0) });
    let events: Vec<_> = values("a").into_iter().chain(labelled).collect();

    let rendered = check(|| analysis(add), &events).unwrap();

    assert_eq!(rendered.keys().collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!(rendered["a"], json!({ "sum": 1225.0, "labels": { "none": 50 } }));
    assert_eq!(rendered["b"]["labels"]["label-39"], 1);
}

#[test]
fn a_field_that_cannot_be_stored_is_named() {
    #[derive(Default, Serialize, Deserialize)]
    struct Last {
        label: Option<Option<String>>,
    }
    let new = || analysis(|last: &mut Last, event| last.label = Some(event.label.map(str::to_owned)));
    let labelled = Event { label: Some("tea"), ..Event::new("s", 1.0) };
    assert!(check(new, &[labelled]).is_ok());
    let found = failure(check(new, &[labelled, Event::new("s", 2.0)]));
    let expected =
        "event 1 (counted from 0), series \"s\": the state cannot be stored: field `label`: `Some` of";
    assert!(found.starts_with(expected), "{found}");
}

#[test]
fn a_skipped_field_that_results_depend_on_is_found() {
    #[derive(Default, Serialize, Deserialize)]
    struct Difference {
        difference: f64,
        #[serde(skip)]
        before: f64,
    }
    let new = || {
        analysis(|state: &mut Difference, event| {
            let value = event.value.unwrap();
            *state = Difference { difference: value - state.before, before: value };
        })
    };
    let events = [1.0, 3.0].map(|value| Event::new("s", value));
    assert!(check(new, &events[..1]).is_ok());
    assert_eq!(
        failure(check(new, &events)),
        "event 1 (counted from 0), series \"s\": the state differs: \
         field `difference`: 2.0 is lost if the analysis is restarted after each event"
    );
}

#[test]
fn what_the_process_keeps_outside_the_state_is_found() {
    let new = || {
        let total = Cell::new(0.0);
        analysis(move |state: &mut Sum, event| {
            total.set(total.get() + event.value.unwrap());
            state.sum = total.get();
        })
    };
    let found = check(new, &values("s")).unwrap_err();
    assert!(matches!(found.problem, Problem::StateDiffers(_)) && found.event == 2, "{found}");
}

#[test]
fn an_analysis_that_is_not_deterministic_is_found() {
    thread_local!(static CALLS: Cell<f64> = const { Cell::new(0.0) });
    let new = || {
        analysis(|state: &mut Sum, _| {
            CALLS.set(CALLS.get() + 1.0);
            state.sum = CALLS.get();
        })
    };
    assert_eq!(
        failure(check(new, &[Event::new("s", 1.0)])),
        "event 0 (counted from 0), series \"s\": the state differs: \
         field `sum`: 1.0 is lost in a second run with the same events"
    );
}

#[test]
fn events_that_are_applied_twice_after_a_crash_are_found() {
    // The second application of an event is what an outside store with side effects would show.
    thread_local!(static SEEN: std::cell::RefCell<HashMap<u64, u64>> = std::cell::RefCell::default());
    let runs = Cell::new(0_u64);
    let new = || {
        runs.set(runs.get() + 1);
        // The first run, the second one, and one for each of the 50 events: then the random ones.
        let random = runs.get() > 53;
        analysis(move |state: &mut Sum, event| {
            let times = SEEN.with_borrow_mut(|seen| {
                let times = seen.entry(event.value.unwrap().to_bits()).or_default();
                *times += u64::from(random);
                *times
            });
            state.sum = if times > 1 { -1.0 } else { event.value.unwrap() };
        })
    };
    let found = failure(check(new, &values("s")));
    assert!(
        found.ends_with("the analysis crashes, and events since the last commit are applied again"),
        "{found}"
    );
}

#[test]
fn a_series_that_grows_beyond_its_place_is_found_at_the_event() {
    let new = || {
        analysis(|state: &mut HashMap<String, f64>, event| {
            let value = event.value.unwrap();
            state.insert("x".repeat(2_000_000) + &value.to_string(), value);
        })
    };
    let found = check(new, &values("s")).unwrap_err();
    let Problem::TooLarge { state, rendered } = found.problem else { panic!("{found}") };
    assert!(state + rendered > MAX_SERIES_BYTES && found.event == 4, "{found}");
}

#[test]
fn a_rendered_form_that_is_no_object_is_found() {
    let new = || analysis(|state: &mut Vec<f64>, event| state.push(event.value.unwrap()));
    let found = failure(check(new, &values("s")));
    assert_eq!(
        found,
        "event 0 (counted from 0), series \"s\": render must give a JSON object; it gave [0.0]"
    );
}

#[test]
fn an_event_that_the_api_refuses_is_found() {
    let found = failure(check(|| analysis(add), &[Event::new("s", f64::NAN)]));
    assert!(found.ends_with("the API would refuse this event: value is not finite"), "{found}");
}
