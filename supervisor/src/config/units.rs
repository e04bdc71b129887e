//! Durations (`"5s"`, `"0ms"`) and sizes (`"64MiB"`), as written in the configuration.
//!
//! `humantime` and `bytesize` are not used: they accept more forms than the documented one, and cannot suggest what was
//! meant.

use super::problem::Issue;
use crate::display::{DURATION_UNITS, SIZE_UNITS, Units, in_largest_unit};
use std::{ops::RangeInclusive, time::Duration};

/// The longest duration in a configuration; anything longer is most likely a wrong unit.
pub(super) const MAX_DURATION: Duration = Duration::from_secs(24 * 3600);

/// The word for no limit.
const OFF: &str = "off";

/// The shortest and the longest `analytics.expire`, in milliseconds: one second, ten years.
const EXPIRE_RANGE: RangeInclusive<u64> = 1_000..=3_650 * 24 * 3_600_000;

/// A kind of quantity: a whole number directly followed by a unit.
pub(super) struct Quantity {
    noun: &'static str,
    expected: &'static str,
    units: Units,
    /// Other spellings, in lower case. They are suggested, never accepted.
    other_spellings: Units,
}

/// A duration, in milliseconds.
pub(super) const DURATION: Quantity = Quantity {
    noun: "a duration",
    expected: "expected a duration such as \"500ms\", \"5s\", \"2m\", \"1h\" or \"30d\"",
    units: DURATION_UNITS,
    other_spellings: &[
        ("", 1_000),
        ("ms msec msecs millis millisecond milliseconds", 1),
        ("s sec secs second seconds", 1_000),
        ("m min mins minute minutes", 60_000),
        ("h hr hrs hour hours", 3_600_000),
        ("d day days", 24 * 3_600_000),
    ],
};

/// A size, in bytes.
pub(super) const SIZE: Quantity = Quantity {
    noun: "a size",
    expected: "expected a size such as \"512KiB\", \"64MiB\" or \"1GiB\"",
    units: SIZE_UNITS,
    other_spellings: &[
        ("b byte bytes", 1),
        ("k kb ki kib", 1 << 10),
        ("m mb mi mib", 1 << 20),
        ("g gb gi gib", 1 << 30),
        ("t tb ti tib", 1 << 40),
    ],
};

impl Quantity {
    /// Parses a text such as `"5s"`, in the smallest unit.
    ///
    /// # Errors
    /// The text is not a whole number directly followed by a unit, or the amount is not in `range`.
    pub(super) fn parse(&self, text: &str, range: &RangeInclusive<u64>) -> Result<u64, Issue> {
        let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let (number, unit) = text.split_at(digits);
        let scale = self.units.iter().find(|(name, _)| *name == unit).map(|&(_, scale)| scale);
        let amount =
            number.parse::<u64>().ok().zip(scale).and_then(|(number, scale)| number.checked_mul(scale));
        let amount = amount.ok_or_else(|| self.issue(&format!("{text:?}"), text))?;
        if range.contains(&amount) {
            return Ok(amount);
        }
        let [min, max] = [range.start(), range.end()].map(|bound| in_largest_unit(*bound, self.units));
        Err(Issue::new(format!("{text:?} is out of range"), format!("expected {min:?} to {max:?}")))
    }

    /// The issue of a text or of another value. `shown` is the value as the message shows it.
    pub(super) fn issue(&self, shown: &str, text: &str) -> Issue {
        let issue = Issue::new(format!("{shown} is not {}", self.noun), self.expected);
        issue.suggest(self.guess(text).map(|amount| format!("{:?}", in_largest_unit(amount, self.units))))
    }

    /// The amount that was probably meant, in the smallest unit.
    fn guess(&self, text: &str) -> Option<u64> {
        let text = text.trim().to_lowercase();
        let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
        let (number, unit) = text.split_at(end);
        let unit = unit.trim();
        let is_unit = |names: &str| names == unit || names.split(' ').any(|name| name == unit);
        let (_, scale) = *self.other_spellings.iter().find(|(names, _)| is_unit(names))?;
        let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
        let parts = 10_u64.checked_pow(u32::try_from(fraction.len()).ok()?)?;
        let part = fraction.parse::<u64>().ok()?.checked_mul(scale)?;
        let rest = part.checked_div(parts).filter(|_| part.is_multiple_of(parts))?;
        whole.parse::<u64>().ok()?.checked_mul(scale)?.checked_add(rest)
    }
}

/// Parses a share such as `"10%"`; `"off"` is `None`.
///
/// # Errors
/// The text is neither, or the share is not in 1 % to 100 %.
pub(super) fn parse_share(text: &str) -> Result<Option<u8>, Issue> {
    if text == OFF {
        return Ok(None);
    }
    let percent = text.strip_suffix('%').and_then(|digits| digits.parse().ok());
    percent.filter(|percent| (1..=100).contains(percent)).map(Some).ok_or_else(|| {
        Issue::new(
            format!("{text:?} is not a share"),
            "expected a whole percentage from \"1%\" to \"100%\", or \"off\"",
        )
    })
}

/// Parses `analytics.expire`, such as `"30d"`; `"off"` is `None`.
///
/// # Errors
/// The text is neither, or the duration is out of range.
pub(super) fn parse_expire(text: &str) -> Result<Option<Duration>, Issue> {
    if text == OFF {
        return Ok(None);
    }
    DURATION.parse(text, &EXPIRE_RANGE).map(Duration::from_millis).map(Some)
}

/// A share as [`parse_share`] reads it.
pub(super) fn format_share(share: Option<u8>) -> String {
    share.map_or_else(|| OFF.to_owned(), |percent| format!("{percent}%"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::display::{format_exact_duration, format_size};

    fn parse_duration(text: &str) -> Result<Duration, Issue> {
        DURATION.parse(text, &(0..=u64::MAX)).map(Duration::from_millis)
    }

    fn parse_size(text: &str) -> Result<u64, Issue> {
        SIZE.parse(text, &(0..=u64::MAX))
    }

    #[test]
    fn a_duration_is_a_number_and_a_unit() {
        assert_eq!(parse_duration("0ms"), Ok(Duration::ZERO));
        assert_eq!(parse_duration("5s"), Ok(Duration::from_secs(5)));
        assert_eq!(parse_duration("2m"), Ok(Duration::from_secs(120)));
        assert_eq!(parse_duration("1h"), Ok(Duration::from_secs(3600)));
    }

    #[test]
    fn size_units_are_powers_of_1024() {
        assert_eq!(parse_size("64MiB"), Ok(64 << 20));
        assert_eq!(parse_size("4096B"), Ok(4096));
        assert_eq!(parse_size("1GiB"), Ok(1 << 30));
    }

    #[test]
    fn any_other_text_is_refused_and_quoted() {
        for text in
            ["", "5", "s", "5 s", "-5s", "5.5s", "5sec", "99999999999999999999s", "18446744073709551615h"]
        {
            let error = parse_duration(text).unwrap_err();
            assert_eq!(error.found, format!("{text:?} is not a duration"));
        }
        for text in ["64", "64MB", "64mib", "MiB", "64 MiB"] {
            assert!(parse_size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_likely_meaning_is_suggested() {
        for (text, likely) in
            [("5", "5s"), ("5 sec", "5s"), ("1.5s", "1500ms"), ("2 Minutes", "2m"), ("1 day", "1d")]
        {
            assert_eq!(
                parse_duration(text).unwrap_err().help,
                Some(format!("did you mean {likely:?}?")),
                "{text}"
            );
        }
        for (text, likely) in [("64MB", "64MiB"), ("64m", "64MiB"), ("1.5 GB", "1536MiB"), ("2TB", "2048GiB")]
        {
            assert_eq!(
                parse_size(text).unwrap_err().help,
                Some(format!("did you mean {likely:?}?")),
                "{text}"
            );
        }
        for text in ["", "s", "5 apples", "-5s", "1.0001s", "1..5s", ".5s", "99999999999999999999s"] {
            assert_eq!(parse_duration(text).unwrap_err().help, None, "{text}");
        }
        assert_eq!(parse_size("64").unwrap_err().help, None, "the unit is unknown");
    }

    #[test]
    fn quantities_are_formatted_as_they_are_written() {
        for text in ["0ms", "1500ms", "5s", "2m", "1h"] {
            assert_eq!(format_exact_duration(parse_duration(text).unwrap()), text);
        }
        for text in ["0B", "5B", "512KiB", "64MiB", "1GiB"] {
            assert_eq!(format_size(parse_size(text).unwrap()), text);
        }
    }
}
