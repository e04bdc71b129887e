//! Reports a series whose stored state is damaged, and keeps a copy of the damaged bytes. No state is reset
//! silently.

use bulkhead_proto::shm::table::BodySlot;
use std::{
    env, fs, io,
    path::{Path, PathBuf},
};

/// The environment variable with the path of the service's state directory. Without it, no copy is kept.
const STATE_DIR_VARIABLE: &str = "BULKHEAD_STATE_DIR";

/// Logs `state_lost` for a series whose state is damaged, and stores `bytes`, the content of its slot, in a
/// file.
pub(super) fn report(series: &str, slot: BodySlot, reason: &str, bytes: &[u8]) {
    let crc = crc32c::crc32c(bytes);
    let kept = match env::var_os(STATE_DIR_VARIABLE)
        .map(|directory| store_copy(Path::new(&directory), slot, crc, bytes))
    {
        Some(Ok(path)) => path.display().to_string(),
        Some(Err(error)) => format!("none, cannot write it: {error}"),
        None => format!("none, {STATE_DIR_VARIABLE} is not set"),
    };
    tracing::error!(
        event_name = "state_lost",
        series,
        slot = slot.0,
        why = reason,
        bytes = bytes.len(),
        crc = format!("{crc:08x}"),
        kept,
        "state_lost: cannot read the state of series {series:?}: {reason}. \
         This series restarts from an empty state; the others keep theirs. \
         Copy of the {} bytes of its slot (CRC-32C {crc:08x}): {kept}",
        bytes.len(),
    );
}

/// Writes the copy. The same damage found again gives the same file name.
fn store_copy(state_dir: &Path, slot: BodySlot, crc: u32, bytes: &[u8]) -> io::Result<PathBuf> {
    let directory = state_dir.join("lost");
    fs::create_dir_all(&directory)?;
    let path = directory.join(format!("slot-{}-{crc:08x}.bin", slot.0));
    fs::write(&path, bytes)?;
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_copy_is_named_after_its_slot_and_crc() {
        let directory = tempfile::tempdir().unwrap();
        let path = store_copy(directory.path(), BodySlot(7), 0xbeef, b"bad").unwrap();
        assert_eq!(path, directory.path().join("lost/slot-7-0000beef.bin"));
        assert_eq!(fs::read(path).unwrap(), b"bad");
    }
}
