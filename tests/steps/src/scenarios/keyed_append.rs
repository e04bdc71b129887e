//! The API dies while it appends a request with a key. Afterwards both the batch and the key are there, or
//! neither is.

use super::append::THREE_EVENTS;
use crate::{
    child::Region,
    fixture::{KEY_WINDOW, MemoryFixture, SLOTS},
    recovery::EventCounts,
    scenario::{History, Scenario},
    test_event::{batch, test_event},
};
use anyhow::{Context as _, Result, bail, ensure};
use bulkhead_proto::{
    shm::ring::{AppendOutcome, Appended, IdempotencyKey, KeyedRequest},
    wire::{ids::Seq, role::Role},
    worker::{fds::InheritedFds, link::ApiLink},
};

/// An append of [`THREE_EVENTS`] under a key, after other keyed requests that appended one event each.
struct Keyed {
    name: &'static str,
    /// The number of keyed requests before.
    before: u64,
    /// The number of the request that the child sends. The first number that was not used before is a new
    /// request.
    sent_request: u64,
    /// Whether the child also opens the link within its region.
    attach: bool,
}

/// The number of requests before most scenarios begin: the key log has wrapped once and is half full again.
const AROUND: u64 = KEY_WINDOW + 1 + KEY_WINDOW / 2;

const fn new(name: &'static str, before: u64) -> Keyed {
    Keyed { name, before, sent_request: before, attach: false }
}

/// All scenarios of keyed appends.
pub(super) const ALL: &[&dyn Scenario] = &[
    &new("append_keyed_for_the_first_time", 0),
    &new(AROUND_THE_LOG, AROUND),
    &new("append_keyed_in_the_last_log_slot", KEY_WINDOW),
    &new("append_keyed_in_the_first_log_slot_again", KEY_WINDOW + 1),
    &Keyed { attach: true, ..new("append_keyed_with_attach", AROUND) },
    &Keyed { sent_request: AROUND - 1, ..new("append_keyed_a_repeat", AROUND) },
];

/// The scenario whose preparation and check a faulty scenario shares.
pub(super) const AROUND_THE_LOG: &str = "append_keyed_around_the_log";

/// The request that the child of [`AROUND_THE_LOG`] sends.
pub(super) fn request_around_the_log() -> Result<KeyedRequest> {
    request(AROUND)
}

fn request(number: u64) -> Result<KeyedRequest> {
    let key = IdempotencyKey::new(format!("key-{number}").as_bytes()).context("no key")?;
    Ok(KeyedRequest { key, digest: u128::MAX - u128::from(number) })
}

/// The answer to one of the earlier requests. One event without a key precedes them.
const fn answered(number: u64) -> Appended {
    Appended { first: Seq(number + 2), last: Seq(number + 2) }
}

impl Keyed {
    /// A successor must know exactly the last requests before, and answer them as before; also the child's
    /// request, if it was `appended`.
    fn check_known_requests(&self, api: &ApiLink, appended: Option<Appended>) -> Result<()> {
        let total = self.before + u64::from(appended.is_some());
        for number in 0..self.before {
            let expected = (total - number <= KEY_WINDOW).then(|| answered(number));
            let found = api.find(&request(number)?)?;
            ensure!(found == expected, "request {number} of {total}: {found:?}, expected {expected:?}");
        }
        if self.sent_request == self.before {
            let found = api.find(&request(self.sent_request)?)?;
            ensure!(found == appended, "the child's request: {found:?}, expected {appended:?}");
        }
        ensure!(api.take_unreadable_keys() == 0, "a torn entry is counted as unreadable");
        Ok(())
    }

    /// The client sends its request again, to a service that has continued for a while.
    fn retry(&self, api: &ApiLink, before: Option<Appended>) -> Result<()> {
        let outcome = api.append_keyed(&mut batch(THREE_EVENTS)?, request(self.sent_request)?)?;
        match (before, outcome) {
            (Some(before), AppendOutcome::Replayed(found)) if found == before => {}
            (None, AppendOutcome::Appended(_)) => {}
            _ => bail!("a retry of {before:?}: {outcome:?}"),
        }
        let repeated = api.append_keyed(&mut batch(THREE_EVENTS)?, request(self.sent_request)?)?;
        let (AppendOutcome::Appended(first) | AppendOutcome::Replayed(first)) = outcome;
        ensure!(
            repeated == AppendOutcome::Replayed(first),
            "the retry of a retry: {repeated:?} after {outcome:?}"
        );
        Ok(())
    }
}

impl Scenario for Keyed {
    fn name(&self) -> &'static str {
        self.name
    }

    fn role(&self) -> Role {
        Role::Api
    }

    fn prepare(&self, fixture: &MemoryFixture) -> Result<History> {
        let mut history = History::default();
        history.append_and_commit(fixture, &[test_event("BOS", 7, 64)], 0)?;
        let api = ApiLink::open_in_process(&fixture.memory)?;
        for number in 0..self.before {
            let event = test_event("ATL", u32::try_from(number)?, 56);
            let outcome = api.append_keyed(&mut batch(&[event])?, request(number)?)?;
            ensure!(outcome == AppendOutcome::Appended(answered(number)), "{outcome:?}");
            history.data.push(event);
            history.before.accepted += 1;
        }
        history.append_and_commit(fixture, &[], 2)?;
        history.data.extend(THREE_EVENTS);
        Ok(history)
    }

    fn execute(&self, fds: &mut InheritedFds, region: &Region) -> Result<()> {
        let (mut batch, request) = (batch(THREE_EVENTS)?, request(self.sent_request)?);
        let outcome = if self.attach {
            region.run(|| Ok(ApiLink::open(fds, SLOTS)?.append_keyed(&mut batch, request)?))
        } else {
            let link = ApiLink::open(fds, SLOTS)?;
            region.run(|| Ok(link.append_keyed(&mut batch, request)?))
        }?;
        ensure!(matches!(outcome, AppendOutcome::Appended(_)) == (self.last_stage() == 1), "{outcome:?}");
        Ok(())
    }

    fn check(&self, copy: &MemoryFixture, history: &History) -> Result<usize> {
        let EventCounts { accepted, committed } = history.before;
        let after = EventCounts { accepted: accepted + THREE_EVENTS.len(), committed };
        let api = ApiLink::open_in_process(&copy.memory)?;
        let there = api.tail().accepted == after.accepted as u64;
        let appended = Appended { first: Seq(accepted as u64 + 1), last: Seq(after.accepted as u64) };
        let appended = Some(appended).filter(|_| there);
        self.check_known_requests(&api, appended)?;
        let stage = history.stage(copy, &[history.before, after][..=self.last_stage()])?;
        let before = if self.last_stage() == 1 { appended } else { Some(answered(self.sent_request)) };
        self.retry(&api, before).context("when its client sent it again")?;
        Ok(stage)
    }

    fn last_stage(&self) -> usize {
        usize::from(self.sent_request == self.before)
    }
}
