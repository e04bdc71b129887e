//! Reads a TOML text key by key and gathers every problem with its place, instead of stopping at the first.
//!
//! serde would stop at the first wrong value; asking for each key by hand also makes the list of known keys, from which
//! the nearest one is offered, the same list as the keys that have an effect.

use super::{
    problem::{Fault, Notes, Problem, Stray},
    units,
    words::{listed, nearest},
};
use crate::display::format_size;
use std::{collections::BTreeMap, ops::Range, time::Duration};
use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

/// One table of the configuration, asked key by key; what was never asked for is unknown.
pub(super) struct Section<'a> {
    path: String,
    table: Option<&'a DeTable<'a>>,
    span: Option<Range<usize>>,
    known: Vec<&'static str>,
    reserved: Vec<&'static str>,
    notes: &'a Notes,
}

impl<'a> Section<'a> {
    /// The table at the top.
    pub(super) fn root(table: &'a DeTable<'a>, notes: &'a Notes) -> Self {
        Self {
            path: String::new(),
            table: Some(table),
            span: None,
            known: Vec::new(),
            reserved: Vec::new(),
            notes,
        }
    }

    /// The key's name in full.
    pub(super) fn name(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    /// Whether the key is there, with whatever value.
    pub(super) fn has(&self, key: &str) -> bool {
        self.table.is_some_and(|table| table.contains_key(key))
    }

    /// Notes a problem with this key's value, or with its absence.
    pub(super) fn report(&self, key: &str, fault: Fault) {
        self.report_beside(key, fault, "", "");
    }

    /// As [`report`](Self::report); points at another key of this section, too, and says what that has to do with it.
    pub(super) fn report_with(&self, key: &str, fault: Fault, other: &str, label: &str) {
        self.report_beside(key, fault, &self.name(other), label);
    }

    /// As [`report_with`](Self::report_with), the other one being anywhere.
    pub(super) fn report_beside(&self, key: &str, fault: Fault, other: &str, label: &str) {
        let name = self.name(key);
        let span = self.notes.find(&name).or_else(|| self.span.clone());
        let fault = Fault { found: format!("{name}: {}", fault.found), ..fault };
        let also = self.notes.find(other).map(|span| (span, label.to_owned()));
        self.notes.push(Problem { also, ..Problem::new(fault, span) });
    }

    fn get(&mut self, key: &'static str) -> Option<&'a DeValue<'a>> {
        self.known.push(key);
        // The index says which one of several it is: they all know the same keys.
        self.notes.know(self.name(key).replace(|c: char| c.is_ascii_digit() || "[]".contains(c), ""));
        let value = self.table?.get(key)?;
        self.notes.place(self.name(key), value.span());
        Some(value.get_ref())
    }

    /// The key's value as `parse` understands it; a problem, and none, when it does not.
    fn value<T>(
        &mut self,
        key: &'static str,
        parse: impl FnOnce(&'a DeValue<'a>) -> Result<T, Fault>,
    ) -> Option<T> {
        let value = self.get(key)?;
        parse(value).map_err(|fault| self.report(key, fault)).ok()
    }

    /// A string that `parse` understands.
    pub(super) fn text<T>(
        &mut self,
        key: &'static str,
        parse: impl FnOnce(&str) -> Result<T, Fault>,
    ) -> Option<T> {
        self.value(key, |value| parse(string(value)?))
    }

    /// One of these words, with what it stands for.
    pub(super) fn word<T: Copy>(&mut self, key: &'static str, words: &[(&str, T)]) -> Option<T> {
        self.text(key, |text| {
            let known = || words.iter().map(|(word, _)| *word);
            words.iter().find(|(word, _)| *word == text).map(|(_, meaning)| *meaning).ok_or_else(|| {
                Fault::new(format!("{text:?} is not known"), format!("wanted {}", listed(known())))
                    .offer(nearest(text, known()).map(|word| format!("{word:?}")))
            })
        })
    }

    /// `true` or `false`.
    pub(super) fn flag(&mut self, key: &'static str) -> Option<bool> {
        self.value(key, |value| {
            value.as_bool().ok_or_else(|| {
                let fault = Fault::new(format!("found {}", show(value)), "wanted true or false");
                match value.as_str() {
                    Some(word @ ("true" | "false")) => fault.help(format!("write {word}, without quotes")),
                    _ => fault,
                }
            })
        })
    }

    /// A whole number within `range`.
    pub(super) fn number(&mut self, key: &'static str, range: Range<u32>) -> Option<u32> {
        self.value(key, |value| {
            let number = value.as_integer().and_then(|n| u32::from_str_radix(n.as_str(), n.radix()).ok());
            number.filter(|number| range.contains(number)).ok_or_else(|| {
                let wanted = format!("wanted a whole number from {} to {}", range.start, range.end - 1);
                let fault = Fault::new(format!("found {}", show(value)), wanted);
                match value.as_str().and_then(|text| text.parse::<u32>().ok()) {
                    Some(number) => fault.help(format!("write {number}, without quotes")),
                    None => fault,
                }
            })
        })
    }

    /// A duration from `min` to `max`.
    pub(super) fn duration(&mut self, key: &'static str, min: Duration, max: Duration) -> Option<Duration> {
        self.value(key, |value| {
            let text = value.as_str().ok_or_else(|| units::bare_duration(&show(value)))?;
            within(text, units::duration(text)?, [min, max], units::show_duration)
        })
    }

    /// A size in bytes from `min` to `max`.
    pub(super) fn size(&mut self, key: &'static str, min: u64, max: u64) -> Option<u64> {
        self.value(key, |value| {
            let text = value.as_str().ok_or_else(|| units::bare_size(&show(value)))?;
            within(text, units::size(text)?, [min, max], format_size)
        })
    }

    /// A list of strings. An item that is none is a problem of its own.
    pub(super) fn texts(&mut self, key: &'static str) -> Option<Vec<String>> {
        let list = self.value(key, |value| {
            value.as_array().ok_or_else(|| {
                let fault = Fault::new(format!("{} is not a list", show(value)), "wanted a list of strings");
                match value.as_str() {
                    Some(text) => fault.help(format!("write {:?}", Vec::from_iter(text.split_whitespace()))),
                    None => fault,
                }
            })
        })?;
        let item = |(index, item): (usize, &'a Spanned<DeValue<'a>>)| {
            self.item(&format!("{key}[{index}]"), item.span(), item.get_ref())
        };
        // All of them are looked at before any is missed.
        let texts: Vec<Option<String>> = list.iter().enumerate().map(item).collect();
        texts.into_iter().collect()
    }

    /// A table of strings. A value that is none is a problem of its own.
    pub(super) fn pairs(&mut self, key: &'static str) -> Option<BTreeMap<String, String>> {
        let table = self.value(key, |value| {
            let wanted =
                || Fault::new(format!("{} is not a table", show(value)), "wanted { NAME = \"value\" }");
            value.as_table().ok_or_else(wanted)
        })?;
        let pair = |(name, value): (&Spanned<_>, &'a Spanned<DeValue<'a>>)| {
            let text: &std::borrow::Cow<'_, str> = name.get_ref();
            let value = self.item(&format!("{key}.{text}"), value.span(), value.get_ref());
            self.notes.place(self.name(&format!("{key}.{text}")), name.span());
            Some((text.clone().into_owned(), value?))
        };
        let pairs: Vec<Option<(String, String)>> = table.iter().map(pair).collect();
        pairs.into_iter().collect()
    }

    fn item(&self, name: &str, span: Range<usize>, value: &DeValue<'_>) -> Option<String> {
        self.notes.place(self.name(name), span);
        string(value).map(str::to_owned).map_err(|fault| self.report(name, fault)).ok()
    }

    /// The table under that key, empty when it is absent.
    pub(super) fn section(&mut self, key: &'static str) -> Self {
        let path = self.name(key);
        let table = self.value(key, |value| {
            let wanted =
                || Fault::new(format!("{} is not a section", show(value)), format!("wanted [{key}]"));
            value.as_table().ok_or_else(wanted)
        });
        Self {
            span: self.notes.find(&path),
            path,
            table,
            known: Vec::new(),
            reserved: Vec::new(),
            notes: self.notes,
        }
    }

    /// The tables of an array of tables (`[[worker]]`).
    pub(super) fn sections(&mut self, key: &'static str) -> Vec<Self> {
        let path = self.name(key);
        let fault = |value: &DeValue<'_>| {
            Fault::new(format!("{} is not a list of sections", show(value)), format!("wanted [[{key}]]"))
                .help(format!("write [[{key}]] before the keys of each"))
        };
        let list = self.value(key, |value| value.as_array().ok_or_else(|| fault(value)));
        let mut sections = Vec::new();
        for (index, item) in list.into_iter().flat_map(|list| list.iter()).enumerate() {
            match item.get_ref().as_table() {
                Some(table) => sections.push(Self {
                    path: format!("{path}[{index}]"),
                    table: Some(table),
                    span: Some(item.span()),
                    known: Vec::new(),
                    reserved: Vec::new(),
                    notes: self.notes,
                }),
                None => self.report(key, fault(item.get_ref())),
            }
        }
        sections
    }

    /// A key of the contract that has no effect yet: refused rather than ignored.
    pub(super) fn later(&mut self, key: &'static str) {
        self.reserved.push(key);
        if let Some((key, _)) = self.table.and_then(|table| table.get_key_value(key)) {
            let found = format!("{}: not in this version", self.name(key.get_ref()));
            self.notes
                .push(Problem::new(Fault::new(found, "reserved").help("remove this key"), Some(key.span())));
        }
    }

    /// Reports every key that was not asked for.
    pub(super) fn end(self) {
        for key in self.table.into_iter().flat_map(DeTable::keys) {
            let name = key.get_ref().as_ref();
            if !self.known.contains(&name) && !self.reserved.contains(&name) {
                self.notes.stray(Stray {
                    section: self.path.clone(),
                    key: name.to_owned(),
                    span: key.span(),
                    known: self.known.clone(),
                });
            }
        }
    }
}

/// A string that may also be a path, an argument or the value of a variable, none of which can hold a NUL.
fn string<'a>(value: &'a DeValue<'_>) -> Result<&'a str, Fault> {
    match value.as_str() {
        Some(text) if text.contains('\0') => {
            Err(Fault::new("found a NUL character", "no path, argument or variable can hold one"))
        }
        Some(text) => Ok(text),
        None => {
            let fault = Fault::new(format!("{} is not a string", show(value)), "wanted a string");
            match value {
                DeValue::Array(_) | DeValue::Table(_) | DeValue::String(_) => Err(fault),
                DeValue::Integer(_) | DeValue::Float(_) | DeValue::Boolean(_) | DeValue::Datetime(_) => {
                    Err(fault.help(format!("write \"{}\", in quotes", show(value))))
                }
            }
        }
    }
}

fn within<T: PartialOrd + Copy>(
    text: &str,
    found: T,
    [min, max]: [T; 2],
    show: fn(T) -> String,
) -> Result<T, Fault> {
    if (min..=max).contains(&found) {
        return Ok(found);
    }
    let wanted = format!("wanted {:?} to {:?}", show(min), show(max));
    Err(Fault::new(format!("{text:?} is out of range"), wanted))
}

fn show(value: &DeValue<'_>) -> String {
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
