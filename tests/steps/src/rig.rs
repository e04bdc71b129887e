//! Steps through a scenario and judges every distinct image of the memory.

use crate::{
    image::{Image, torn},
    scenario::{History, Scenario, Witness},
    tracee::Tracee,
    world::World,
};
use anyhow::{Context as _, Result, ensure};
use std::path::Path;

/// What was done.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    /// Instructions.
    pub steps: usize,
    /// Distinct images among them.
    pub images: usize,
    /// Torn forms of steps that changed several words at once.
    pub torn: usize,
}

/// The images of one scenario, judged one by one.
struct Bench<'a> {
    scenario: &'a dyn Scenario,
    history: History,
    copy: World,
    /// How far the operation had come at the last image.
    stage: usize,
    witness: Option<Witness>,
    tally: Tally,
}

impl Bench<'_> {
    fn judge(&mut self, image: &Image) -> Result<()> {
        self.copy.restore(image);
        let stage = self.scenario.judge(&self.copy, &self.history)?;
        ensure!(self.stage <= stage, "it had come to stage {}, and went back to {stage}", self.stage);
        self.stage = stage;
        Ok(())
    }

    fn changed(&mut self, former: &Image, image: &Image) -> Result<()> {
        for torn in torn(former, image) {
            self.tally.torn += 1;
            self.judge(&torn).context("torn in the midst of the step")?;
        }
        self.tally.images += 1;
        self.judge(image)?;
        if let Some(witness) = &mut self.witness {
            let witnessed = witness(&self.history).context("who had looked before")?;
            ensure!(witnessed == self.stage, "who had looked before sees {witnessed}, not {}", self.stage);
        }
        Ok(())
    }
}

/// Steps through a scenario, with `program` as the child.
///
/// # Errors
/// When a single image is wrong: with the step, and what is wrong.
pub fn run(program: &Path, scenario: &dyn Scenario) -> Result<Tally> {
    step_through(program, scenario).with_context(|| format!("scenario {}", scenario.name()))
}

fn step_through(program: &Path, scenario: &dyn Scenario) -> Result<Tally> {
    let mut live = World::new(scenario.body())?;
    let history = scenario.prepare(&live)?;
    let mut image = live.windows.image();
    let mut bench = Bench {
        copy: World::new(scenario.body())?,
        witness: scenario.witness(&live)?,
        scenario,
        history,
        stage: 0,
        tally: Tally::default(),
    };
    let child = Tracee::start(program, scenario.name(), live.bequeath(scenario.role())?, &[])?;
    // What the child did before its mark counts as well: a death there is one like any other.
    live.windows.refresh(&mut image);
    bench.judge(&image).context("before the first step")?;
    let beyond = live.windows.beyond();
    bench.tally.steps = child.step_through(|_| match live.windows.refresh(&mut image) {
        Some(former) => bench.changed(&former, &image),
        None => Ok(()),
    })?;
    ensure!(live.windows.beyond() == beyond, "something was written that nobody looked at");
    let last = scenario.last_stage();
    ensure!(bench.stage == last, "it came to stage {} of {last}", bench.stage);
    child.finish()?;
    Ok(bench.tally)
}
