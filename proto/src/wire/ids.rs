//! Ids as types: no bare integer crosses a function's edge.

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
            /// The number after this one. Saturates: at a billion a second, 2^64 lasts 584 years.
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
    /// One incarnation of a worker. Numbered from 1 over all workers together, never reused; 0 means "none".
    Generation
);
number!(
    /// The number of one accepted event: from 1, rising, never reused; 0 means "none".
    Seq
);
number!(
    /// A place in the events ring, in bytes since the ring was made. Never wraps; always a multiple of 8.
    Position
);
number!(
    /// One crash report, numbered from 1, never reused.
    CrashId
);
number!(
    /// A commit of the state table, from 1; 0 means "nothing was ever committed".
    Commit
);
