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
        settings::{Access, Limits, SETTINGS_VARIABLE, Settings},
    },
};
use bulkhead_tests::binaries;
use command_fds::CommandFdExt;
use std::process::{Child, Command, Stdio};

/// An analysis process. It is killed when dropped.
pub(crate) struct Analytics {
    child: Child,
    to: Sender<ToWorker>,
    from: Receiver<FromWorker>,
}

impl Analytics {
    /// Starts an analysis as a standby.
    pub(crate) fn start(memory: &SharedMemory, generation: u64) -> anyhow::Result<Self> {
        let ((their_in, our_out), (our_in, their_out)) = (pipe::pair()?, pipe::pair()?);
        let mut fds = FdHandoff::default();
        fds.add(FdName::ControlIn, their_in);
        fds.add(FdName::ControlOut, their_out);
        memory.pass_to_analytics(&mut fds)?;
        let settings = Settings {
            worker: "analytics".to_owned(),
            role: Role::Analytics,
            generation: Generation(generation),
            faults: false,
            max_series: memory.table().slots() - 1,
            expire_ms: None,
            max_body: 0,
            limits: Limits::default(),
            access: Access::default(),
            stop_timeout_ms: 5_000,
            log: "warn".to_owned(),
        };
        let mut command = Command::new(binaries::find(binaries::ANALYTICS));
        command.env(FDS_VARIABLE, fds.variable()).env(SETTINGS_VARIABLE, settings.to_json()?);
        command.stdin(Stdio::null()).preserved_fds(fds.into_fds());
        let child = command.spawn().context("cannot start the analysis")?;
        drop(command);
        let analytics = Self { child, to: Sender::new(our_out), from: Receiver::new(our_in) };
        while analytics.receive()? != FromWorker::Ready {}
        Ok(analytics)
    }

    fn receive(&self) -> anyhow::Result<FromWorker> {
        match self.from.recv()? {
            Received::Frame(frame) => Ok(frame),
            Received::Empty | Received::Closed => bail!("the analysis exited before it was ready"),
        }
    }

    fn send(&self, frame: &ToWorker) -> anyhow::Result<()> {
        ensure!(matches!(self.to.send(frame)?, Sent::Done), "the analysis does not read its control pipe");
        Ok(())
    }

    /// Activates it.
    pub(crate) fn activate(&self) -> anyhow::Result<()> {
        self.send(&ToWorker::Activate(RecoveryHints::default()))
    }

    /// Fails if the process has exited.
    pub(crate) fn check(&mut self) -> anyhow::Result<()> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => bail!("the analysis exited: {status}"),
        }
    }

    /// Asks the process to stop, and waits until it has exited.
    pub(crate) fn stop(mut self) -> anyhow::Result<()> {
        self.send(&ToWorker::Drain)?;
        let status = self.child.wait()?;
        ensure!(status.success(), "the analysis failed: {status}");
        Ok(())
    }
}

impl Drop for Analytics {
    fn drop(&mut self) {
        // The process may already have exited, so errors do not matter.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
