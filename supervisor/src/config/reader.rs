//! Reads a TOML table key by key and reports every problem with its position, instead of stopping at the first.
//!
//! serde would stop at the first wrong value. Reading key by key also makes the known keys, from which suggestions are
//! taken, exactly the keys that have an effect.

use super::{
    problem::{Diagnostics, Issue, Problem, UnknownKey},
    units::{DURATION, Quantity, SIZE},
};
use crate::suggest::{closest, quoted_list};
use std::{
    collections::BTreeMap,
    ops::{Range, RangeInclusive},
    path::PathBuf,
    time::Duration,
};
use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

/// One table of the configuration, read key by key. A key that is never read is unknown.
pub(super) struct Section<'a> {
    path: String,
    table: Option<&'a DeTable<'a>>,
    span: Option<Range<usize>>,
    known: Vec<&'static str>,
    reserved: Vec<&'static str>,
    diagnostics: &'a Diagnostics,
}

impl<'a> Section<'a> {
    /// The top-level table.
    pub(super) fn root(table: &'a DeTable<'a>, diagnostics: &'a Diagnostics) -> Self {
        Self::new(String::new(), Some(table), None, diagnostics)
    }

    const fn new(
        path: String,
        table: Option<&'a DeTable<'a>>,
        span: Option<Range<usize>>,
        diagnostics: &'a Diagnostics,
    ) -> Self {
        Self { path, table, span, known: Vec::new(), reserved: Vec::new(), diagnostics }
    }

    /// The full name of a key, such as `api.listen`.
    pub(super) fn full_name(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    /// Whether the key is present, with any value.
    pub(super) fn has(&self, key: &str) -> bool {
        self.table.is_some_and(|table| table.contains_key(key))
    }

    /// Reports a problem of this key's value, or of its absence.
    pub(super) fn report(&self, key: &str, issue: Issue) {
        self.report_with_key(key, issue, "", "");
    }

    /// Like [`report`](Self::report), and also points at another key of this section.
    pub(super) fn report_with_sibling(&self, key: &str, issue: Issue, other: &str, label: &str) {
        self.report_with_key(key, issue, &self.full_name(other), label);
    }

    /// Like [`report_with_sibling`](Self::report_with_sibling), but `other` is the full name of any key.
    pub(super) fn report_with_key(&self, key: &str, issue: Issue, other: &str, label: &str) {
        let name = self.full_name(key);
        let span = self.diagnostics.span_of(&name).or_else(|| self.span.clone());
        let issue = Issue { found: format!("{name}: {}", issue.found), ..issue };
        let related = self.diagnostics.span_of(other).map(|span| (span, label.to_owned()));
        self.diagnostics.push(Problem { related, ..Problem::new(issue, span) });
    }

    fn lookup(&mut self, key: &'static str) -> Option<&'a DeValue<'a>> {
        self.known.push(key);
        // All sections of a list know the same keys, so the index is left out.
        self.diagnostics.record_known_key(
            self.full_name(key).replace(|c: char| c.is_ascii_digit() || "[]".contains(c), ""),
        );
        let value = self.table?.get(key)?;
        self.diagnostics.record_span(self.full_name(key), value.span());
        Some(value.get_ref())
    }

    /// The parsed value; reports a problem and returns `None` if `parse` fails.
    fn parse_value<T>(
        &mut self,
        key: &'static str,
        parse: impl FnOnce(&'a DeValue<'a>) -> Result<T, Issue>,
    ) -> Option<T> {
        let value = self.lookup(key)?;
        parse(value).map_err(|issue| self.report(key, issue)).ok()
    }

    /// A string, parsed by `parse`.
    pub(super) fn string<T>(
        &mut self,
        key: &'static str,
        parse: impl FnOnce(&str) -> Result<T, Issue>,
    ) -> Option<T> {
        self.parse_value(key, |value| parse(as_string(value)?))
    }

    /// One of these words, mapped to its meaning.
    pub(super) fn choice<T>(
        &mut self,
        key: &'static str,
        mut words: impl Iterator<Item = (&'static str, T)> + Clone,
    ) -> Option<T> {
        self.string(key, |text| {
            let known = words.clone().map(|(word, _)| word);
            words.find(|(word, _)| *word == text).map(|(_, meaning)| meaning).ok_or_else(|| {
                let expected = format!("expected {}", quoted_list(known.clone()));
                Issue::new(format!("unknown value {text:?}"), expected)
                    .suggest(closest(text, known).map(|word| format!("{word:?}")))
            })
        })
    }

    /// `true` or `false`.
    pub(super) fn boolean(&mut self, key: &'static str) -> Option<bool> {
        self.parse_value(key, |value| {
            value.as_bool().ok_or_else(|| {
                let issue = Issue::new(format!("found {}", describe_value(value)), "expected true or false");
                match value.as_str() {
                    Some(word @ ("true" | "false")) => {
                        issue.with_help(format!("write {word}, without quotes"))
                    }
                    _ => issue,
                }
            })
        })
    }

    /// A whole number in `range`.
    pub(super) fn integer(&mut self, key: &'static str, range: Range<u32>) -> Option<u32> {
        self.parse_value(key, |value| {
            let number = value.as_integer().and_then(|n| u32::from_str_radix(n.as_str(), n.radix()).ok());
            number.filter(|number| range.contains(number)).ok_or_else(|| {
                let expected = format!("expected a whole number from {} to {}", range.start, range.end - 1);
                let issue = Issue::new(format!("found {}", describe_value(value)), expected);
                match value.as_str().and_then(|text| text.parse::<u32>().ok()) {
                    Some(number) => issue.with_help(format!("write {number}, without quotes")),
                    None => issue,
                }
            })
        })
    }

    /// A duration from `min` to `max`.
    pub(super) fn duration(&mut self, key: &'static str, min: Duration, max: Duration) -> Option<Duration> {
        let [min, max] = [min, max].map(|bound| u64::try_from(bound.as_millis()).unwrap_or(u64::MAX));
        self.quantity(key, &DURATION, min..=max).map(Duration::from_millis)
    }

    /// A size in bytes from `min` to `max`.
    pub(super) fn size(&mut self, key: &'static str, min: u64, max: u64) -> Option<u64> {
        self.quantity(key, &SIZE, min..=max)
    }

    fn quantity(&mut self, key: &'static str, kind: &Quantity, range: RangeInclusive<u64>) -> Option<u64> {
        self.parse_value(key, |value| match value.as_str() {
            Some(text) => kind.parse(text, &range),
            None => Err(kind.issue(&describe_value(value), &describe_value(value))),
        })
    }

    /// A list of strings. Reports each item that is not a string.
    pub(super) fn string_list(&mut self, key: &'static str) -> Option<Vec<String>> {
        let list = self.parse_value(key, |value| {
            value.as_array().ok_or_else(|| {
                let issue = wrong_type(value, "a list", "expected a list of strings");
                match value.as_str() {
                    Some(text) => {
                        issue.with_help(format!("write {:?}", Vec::from_iter(text.split_whitespace())))
                    }
                    None => issue,
                }
            })
        })?;
        let item = |(index, item): (usize, &'a Spanned<DeValue<'a>>)| {
            self.string_item(&format!("{key}[{index}]"), item.span(), item.get_ref())
        };
        // Collect first, so that every wrong item is reported.
        let texts: Vec<Option<String>> = list.iter().enumerate().map(item).collect();
        texts.into_iter().collect()
    }

    /// A table of strings. Reports each value that is not a string.
    pub(super) fn string_map(&mut self, key: &'static str) -> Option<BTreeMap<String, String>> {
        let table = self.parse_value(key, |value| {
            value.as_table().ok_or_else(|| wrong_type(value, "a table", "expected { NAME = \"value\" }"))
        })?;
        let pair = |(name, value): (&Spanned<_>, &'a Spanned<DeValue<'a>>)| {
            let text: &std::borrow::Cow<'_, str> = name.get_ref();
            let value = self.string_item(&format!("{key}.{text}"), value.span(), value.get_ref());
            self.diagnostics.record_span(self.full_name(&format!("{key}.{text}")), name.span());
            Some((text.clone().into_owned(), value?))
        };
        let pairs: Vec<Option<(String, String)>> = table.iter().map(pair).collect();
        pairs.into_iter().collect()
    }

    fn string_item(&self, name: &str, span: Range<usize>, value: &DeValue<'_>) -> Option<String> {
        self.diagnostics.record_span(self.full_name(name), span);
        as_string(value).map(str::to_owned).map_err(|issue| self.report(name, issue)).ok()
    }

    /// The table of this key; empty if the key is absent.
    pub(super) fn section(&mut self, key: &'static str) -> Self {
        let path = self.full_name(key);
        let table = self.parse_value(key, |value| {
            value.as_table().ok_or_else(|| wrong_type(value, "a section", &format!("expected [{key}]")))
        });
        let span = self.diagnostics.span_of(&path);
        Self::new(path, table, span, self.diagnostics)
    }

    /// The tables of an array of tables (`[[worker]]`).
    pub(super) fn section_list(&mut self, key: &'static str) -> Vec<Self> {
        let path = self.full_name(key);
        let issue = |value: &DeValue<'_>| {
            wrong_type(value, "a list of sections", &format!("expected [[{key}]]"))
                .with_help(format!("write [[{key}]] before the keys of each {key}"))
        };
        let list = self.parse_value(key, |value| value.as_array().ok_or_else(|| issue(value)));
        let mut sections = Vec::new();
        for (index, item) in list.into_iter().flat_map(|list| list.iter()).enumerate() {
            match item.get_ref().as_table() {
                Some(table) => {
                    let path = format!("{path}[{index}]");
                    sections.push(Self::new(path, Some(table), Some(item.span()), self.diagnostics));
                }
                None => self.report(key, issue(item.get_ref())),
            }
        }
        sections
    }

    /// A key that is reserved for a later version: it is refused, not ignored.
    pub(super) fn reserved(&mut self, key: &'static str) {
        self.refuse(
            key,
            Issue::new("not supported in this version", "reserved key").with_help("remove this key"),
        );
    }

    /// A key that this section cannot have, for the reason in the issue.
    pub(super) fn refuse(&mut self, key: &'static str, issue: Issue) {
        self.reserved.push(key);
        if let Some((key, _)) = self.table.and_then(|table| table.get_key_value(key)) {
            let found = format!("{}: {}", self.full_name(key.get_ref()), issue.found);
            self.diagnostics.push(Problem::new(Issue { found, ..issue }, Some(key.span())));
        }
    }

    /// Reports every key that was not read.
    pub(super) fn finish(self) {
        for key in self.table.into_iter().flat_map(DeTable::keys) {
            let name = key.get_ref().as_ref();
            if !self.known.contains(&name) && !self.reserved.contains(&name) {
                self.diagnostics.push_unknown_key(UnknownKey {
                    section: self.path.clone(),
                    key: name.to_owned(),
                    span: key.span(),
                    known: self.known.clone(),
                });
            }
        }
    }
}

/// A string without NUL: it may be used as a path, an argument or the value of a variable.
fn as_string<'a>(value: &'a DeValue<'_>) -> Result<&'a str, Issue> {
    match value.as_str() {
        Some(text) if text.contains('\0') => {
            Err(Issue::new("contains a NUL character", "paths, arguments and variables cannot contain NUL"))
        }
        Some(text) => Ok(text),
        None => {
            let issue = wrong_type(value, "a string", "expected a string");
            match value {
                DeValue::Array(_) | DeValue::Table(_) | DeValue::String(_) => Err(issue),
                DeValue::Integer(_) | DeValue::Float(_) | DeValue::Boolean(_) | DeValue::Datetime(_) => {
                    Err(issue.with_help(format!("write \"{}\", in quotes", describe_value(value))))
                }
            }
        }
    }
}

fn wrong_type(value: &DeValue<'_>, wanted: &str, expected: &str) -> Issue {
    Issue::new(format!("{} is not {wanted}", describe_value(value)), expected)
}

/// A path; a relative one starts at the directory in which the supervisor is started.
pub(super) fn parse_path(text: &str) -> Result<PathBuf, Issue> {
    if text.is_empty() {
        return Err(Issue::new("the path is empty", "expected a path"));
    }
    check_unexpanded(text)?;
    Ok(text.into())
}

/// Refuses a path that a shell would expand. As it is, it would name a directory "~" or "$HOME".
pub(super) fn check_unexpanded(text: &str) -> Result<(), Issue> {
    if !text.starts_with(['~', '$']) {
        return Ok(());
    }
    let issue =
        Issue::new(format!("{text:?} begins with a character of the shell"), "it would not be expanded");
    Err(issue
        .with_help(format!("write the full path, or {:?} for a name that begins so", format!("./{text}"))))
}

fn describe_value(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) => format!("{text:?}"),
        DeValue::Integer(number) => number.to_string(),
        DeValue::Float(number) => number.to_string(),
        DeValue::Boolean(flag) => flag.to_string(),
        DeValue::Datetime(time) => time.to_string(),
        DeValue::Array(_) => "a list".to_owned(),
        DeValue::Table(_) => "a table".to_owned(),
    }
}
