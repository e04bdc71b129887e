//! Which analysis wrote a state: name and version in one number, so that a state is never read by an analysis of another
//! name that happens to have the same version.

use crate::Analysis;

/// Name and version of an analysis, as the state table carries them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp(pub(crate) u32);

/// Versions are looked for up to this one when a foreign stamp is to be explained.
const LIKELY_VERSIONS: u32 = 10_000;

/// The state was written by an analysis that this one does not understand.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error(
    "the state was written by {found}; this is {name} version {version}, which understands {understood}. \
     Start the analysis that wrote it, add a migration, or move the state away"
)]
pub(crate) struct Foreign {
    found: String,
    name: &'static str,
    version: u32,
    understood: String,
}

impl Stamp {
    /// The stamp of this analysis.
    pub(crate) fn own<A: Analysis>() -> Self {
        Self::of::<A>(A::VERSION)
    }

    /// The stamp of another version of this analysis.
    pub(crate) fn of<A: Analysis>(version: u32) -> Self {
        Self(crc32c::crc32c_append(crc32c::crc32c(A::NAME.as_bytes()), &version.to_le_bytes()))
    }

    /// The version that has this stamp, if this analysis can read or migrate it.
    pub(crate) fn version<A: Analysis>(self) -> Option<u32> {
        let known = A::MIGRATES_FROM.iter().copied().chain([A::VERSION]);
        known.into_iter().find(|version| Self::of::<A>(*version) == self)
    }

    /// Checks that this analysis can go on from a state of this stamp.
    pub(crate) fn check<A: Analysis>(self) -> Result<(), Foreign> {
        if self.version::<A>().is_some() {
            return Ok(());
        }
        let found = match (0..LIKELY_VERSIONS).find(|version| Self::of::<A>(*version) == self) {
            Some(version) => format!("version {version} of {}", A::NAME),
            None => "another analysis".to_owned(),
        };
        let mut known: Vec<_> = A::MIGRATES_FROM.iter().map(u32::to_string).collect();
        known.push(A::VERSION.to_string());
        let understood = format!("version {}", known.join(", "));
        Err(Foreign { found, name: A::NAME, version: A::VERSION, understood })
    }
}
