//! What is said and kept when the state of a series does not verify: never silently.

use bulkhead_proto::shm::table::BodySlot;
use std::{
    env, fs, io,
    path::{Path, PathBuf},
};

/// The variable that names the directory of the service's state. Without it, bad bytes are reported but not kept.
const DIRECTORY: &str = "BULKHEAD_STATE_DIR";

/// Reports a series whose state is lost, with the bytes that were found in its slot.
pub(crate) fn report(series: &str, slot: BodySlot, why: &str, remains: &[u8]) {
    let crc = crc32c::crc32c(remains);
    let kept = match env::var_os(DIRECTORY).map(|directory| keep(Path::new(&directory), slot, crc, remains)) {
        Some(Ok(path)) => path.display().to_string(),
        Some(Err(error)) => format!("nowhere: {error}"),
        None => "nowhere: no state directory is known".to_owned(),
    };
    tracing::error!(
        event_name = "state_lost",
        series,
        slot = slot.0,
        why,
        bytes = remains.len(),
        crc = format!("{crc:08x}"),
        kept,
        "state_lost: the state of series {series:?} does not verify ({why}); it alone begins anew. \
         The {} bytes of its slot (CRC-32C {crc:08x}) are kept: {kept}",
        remains.len(),
    );
}

/// Keeps the bytes; those of the same damage take the same file.
fn keep(directory: &Path, slot: BodySlot, crc: u32, bytes: &[u8]) -> io::Result<PathBuf> {
    let directory = directory.join("lost");
    fs::create_dir_all(&directory)?;
    let path = directory.join(format!("slot-{}-{crc:08x}.bin", slot.0));
    fs::write(&path, bytes)?;
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bytes_are_kept_under_their_slot_and_sum() {
        let directory = tempfile::tempdir().unwrap();
        let path = keep(directory.path(), BodySlot(7), 0xbeef, b"bad").unwrap();
        assert_eq!(path, directory.path().join("lost/slot-7-0000beef.bin"));
        assert_eq!(fs::read(path).unwrap(), b"bad");
    }
}
