//! What is measured, and how often.

use anyhow::{Context, bail, ensure};

/// With five rounds the median tolerates two disturbed ones, and the whole bench takes some minutes.
const ROUNDS: usize = 5;

/// The largest number of rounds. More would take too long.
const MAX_ROUNDS: usize = 100;

/// The plan from the environment.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The number of measurements of each candidate: `ROUNDS`.
    pub rounds: usize,
    /// The sections to measure: `ONLY=roundtrip,commit`; all if unset.
    only: Option<Vec<String>>,
    /// A part of the names of the candidates to measure: `AMONG=ring`; all if unset.
    candidate_filter: Option<String>,
}

impl Plan {
    /// Reads `ROUNDS`, `ONLY` and `AMONG`.
    ///
    /// # Errors
    /// When `ROUNDS` is not a number from 1 to 100, or `ONLY` names an unknown section.
    pub fn from_env() -> anyhow::Result<Self> {
        let rounds = match std::env::var("ROUNDS") {
            Ok(text) => text.parse().with_context(|| format!("ROUNDS={text}: expected a number"))?,
            Err(_) => ROUNDS,
        };
        ensure!((1..=MAX_ROUNDS).contains(&rounds), "ROUNDS={rounds}: expected 1 to {MAX_ROUNDS}");
        let only = std::env::var("ONLY").ok();
        let only = only.map(|names| names.split(',').map(|name| name.trim().to_owned()).collect::<Vec<_>>());
        let known = crate::sections::ALL.map(|section| section.name);
        for name in only.iter().flatten() {
            if !known.contains(&name.as_str()) {
                bail!("ONLY: unknown section {name:?}; the sections are {}", known.join(", "));
            }
        }
        Ok(Self { rounds, only, candidate_filter: std::env::var("AMONG").ok() })
    }

    /// Whether a section is measured.
    #[must_use]
    pub fn includes_section(&self, section: &str) -> bool {
        self.only.as_ref().is_none_or(|only| only.iter().any(|name| name == section))
    }

    /// Whether a candidate is measured.
    #[must_use]
    pub(crate) fn includes_candidate(&self, candidate: &str) -> bool {
        self.candidate_filter.as_ref().is_none_or(|part| candidate.contains(part))
    }
}
