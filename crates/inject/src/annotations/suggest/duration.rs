//! Durations in the notation of other programs.

use scaivault_contract::Duration;

/// Converts `1min`, `60`, `5 m`, `1h30m` or `1.5h` to ScaiVault's notation.
pub(super) fn meant(lower: &str) -> Option<String> {
    let text: String = lower.chars().filter(|c| !c.is_whitespace()).collect();
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Some(format!("{text}s"));
    }
    let mut rest = text.as_str();
    let (mut seconds, mut parts) = (0_u64, 0);
    let mut only = None;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, behind) = rest.split_at(end);
        let end = behind.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(behind.len());
        let (unit, next) = behind.split_at(end);
        let (letter, length) = unit_of(unit)?;
        seconds = seconds.checked_add(times(number, length)?)?;
        only = number.parse::<u64>().ok().filter(|_| letter != 'w').map(|number| format!("{number}{letter}"));
        (rest, parts) = (next, parts + 1);
    }
    match only.filter(|_| parts == 1) {
        Some(text) => Some(text),
        None => (seconds > 0).then(|| Duration::from_secs(seconds).to_string()),
    }
}

/// The letter of a unit and its length in seconds.
fn unit_of(unit: &str) -> Option<(char, u64)> {
    Some(match unit {
        "s" | "sec" | "secs" | "second" | "seconds" => ('s', 1),
        "m" | "min" | "mins" | "minute" | "minutes" => ('m', 60),
        "h" | "hr" | "hrs" | "hour" | "hours" => ('h', 3_600),
        "d" | "day" | "days" => ('d', 86_400),
        "w" | "wk" | "week" | "weeks" => ('w', 604_800),
        _ => return None,
    })
}

/// A number, which may have a fraction, multiplied by the unit's seconds.
fn times(number: &str, seconds: u64) -> Option<u64> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let mut total = whole.parse::<u64>().ok()?.checked_mul(seconds)?;
    if !fraction.is_empty() {
        let scale = 10_u64.checked_pow(u32::try_from(fraction.len()).ok()?)?;
        total = total.checked_add(fraction.parse::<u64>().ok()?.checked_mul(seconds)? / scale)?;
    }
    Some(total)
}
