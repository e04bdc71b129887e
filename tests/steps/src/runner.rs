//! The runner: steps through a scenario and checks every distinct image of the memory.

use crate::{
    fixture::MemoryFixture,
    image::{Image, torn},
    scenario::{History, Observer, Scenario},
    tracee::Tracee,
};
use anyhow::{Context as _, Result, ensure};
use std::path::Path;

/// What a run did.
#[derive(Clone, Copy, Debug, Default)]
pub struct StepCounts {
    /// The number of instructions.
    pub steps: usize,
    /// The number of distinct images.
    pub images: usize,
    /// The number of torn forms of steps that changed several words at once.
    pub torn: usize,
}

/// The state of one run.
struct ScenarioRun<'a> {
    scenario: &'a dyn Scenario,
    history: History,
    copy: MemoryFixture,
    /// The stage of the operation at the last image.
    stage: usize,
    observer: Option<Observer>,
    counts: StepCounts,
}

impl ScenarioRun<'_> {
    fn check(&mut self, image: &Image) -> Result<()> {
        self.copy.restore(image);
        let stage = self.scenario.check(&self.copy, &self.history)?;
        ensure!(self.stage <= stage, "the operation went back from stage {} to {stage}", self.stage);
        self.stage = stage;
        Ok(())
    }

    fn on_change(&mut self, previous: &Image, image: &Image) -> Result<()> {
        for torn in torn(previous, image) {
            self.counts.torn += 1;
            self.check(&torn).context("the step is torn")?;
        }
        self.counts.images += 1;
        self.check(image)?;
        if let Some(observer) = &mut self.observer {
            let observed = observer(&self.history).context("an observer")?;
            ensure!(observed == self.stage, "an observer sees stage {observed}, not {}", self.stage);
        }
        Ok(())
    }
}

/// Steps through a scenario, with `program` as the child.
///
/// # Errors
/// When a check fails, with the step and the difference.
pub fn run(program: &Path, scenario: &dyn Scenario) -> Result<StepCounts> {
    step_through(program, scenario).with_context(|| format!("scenario {}", scenario.name()))
}

fn step_through(program: &Path, scenario: &dyn Scenario) -> Result<StepCounts> {
    let mut live = MemoryFixture::new()?;
    let history = scenario.prepare(&live)?;
    let mut image = live.windows.image();
    let mut run_state = ScenarioRun {
        copy: MemoryFixture::new()?,
        observer: scenario.observer(&live)?,
        scenario,
        history,
        stage: 0,
        counts: StepCounts::default(),
    };
    let child = Tracee::start(program, scenario.name(), live.pass_fds(scenario.role())?, &[])?;
    // Stores of the child before its first stop count too: the child could also die there.
    live.windows.refresh(&mut image);
    run_state.check(&image).context("before the first step")?;
    let outside = live.windows.outside();
    run_state.counts.steps = child.step_through(|_| match live.windows.refresh(&mut image) {
        Some(previous) => run_state.on_change(&previous, &image),
        None => Ok(()),
    })?;
    ensure!(live.windows.outside() == outside, "the child wrote outside of all windows");
    let last_stage = scenario.last_stage();
    ensure!(run_state.stage == last_stage, "the operation reached stage {} of {last_stage}", run_state.stage);
    child.finish()?;
    Ok(run_state.counts)
}
