//! Quantities as people write them: durations (`"5s"`, `"0ms"`) and sizes (`"64MiB"`).

use std::time::Duration;

/// The units of a duration, with their length in milliseconds.
const DURATIONS: &[(&str, u64)] = &[("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000)];

/// The units of a size, with their length in bytes.
const SIZES: &[(&str, u64)] = &[("B", 1), ("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30)];

/// Reads a duration such as `"5s"`.
///
/// # Errors
/// Text for a person, when it is not a whole number directly followed by `ms`, `s`, `m` or `h`.
pub fn duration(text: &str) -> Result<Duration, String> {
    quantity(text, DURATIONS, "a duration such as \"500ms\", \"5s\", \"2m\" or \"1h\"")
        .map(Duration::from_millis)
}

/// Reads a size in bytes such as `"64MiB"`.
///
/// # Errors
/// Text for a person, when it is not a whole number directly followed by `B`, `KiB`, `MiB` or `GiB`.
pub fn size(text: &str) -> Result<u64, String> {
    quantity(text, SIZES, "a size such as \"512KiB\", \"64MiB\" or \"1GiB\" (powers of 1024)")
}

fn quantity(text: &str, units: &[(&str, u64)], wanted: &str) -> Result<u64, String> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let scale = units.iter().find(|(name, _)| *name == unit).map(|&(_, scale)| scale);
    let number: Option<u64> = number.parse().ok();
    number
        .zip(scale)
        .and_then(|(number, scale)| number.checked_mul(scale))
        .ok_or_else(|| format!("wanted {wanted}, found {text:?}"))
}

/// Writes a duration in the largest unit that needs no fraction.
#[must_use]
pub fn show_duration(duration: Duration) -> String {
    show(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX), DURATIONS)
}

/// Writes a size in the largest unit that needs no fraction.
#[must_use]
pub fn show_size(bytes: u64) -> String {
    show(bytes, SIZES)
}

fn show(amount: u64, units: &[(&str, u64)]) -> String {
    let whole = units.iter().rev().find(|(_, scale)| amount != 0 && amount.is_multiple_of(*scale));
    let (unit, scale) = whole.copied().unwrap_or(units[0]);
    format!("{}{unit}", amount / scale)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_a_number_and_a_unit() {
        assert_eq!(duration("0ms"), Ok(Duration::ZERO));
        assert_eq!(duration("5s"), Ok(Duration::from_secs(5)));
        assert_eq!(duration("2m"), Ok(Duration::from_secs(120)));
        assert_eq!(duration("1h"), Ok(Duration::from_secs(3600)));
    }

    #[test]
    fn sizes_are_powers_of_1024() {
        assert_eq!(size("64MiB"), Ok(64 << 20));
        assert_eq!(size("4096B"), Ok(4096));
        assert_eq!(size("1GiB"), Ok(1 << 30));
    }

    #[test]
    fn anything_else_is_refused_and_quoted() {
        for text in
            ["", "5", "s", "5 s", "-5s", "5.5s", "5sec", "99999999999999999999s", "18446744073709551615h"]
        {
            let error = duration(text).unwrap_err();
            assert!(error.contains(&format!("found {text:?}")), "{error}");
        }
        for text in ["64", "64MB", "64mib", "MiB", "64 MiB"] {
            assert!(size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn quantities_are_shown_as_they_are_written() {
        for text in ["0ms", "1500ms", "5s", "2m", "1h"] {
            assert_eq!(show_duration(duration(text).unwrap()), text);
        }
        for text in ["0B", "5B", "512KiB", "64MiB", "1GiB"] {
            assert_eq!(show_size(size(text).unwrap()), text);
        }
    }
}
