//! The control pipes of a worker, without the checks of the regular runtime: any bytes can be sent at any time.

use bulkhead_proto::{
    wire::{
        codec,
        control::{FromWorker, MAX_FRAME, PROTOCOL, ToWorker},
    },
    worker::{
        fds::{FdName, InheritedFds},
        pipe::{Received, Receiver},
    },
};
use std::{fs::File, io::Write as _, thread};

/// Both control pipes.
pub(crate) struct ControlPipes {
    pub(crate) from: Receiver<ToWorker>,
    to: File,
}

impl ControlPipes {
    pub(crate) fn take(fds: &mut InheritedFds) -> Self {
        let from = Receiver::new(fds.take(FdName::ControlIn).unwrap());
        Self { from, to: fds.take(FdName::ControlOut).unwrap().into() }
    }

    pub(crate) fn send_frame(&self, frame: &FromWorker) {
        let mut packet = [0; MAX_FRAME];
        let length = codec::encode(frame, &mut packet).unwrap();
        self.send_bytes(&packet[..length]);
    }

    pub(crate) fn send_bytes(&self, bytes: &[u8]) {
        // The supervisor may have closed the pipe.
        let _ = (&self.to).write_all(bytes);
    }

    /// Follows the protocol until the worker is activated.
    pub(crate) fn wait_for_activation(self) -> Self {
        self.send_frame(&hello(PROTOCOL));
        self.send_frame(&FromWorker::Ready);
        while !matches!(self.from.recv().unwrap(), Received::Frame(ToWorker::Activate(_))) {}
        self
    }

    /// Closes all pipes to the supervisor. The process keeps running.
    pub(crate) fn close_all(self) {
        let null = File::options().write(true).open("/dev/null").unwrap();
        nix::unistd::dup2_stdout(&null).unwrap();
        nix::unistd::dup2_stderr(&null).unwrap();
    }
}

/// The first frame of a worker.
pub(crate) fn hello(protocol: u16) -> FromWorker {
    FromWorker::Hello { protocol, build: "misbehave 1".to_owned() }
}

/// Waits until a signal ends the process.
pub(crate) fn park_forever() -> ! {
    loop {
        thread::park();
    }
}
