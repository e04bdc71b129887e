//! The schema id of a stored state: the name and the version of the analysis that wrote it, and the encoding, hashed
//! into one number. With the version alone, an analysis could read the state of another one that happens to have the
//! same version.

use crate::Analysis;

/// The CRC-32C of an analysis' name, its version and the encoding, as the state table stores it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SchemaId(pub(super) u32);

/// The encoding of states.
const ENCODING: &str = "MessagePack";

/// What stands for the encoding of states before this one, bincode.
const FORMER_ENCODING: &str = "";

/// To explain an unknown schema id, all versions of this analysis below this one are tried.
const MAX_GUESSED_VERSION: u32 = 10_000;

/// The stored state was written by an analysis or a version that this analysis cannot read.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error(
    "the state was written by {found}; this is {name} version {version}, which reads {readable}. \
     Start the analysis that wrote the state, add a migration, or move the state away"
)]
pub(crate) struct IncompatibleState {
    found: String,
    name: &'static str,
    version: u32,
    readable: String,
}

impl SchemaId {
    /// The schema id of this analysis in its current version.
    pub(super) fn current<A: Analysis>() -> Self {
        Self::of::<A>(A::VERSION, ENCODING)
    }

    /// The schema id of this analysis in any version and encoding.
    fn of<A: Analysis>(version: u32, encoding: &str) -> Self {
        let parts = [A::NAME.as_bytes(), &version.to_le_bytes(), encoding.as_bytes()];
        Self(parts.into_iter().fold(0, crc32c::crc32c_append))
    }

    /// The version with this schema id, if this analysis can read or migrate that version.
    pub(super) fn readable_version<A: Analysis>(self) -> Option<u32> {
        let readable = A::MIGRATES_FROM.iter().copied().chain([A::VERSION]);
        readable.into_iter().find(|version| Self::of::<A>(*version, ENCODING) == self)
    }

    /// Checks that this analysis can read a state with this schema id.
    pub(super) fn check<A: Analysis>(self) -> Result<(), IncompatibleState> {
        if self.readable_version::<A>().is_some() {
            return Ok(());
        }
        let version_in =
            |encoding| (0..MAX_GUESSED_VERSION).find(|&version| Self::of::<A>(version, encoding) == self);
        let found = match (version_in(ENCODING), version_in(FORMER_ENCODING)) {
            (Some(version), _) => format!("version {version} of {}", A::NAME),
            (None, Some(version)) => {
                format!("version {version} of {}, in the encoding of an earlier version of Bulkhead", A::NAME)
            }
            (None, None) => "another analysis".to_owned(),
        };
        let mut readable: Vec<_> = A::MIGRATES_FROM.iter().map(u32::to_string).collect();
        readable.push(A::VERSION.to_string());
        let readable = format!("version {}", readable.join(", "));
        Err(IncompatibleState { found, name: A::NAME, version: A::VERSION, readable })
    }
}
