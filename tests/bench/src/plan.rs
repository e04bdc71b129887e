//! What is to be measured, and how often.

use anyhow::{Context, bail, ensure};

/// With five rounds the median bears two that were disturbed, and the whole takes some minutes.
const ROUNDS: usize = 5;

/// Beyond this nobody waits for the end.
const MOST_ROUNDS: usize = 100;

/// What the environment asks for.
#[derive(Clone, Debug)]
pub struct Plan {
    /// How often each candidate is measured: `ROUNDS`.
    pub rounds: usize,
    /// The sections that are wanted: `ONLY=roundtrip,commit`; all if unset.
    only: Option<Vec<String>>,
    /// Part of the name of those candidates that are wanted: `AMONG=ring`; all if unset.
    among: Option<String>,
}

impl Plan {
    /// Reads `ROUNDS`, `ONLY` and `AMONG`.
    ///
    /// # Errors
    /// When `ROUNDS` is no number from 1 to 100, or `ONLY` names a section that is not there.
    pub fn from_env() -> anyhow::Result<Self> {
        let rounds = match std::env::var("ROUNDS") {
            Ok(text) => text.parse().with_context(|| format!("ROUNDS={text}: wanted a number"))?,
            Err(_) => ROUNDS,
        };
        ensure!((1..=MOST_ROUNDS).contains(&rounds), "ROUNDS={rounds}: wanted 1 to {MOST_ROUNDS}");
        let only = std::env::var("ONLY").ok();
        let only = only.map(|names| names.split(',').map(|name| name.trim().to_owned()).collect::<Vec<_>>());
        let known = crate::sections::ALL.map(|section| section.name);
        for name in only.iter().flatten() {
            if !known.contains(&name.as_str()) {
                bail!("ONLY: there is no section {name:?}; there are {}", known.join(", "));
            }
        }
        Ok(Self { rounds, only, among: std::env::var("AMONG").ok() })
    }

    /// Whether a section is to be measured.
    #[must_use]
    pub fn wants(&self, section: &str) -> bool {
        self.only.as_ref().is_none_or(|only| only.iter().any(|name| name == section))
    }

    /// Whether a candidate is to be measured.
    #[must_use]
    pub(crate) fn includes(&self, candidate: &str) -> bool {
        self.among.as_ref().is_none_or(|part| candidate.contains(part))
    }
}
