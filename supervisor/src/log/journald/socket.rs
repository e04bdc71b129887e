//! The socket of the journal: <https://systemd.io/JOURNAL_NATIVE_PROTOCOL/>.

use rustix::{
    fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create},
    io::Errno,
    net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg},
};
use std::{
    fs::File,
    io::{self, IoSlice, Write},
    mem::MaybeUninit,
    os::{fd::AsFd as _, unix::net::UnixDatagram},
    path::Path,
};

/// The journal's socket.
const PATH: &str = "/run/systemd/journal/socket";

/// A connection to the journal. Each write is one entry.
pub(in crate::log) struct Journal(UnixDatagram);

impl Journal {
    /// Connects to the journal. systemd itself holds the socket, so the connection survives a restart of the journal.
    pub(in crate::log) fn open() -> io::Result<Self> {
        Self::at(Path::new(PATH))
    }

    fn at(path: &Path) -> io::Result<Self> {
        let socket = UnixDatagram::unbound()?;
        socket.connect(path)?;
        Ok(Self(socket))
    }

    /// Sends an entry that is too large for a datagram as a sealed memory file.
    fn send_file(&self, entry: &[u8]) -> io::Result<()> {
        let mut file =
            File::from(memfd_create("journal-entry", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?);
        file.write_all(entry)?;
        fcntl_add_seals(&file, SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE | SealFlags::SEAL)?;
        let fds = [file.as_fd()];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut message = SendAncillaryBuffer::new(&mut space);
        message.push(SendAncillaryMessage::ScmRights(&fds));
        sendmsg(&self.0, &[IoSlice::new(&[])], &mut message, SendFlags::NOSIGNAL)?;
        Ok(())
    }
}

impl Write for Journal {
    fn write(&mut self, entry: &[u8]) -> io::Result<usize> {
        match self.0.send(entry) {
            Err(error) if error.raw_os_error() == Some(Errno::MSGSIZE.raw_os_error()) => {
                self.send_file(entry)?;
            }
            sent => {
                sent?;
            }
        }
        Ok(entry.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
    use std::{io::IoSliceMut, os::unix::fs::FileExt as _};

    #[test]
    fn an_entry_is_sent_as_a_datagram() {
        let dir = tempfile::tempdir().unwrap();
        let server = UnixDatagram::bind(dir.path().join("s")).unwrap();
        Journal::at(&dir.path().join("s")).unwrap().write_all(b"MESSAGE=x\n").unwrap();
        let mut received = [0; 100];
        let length = server.recv(&mut received).unwrap();
        assert_eq!(&received[..length], b"MESSAGE=x\n");
    }

    #[test]
    fn an_entry_too_large_for_a_datagram_is_sent_as_a_file() {
        let dir = tempfile::tempdir().unwrap();
        let server = UnixDatagram::bind(dir.path().join("s")).unwrap();
        let entry = vec![b'x'; 8 << 20];
        Journal::at(&dir.path().join("s")).unwrap().write_all(&entry).unwrap();
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut nothing = [0; 1];
        recvmsg(&server, &mut [IoSliceMut::new(&mut nothing)], &mut control, RecvFlags::CMSG_CLOEXEC)
            .unwrap();
        let fds: Vec<_> =
            control
                .drain()
                .flat_map(|message| {
                    if let RecvAncillaryMessage::ScmRights(fds) = message { fds.collect() } else { vec![] }
                })
                .collect();
        let [fd] = <[_; 1]>::try_from(fds).unwrap();
        let mut received = vec![0; entry.len()];
        File::from(fd).read_exact_at(&mut received, 0).unwrap();
        assert_eq!(received, entry);
    }
}
