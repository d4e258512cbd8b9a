//! Kubernetes quantities: `100m`, `64Mi`, `1.5`, `2e3`.

use std::{cmp::Ordering, fmt, str::FromStr};

use thiserror::Error;

/// An amount of CPU or memory; compared by value, written in its original form.
#[derive(Clone, Debug)]
pub(crate) struct Quantity {
    /// In billionths, rounded up as the API server does (its smallest unit is `n`).
    nanos: i128,
    text: String,
}

/// The API server would not accept the text as a quantity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("not a quantity")]
pub(crate) struct QuantityError;

const NANOS: i128 = 1_000_000_000;
/// The largest amount that the API server supports (2^63 - 1 units).
const LARGEST: i128 = i64::MAX as i128 * NANOS;

impl Quantity {
    /// The accepted values, for error messages.
    pub(crate) const ALLOWED: &'static str = "a positive Kubernetes quantity such as 100m, 0.5, 64Mi or 1Gi";

    /// Whole mebibytes.
    pub(crate) fn mebibytes(count: u32) -> Self {
        Self { nanos: i128::from(count) * (1 << 20) * NANOS, text: [&count.to_string(), "Mi"].concat() }
    }

    /// Whole kibibytes.
    pub(crate) fn kibibytes(count: u32) -> Self {
        Self { nanos: i128::from(count) * (1 << 10) * NANOS, text: [&count.to_string(), "Ki"].concat() }
    }

    /// Whole units: CPUs or bytes.
    pub(crate) fn whole(count: u32) -> Self {
        Self { nanos: i128::from(count) * NANOS, text: count.to_string() }
    }

    /// The quantity that a text probably means, such as `8Mi` for `8 MiB` and `1G` for `1gb`.
    pub(crate) fn meant(text: &str) -> Option<String> {
        if text.len() > 32 {
            return None;
        }
        let text: String = text.chars().filter(|c| !c.is_whitespace()).collect::<String>().replace(',', ".");
        let digits_end = text.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, suffix) = text.split_at(digits_end);
        let suffix = suffix.to_ascii_lowercase();
        let suffix = suffix.strip_suffix("bytes").or_else(|| suffix.strip_suffix('b')).unwrap_or(&suffix);
        let scale = match suffix {
            "" => "",
            "k" => "k",
            "m" => "M",
            "g" => "G",
            "t" => "T",
            "ki" => "Ki",
            "mi" => "Mi",
            "gi" => "Gi",
            "ti" => "Ti",
            _ => return None,
        };
        let meant = format!("{number}{scale}");
        meant.parse::<Self>().is_ok().then_some(meant)
    }

    /// Thousandths of a CPU.
    pub(crate) fn millis(count: u32) -> Self {
        Self { nanos: i128::from(count) * 1_000_000, text: [&count.to_string(), "m"].concat() }
    }

    /// The sum in mebibytes, rounded up.
    pub(crate) fn plus_mebibytes(&self, count: u32) -> Self {
        let mebibyte = (1 << 20) * NANOS;
        let whole = (self.nanos + mebibyte - 1) / mebibyte;
        Self::mebibytes(u32::try_from(whole).unwrap_or(u32::MAX).saturating_add(count))
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether it is greater than zero.
    pub(crate) fn is_positive(&self) -> bool {
        self.nanos > 0
    }
}

impl FromStr for Quantity {
    type Err = QuantityError;

    fn from_str(text: &str) -> Result<Self, QuantityError> {
        let digits_end = text
            .bytes()
            .position(|b| !(b.is_ascii_digit() || matches!(b, b'.' | b'+' | b'-')))
            .unwrap_or(text.len());
        let (number, suffix) = text.split_at(digits_end);
        let (negative, number) = match number.as_bytes().first() {
            Some(b'-') => (true, &number[1..]),
            Some(b'+') => (false, &number[1..]),
            _ => (false, number),
        };
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        let only_digits = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
        // 18 digits are enough for every amount, and no product below overflows 128 bits.
        if (whole.is_empty() && fraction.is_empty())
            || whole.len() > 18
            || fraction.len() > 9
            || !only_digits(whole)
            || !only_digits(fraction)
        {
            return Err(QuantityError);
        }
        let (multiplier, divisor) = scale(suffix).ok_or(QuantityError)?;
        let fraction_scale = 10_i128.pow(u32::try_from(fraction.len()).map_err(|_| QuantityError)?);
        let digits: i128 = format!("0{whole}{fraction}").parse().map_err(|_| QuantityError)?;
        let dividend =
            digits.checked_mul(multiplier).and_then(|n| n.checked_mul(NANOS)).ok_or(QuantityError)?;
        let divisor = divisor * fraction_scale;
        let nanos = (dividend + divisor - 1) / divisor;
        if nanos > LARGEST {
            return Err(QuantityError);
        }
        Ok(Self { nanos: if negative { -nanos } else { nanos }, text: text.to_owned() })
    }
}

/// Multiplier and divisor of a suffix.
fn scale(suffix: &str) -> Option<(i128, i128)> {
    Some(match suffix {
        "n" => (1, 1_000_000_000),
        "u" => (1, 1_000_000),
        "m" => (1, 1_000),
        "" => (1, 1),
        "k" => (1_000, 1),
        "M" => (1_000_000, 1),
        "G" => (1_000_000_000, 1),
        "T" => (1_000_000_000_000, 1),
        "P" => (1_000_000_000_000_000, 1),
        "E" => (1_000_000_000_000_000_000, 1),
        "Ki" => (1 << 10, 1),
        "Mi" => (1 << 20, 1),
        "Gi" => (1 << 30, 1),
        "Ti" => (1 << 40, 1),
        "Pi" => (1 << 50, 1),
        "Ei" => (1 << 60, 1),
        exponent => {
            let power: i32 = exponent.strip_prefix(['e', 'E'])?.parse().ok()?;
            let scale = 10_i128.checked_pow(power.unsigned_abs()).filter(|_| power.abs() <= 18)?;
            if power < 0 { (1, scale) } else { (scale, 1) }
        }
    })
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl PartialEq for Quantity {
    fn eq(&self, other: &Self) -> bool {
        self.nanos == other.nanos
    }
}

impl Eq for Quantity {}

impl PartialOrd for Quantity {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Quantity {
    fn cmp(&self, other: &Self) -> Ordering {
        self.nanos.cmp(&other.nanos)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quantity(text: &str) -> Quantity {
        text.parse().unwrap_or_else(|_| panic!("{text}"))
    }

    #[test]
    fn equal_amounts_in_any_notation_are_equal() {
        for (one, other) in [
            ("1", "1000m"),
            ("1Gi", "1024Mi"),
            ("0.5", "500m"),
            ("1e3", "1k"),
            ("1.5Gi", "1536Mi"),
            ("1E", "1e18"),
        ] {
            assert_eq!(quantity(one), quantity(other));
        }
        assert!(quantity("64Mi") < quantity("68M") && quantity("1m") > quantity("1u"));
    }

    #[test]
    fn quantities_that_the_api_server_refuses_are_refused() {
        for text in
            ["", ".", "Mi", "1 Mi", "1mi", "1MiB", "0x10", "1e", "e3", "--1", "1.2.3", "9Ei", "1e40", "1e-40"]
        {
            assert!(text.parse::<Quantity>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_wrong_unit_has_a_quantity_that_was_meant() {
        for (text, meant) in [
            ("8mi", Some("8Mi")),
            ("8MB", Some("8M")),
            ("8 MiB", Some("8Mi")),
            ("1g", Some("1G")),
            ("64K", Some("64k")),
            ("64kb", Some("64k")),
            ("1,5Gi", Some("1.5Gi")),
            ("512 bytes", Some("512")),
            ("much", None),
            ("8 miles", None),
            ("", None),
        ] {
            assert_eq!(Quantity::meant(text).as_deref(), meant, "{text}");
        }
    }

    #[test]
    fn sums_round_up_to_whole_mebibytes() {
        assert_eq!(quantity("8Mi").plus_mebibytes(16).as_str(), "24Mi");
        assert_eq!(quantity("1").plus_mebibytes(16).as_str(), "17Mi");
    }
}
