//! The real analysis program, started as the supervisor starts it.

use anyhow::{Context, bail, ensure};
use bulkhead_proto::{
    shm::memory::SharedMemory,
    wire::{
        control::{FromWorker, RecoveryHints, ToWorker},
        ids::Generation,
        role::Role,
    },
    worker::{
        fds::{FDS_VARIABLE, FdHandoff, FdName},
        pipe::{self, Received, Receiver, Sender, Sent},
        settings::{Limits, SETTINGS_VARIABLE, Settings},
    },
};
use bulkhead_tests::binaries;
use command_fds::CommandFdExt;
use std::process::{Child, Command, Stdio};

/// An analysis process. Dropping it ends it.
pub(crate) struct Analytics {
    child: Child,
    to: Sender<ToWorker>,
    from: Receiver<FromWorker>,
}

impl Analytics {
    /// Starts one; it stands by.
    pub(crate) fn start(memory: &SharedMemory, generation: u64) -> anyhow::Result<Self> {
        let ((their_in, our_out), (our_in, their_out)) = (pipe::pair()?, pipe::pair()?);
        let mut bequest = FdHandoff::default();
        bequest.add(FdName::ControlIn, their_in);
        bequest.add(FdName::ControlOut, their_out);
        memory.pass_to_analytics(&mut bequest)?;
        let settings = Settings {
            worker: "analytics".to_owned(),
            role: Role::Analytics,
            generation: Generation(generation),
            faults: false,
            max_series: 4096,
            max_body: 0,
            limits: Limits::default(),
            stop_timeout_ms: 5_000,
            log: "warn".to_owned(),
        };
        let mut command = Command::new(binaries::find(binaries::ANALYTICS));
        command.env(FDS_VARIABLE, bequest.variable()).env(SETTINGS_VARIABLE, settings.to_json()?);
        command.stdin(Stdio::null()).preserved_fds(bequest.into_fds());
        let child = command.spawn().context("cannot start the analysis")?;
        drop(command);
        let analytics = Self { child, to: Sender::new(our_out), from: Receiver::new(our_in) };
        while analytics.hear()? != FromWorker::Ready {}
        Ok(analytics)
    }

    fn hear(&self) -> anyhow::Result<FromWorker> {
        match self.from.recv()? {
            Received::Frame(frame) => Ok(frame),
            Received::Empty | Received::Closed => bail!("the analysis ended before it was ready"),
        }
    }

    fn say(&self, frame: &ToWorker) -> anyhow::Result<()> {
        ensure!(matches!(self.to.send(frame)?, Sent::Done), "the analysis does not listen");
        Ok(())
    }

    /// Lets it begin.
    pub(crate) fn activate(&self) -> anyhow::Result<()> {
        self.say(&ToWorker::Activate(RecoveryHints::default()))
    }

    /// Fails if it has ended.
    pub(crate) fn check(&mut self) -> anyhow::Result<()> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => bail!("the analysis ended: {status}"),
        }
    }

    /// Lets it leave, and waits for that.
    pub(crate) fn end(mut self) -> anyhow::Result<()> {
        self.say(&ToWorker::Drain)?;
        let status = self.child.wait()?;
        ensure!(status.success(), "the analysis failed: {status}");
        Ok(())
    }
}

impl Drop for Analytics {
    fn drop(&mut self) {
        // No error matters here: it may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
