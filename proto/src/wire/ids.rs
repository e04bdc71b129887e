//! Ids as types: functions take and return these types, not bare integers.

use bincode::{Decode, Encode};
use serde::{Deserialize, Serialize};
use std::{fmt, num::ParseIntError, str::FromStr};

macro_rules! number {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(
            Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode, Serialize, Deserialize,
        )]
        #[serde(transparent)]
        pub struct $name(pub u64);

        impl $name {
            /// The next number. Saturates: at a billion per second, 2^64 numbers last 584 years.
            #[must_use]
            pub const fn next(self) -> Self {
                Self(self.0.saturating_add(1))
            }
        }

        impl FromStr for $name {
            type Err = ParseIntError;

            fn from_str(text: &str) -> Result<Self, ParseIntError> {
                text.parse().map(Self)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

number!(
    /// One run of a worker process. Numbered from 1 over all workers together, never reused; 0 means "none".
    Generation
);
number!(
    /// The number of an accepted event: from 1, rising, never reused; 0 means "none".
    Seq
);
number!(
    /// A position in the events ring, in bytes since the ring was created. Never wraps; always a multiple of 8.
    Position
);
number!(
    /// The number of a crash report: from 1, never reused.
    CrashId
);
number!(
    /// The number of a commit of the state table: from 1; 0 means "nothing was ever committed".
    Commit
);
