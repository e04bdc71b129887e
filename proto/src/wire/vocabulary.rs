//! Closed vocabularies: enums whose variants have one fixed spelling in files, messages and the HTTP API.

/// A word that is not in a vocabulary.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("unknown {what} {found:?}; expected one of: {expected}")]
pub struct UnknownWord {
    /// What the vocabulary names.
    pub what: &'static str,
    /// The unknown word, cut to 64 characters.
    pub found: String,
    /// All words of the vocabulary, separated by commas.
    pub expected: String,
}

/// Defines an enum with one word per variant, and its conversions from and to text, JSON and bincode.
#[macro_export]
macro_rules! vocabulary {
    ($(#[$doc:meta])* $name:ident ($what:literal) { $($(#[$vdoc:meta])* $variant:ident = $word:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(
            Clone, Copy, Debug, PartialEq, Eq, Hash, bincode::Encode, bincode::Decode, serde::Serialize, serde::Deserialize,
        )]
        pub enum $name {
            $($(#[$vdoc])* #[serde(rename = $word)] $variant),+
        }

        impl $name {
            /// All variants, in the order in which messages list their words.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The word as files, messages and the HTTP API spell it.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $word),+
                }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl std::str::FromStr for $name {
            type Err = $crate::wire::vocabulary::UnknownWord;

            fn from_str(word: &str) -> Result<Self, $crate::wire::vocabulary::UnknownWord> {
                Self::ALL.iter().copied().find(|known| known.as_str() == word).ok_or_else(|| {
                    $crate::wire::vocabulary::UnknownWord {
                        what: $what,
                        found: word.chars().take(64).collect(),
                        expected: Self::ALL.iter().map(|known| known.as_str()).collect::<Vec<_>>().join(", "),
                    }
                })
            }
        }
    };
}

pub use vocabulary;
