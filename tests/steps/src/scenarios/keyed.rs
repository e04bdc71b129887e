//! The API dies while it appends a request with a key: batch and key are there, or neither is.

use super::append::THREE;
use crate::{
    child::Region,
    datum::{batch, datum},
    recovery::Reached,
    scenario::{History, Scenario},
    world::{KEY_WINDOW, World},
};
use anyhow::{Context as _, Result, bail, ensure};
use bulkhead_proto::{
    shm::ring::{AppendOutcome, Appended, IdempotencyKey, KeyedRequest},
    wire::{ids::Seq, role::Role},
    worker::{fds::InheritedFds, link::ApiLink},
};

/// An append of [`THREE`] under a key, behind other requests with keys, each of which appended one datum.
struct Keyed {
    name: &'static str,
    /// How many requests with keys came before.
    before: u64,
    /// Which request the child sends; beyond those before, it is a new one.
    sends: u64,
    /// Whether the child also opens the link in its stepped part.
    attach: bool,
}

/// How often the log is gone around before most scenarios begin: once, and half of another time.
const AROUND: u64 = KEY_WINDOW + 1 + KEY_WINDOW / 2;

const fn new(name: &'static str, before: u64) -> Keyed {
    Keyed { name, before, sends: before, attach: false }
}

/// All of them.
pub(super) const ALL: &[&dyn Scenario] = &[
    &new("append_keyed_for_the_first_time", 0),
    &new(AROUND_THE_LOG, AROUND),
    &new("append_keyed_in_the_log's_last_place", KEY_WINDOW),
    &new("append_keyed_in_the_log's_first_place_again", KEY_WINDOW + 1),
    &Keyed { attach: true, ..new("append_keyed_with_attach", AROUND) },
    &Keyed { sends: AROUND - 1, ..new("append_keyed_a_repeat", AROUND) },
];

/// The one whose beginning and judgement a planted fault shares.
pub(super) const AROUND_THE_LOG: &str = "append_keyed_around_the_log";

/// The request that the child of [`AROUND_THE_LOG`] sends.
pub(super) fn request_around_the_log() -> Result<KeyedRequest> {
    request(AROUND)
}

fn request(number: u64) -> Result<KeyedRequest> {
    let key = IdempotencyKey::new(format!("key-{number}").as_bytes()).context("no key")?;
    Ok(KeyedRequest { key, digest: u128::MAX - u128::from(number) })
}

/// What the request of that number, of those before, was answered. One event without a key comes first.
const fn answered(number: u64) -> Appended {
    Appended { first: Seq(number + 2), last: Seq(number + 2) }
}

impl Keyed {
    /// Whether a successor knows exactly the last requests before, and answers them as they were; and the child's
    /// request, if `appended`.
    fn recalls(&self, api: &ApiLink, appended: Option<Appended>) -> Result<()> {
        let all = self.before + u64::from(appended.is_some());
        for number in 0..self.before {
            let wanted = (all - number <= KEY_WINDOW).then(|| answered(number));
            let found = api.find(&request(number)?)?;
            ensure!(found == wanted, "request {number} of {all}: {found:?}, wanted {wanted:?}");
        }
        if self.sends == self.before {
            let found = api.find(&request(self.sends)?)?;
            ensure!(found == appended, "the child's request: {found:?}, wanted {appended:?}");
        }
        ensure!(api.take_unreadable_keys() == 0, "a torn entry counts");
        Ok(())
    }

    /// The client sends its request again, to a service that went on for a while.
    fn retry(&self, api: &ApiLink, before: Option<Appended>) -> Result<()> {
        let outcome = api.append_keyed(&mut batch(THREE)?, request(self.sends)?)?;
        match (before, outcome) {
            (Some(before), AppendOutcome::Replayed(found)) if found == before => {}
            (None, AppendOutcome::Appended(_)) => {}
            _ => bail!("a retry of {before:?}: {outcome:?}"),
        }
        let again = api.append_keyed(&mut batch(THREE)?, request(self.sends)?)?;
        let (AppendOutcome::Appended(first) | AppendOutcome::Replayed(first)) = outcome;
        ensure!(
            again == AppendOutcome::Replayed(first),
            "the retry of a retry: {again:?} behind {outcome:?}"
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

    fn prepare(&self, world: &World) -> Result<History> {
        let mut history = History::default();
        history.continue_with(world, &[datum("BOS", 7, 64)], 0)?;
        let api = ApiLink::open_in_process(&world.memory)?;
        for number in 0..self.before {
            let datum = datum("ATL", u32::try_from(number)?, 56);
            let outcome = api.append_keyed(&mut batch(&[datum])?, request(number)?)?;
            ensure!(outcome == AppendOutcome::Appended(answered(number)), "{outcome:?}");
            history.data.push(datum);
            history.before.accepted += 1;
        }
        history.continue_with(world, &[], 2)?;
        history.data.extend(THREE);
        Ok(history)
    }

    fn act(&self, fds: &mut InheritedFds, region: &Region) -> Result<()> {
        let (mut batch, request) = (batch(THREE)?, request(self.sends)?);
        let outcome = if self.attach {
            region.run(|| Ok(ApiLink::open(fds)?.append_keyed(&mut batch, request)?))
        } else {
            let link = ApiLink::open(fds)?;
            region.run(|| Ok(link.append_keyed(&mut batch, request)?))
        }?;
        ensure!(matches!(outcome, AppendOutcome::Appended(_)) == (self.last_stage() == 1), "{outcome:?}");
        Ok(())
    }

    fn judge(&self, copy: &World, history: &History) -> Result<usize> {
        let Reached { accepted, committed } = history.before;
        let after = Reached { accepted: accepted + THREE.len(), committed };
        let api = ApiLink::open_in_process(&copy.memory)?;
        let there = api.tail().accepted == after.accepted as u64;
        let appended = Appended { first: Seq(accepted as u64 + 1), last: Seq(after.accepted as u64) };
        let appended = Some(appended).filter(|_| there);
        self.recalls(&api, appended)?;
        let stage = history.stage(copy, &[history.before, after][..=self.last_stage()])?;
        let before = if self.last_stage() == 1 { appended } else { Some(answered(self.sends)) };
        self.retry(&api, before).context("when its client sent it again")?;
        Ok(stage)
    }

    fn last_stage(&self) -> usize {
        usize::from(self.sends == self.before)
    }
}
