//! Reads a TOML text key by key and gathers every problem with its place, instead of stopping at the first.
//!
//! serde would stop at the first wrong value; asking for each key by hand also makes the list of known keys, from which
//! the nearest one is offered, the same list as the keys that have an effect.

use super::units;
use std::{cell::RefCell, collections::BTreeMap, ops::Range, time::Duration};
use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

/// Something wrong in a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where in the text, in bytes; none when it did not come from a text.
    pub span: Option<Range<usize>>,
    /// What was wanted, what was found, what to do.
    pub message: String,
}

impl Problem {
    /// A problem that has no place in the text.
    #[must_use]
    pub fn general(message: impl Into<String>) -> Self {
        Self { span: None, message: message.into() }
    }

    /// The place as line and column, both from 1; columns count characters.
    #[must_use]
    pub fn place(&self, text: &str) -> Option<(usize, usize)> {
        let start = self.span.as_ref()?.start.min(text.len());
        let before = text.get(..start)?;
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        Some((before.matches('\n').count() + 1, before[line_start..].chars().count() + 1))
    }
}

/// Where problems are gathered.
pub(super) type Problems = RefCell<Vec<Problem>>;

/// How alike two names must be (Jaro-Winkler, 0 to 1) to be offered as a likely slip.
const ALIKE: f64 = 0.8;

/// One table of the configuration, asked key by key; what was never asked for is unknown.
pub(super) struct Section<'a> {
    path: String,
    table: Option<&'a DeTable<'a>>,
    span: Option<Range<usize>>,
    known: Vec<&'static str>,
    problems: &'a Problems,
}

impl<'a> Section<'a> {
    /// The table at the top.
    pub(super) fn root(table: &'a DeTable<'a>, problems: &'a Problems) -> Self {
        Self { path: String::new(), table: Some(table), span: None, known: Vec::new(), problems }
    }

    fn name(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    /// Whether the key is there, with whatever value.
    pub(super) fn has(&self, key: &str) -> bool {
        self.table.is_some_and(|table| table.contains_key(key))
    }

    /// Notes a problem with this key's value, or with its absence.
    pub(super) fn report(&self, key: &str, message: &str) {
        let span =
            self.table.and_then(|table| table.get(key)).map(Spanned::span).or_else(|| self.span.clone());
        let message = format!("{}: {message}", self.name(key));
        self.problems.borrow_mut().push(Problem { span, message });
    }

    fn get(&mut self, key: &'static str) -> Option<&'a DeValue<'a>> {
        self.known.push(key);
        self.table?.get(key).map(Spanned::get_ref)
    }

    /// The key's value as `parse` understands it; a problem, and none, when it does not.
    pub(super) fn value<T>(
        &mut self,
        key: &'static str,
        parse: impl FnOnce(&'a DeValue<'a>) -> Result<T, String>,
    ) -> Option<T> {
        let value = self.get(key)?;
        parse(value).map_err(|message| self.report(key, &message)).ok()
    }

    /// A string that `parse` understands.
    pub(super) fn text<T>(
        &mut self,
        key: &'static str,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        self.value(key, |value| parse(string(value)?))
    }

    /// `true` or `false`.
    pub(super) fn flag(&mut self, key: &'static str) -> Option<bool> {
        self.value(key, |value| value.as_bool().ok_or_else(|| wanted("true or false", value)))
    }

    /// A whole number within `range`.
    pub(super) fn number(&mut self, key: &'static str, range: Range<u32>) -> Option<u32> {
        self.value(key, |value| {
            let number = value.as_integer().and_then(|n| u32::from_str_radix(n.as_str(), n.radix()).ok());
            number.filter(|number| range.contains(number)).ok_or_else(|| {
                wanted(&format!("a whole number from {} to {}", range.start, range.end - 1), value)
            })
        })
    }

    /// A duration of at most `max`.
    pub(super) fn duration(&mut self, key: &'static str, max: Duration) -> Option<Duration> {
        self.text(key, |text| {
            let found = units::duration(text)?;
            if found > max {
                return Err(format!("wanted at most {:?}, found {text:?}", units::show_duration(max)));
            }
            Ok(found)
        })
    }

    /// A size in bytes within `range`, ends included.
    pub(super) fn size(&mut self, key: &'static str, min: u64, max: u64) -> Option<u64> {
        self.text(key, |text| {
            let found = units::size(text)?;
            if (min..=max).contains(&found) {
                return Ok(found);
            }
            let (min, max) = (units::show_size(min), units::show_size(max));
            Err(format!("wanted a size from {min:?} to {max:?}, found {text:?}"))
        })
    }

    /// A list of strings.
    pub(super) fn texts(&mut self, key: &'static str) -> Option<Vec<String>> {
        self.value(key, |value| {
            let list = value.as_array().ok_or_else(|| wanted("a list of strings", value))?;
            list.iter().map(|item| string(item.get_ref()).map(str::to_owned)).collect()
        })
    }

    /// A table of strings.
    pub(super) fn pairs(&mut self, key: &'static str) -> Option<BTreeMap<String, String>> {
        self.value(key, |value| {
            let table = value.as_table().ok_or_else(|| wanted("a table of strings", value))?;
            let pair = |(name, value): (&Spanned<_>, &'a Spanned<DeValue<'a>>)| {
                let name: &std::borrow::Cow<'_, str> = name.get_ref();
                let value = string(value.get_ref()).map_err(|error| format!("{name}: {error}"))?;
                Ok((name.clone().into_owned(), value.to_owned()))
            };
            table.iter().map(pair).collect()
        })
    }

    /// The table under that key, empty when it is absent.
    pub(super) fn section(&mut self, key: &'static str) -> Self {
        let path = self.name(key);
        let table = self.value(key, |value| value.as_table().ok_or_else(|| wanted("a table", value)));
        let span = self.table.and_then(|table| table.get(key)).map(Spanned::span);
        Self { path, table, span, known: Vec::new(), problems: self.problems }
    }

    /// The tables of an array of tables (`[[worker]]`).
    pub(super) fn sections(&mut self, key: &'static str) -> Vec<Self> {
        let path = self.name(key);
        let list = self.value(key, |value| value.as_array().ok_or_else(|| wanted("tables, [[…]]", value)));
        let mut sections = Vec::new();
        for (index, item) in list.into_iter().flat_map(|list| list.iter()).enumerate() {
            match item.get_ref().as_table() {
                Some(table) => sections.push(Self {
                    path: format!("{path}[{index}]"),
                    table: Some(table),
                    span: Some(item.span()),
                    known: Vec::new(),
                    problems: self.problems,
                }),
                None => self.report(key, &wanted("tables, [[…]]", item.get_ref())),
            }
        }
        sections
    }

    /// A key of the contract that has no effect yet: refused rather than ignored.
    pub(super) fn later(&mut self, key: &'static str) {
        if self.get(key).is_some() {
            self.report(key, "not in this version; remove this key");
        }
    }

    /// Reports every key that was not asked for.
    pub(super) fn end(self) {
        for key in self.table.into_iter().flat_map(DeTable::keys) {
            let name = key.get_ref().as_ref();
            if !self.known.contains(&name) {
                let message = format!("{}: unknown key; {}", self.name(name), self.offer(name));
                self.problems.borrow_mut().push(Problem { span: Some(key.span()), message });
            }
        }
    }

    fn offer(&self, name: &str) -> String {
        let alike = |known: &&&str| strsim::jaro_winkler(known, name);
        match self.known.iter().max_by(|a, b| alike(a).total_cmp(&alike(b))) {
            Some(known) if alike(&known) >= ALIKE => format!("did you mean {known:?}?"),
            _ => format!("known keys are: {}", self.known.join(", ")),
        }
    }
}

fn string<'a>(value: &'a DeValue<'_>) -> Result<&'a str, String> {
    value.as_str().ok_or_else(|| wanted("a string", value))
}

fn wanted(wanted: &str, found: &DeValue<'_>) -> String {
    let found = match found {
        DeValue::String(text) => format!("{text:?}"),
        DeValue::Integer(number) => number.to_string(),
        DeValue::Float(number) => number.to_string(),
        DeValue::Boolean(flag) => flag.to_string(),
        DeValue::Datetime(time) => time.to_string(),
        DeValue::Array(_) | DeValue::Table(_) => format!("a {}", found.type_str()),
    };
    format!("wanted {wanted}, found {found}")
}
