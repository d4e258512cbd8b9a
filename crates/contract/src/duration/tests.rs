use std::collections::HashSet;

use proptest::prelude::*;

use super::*;

#[test]
fn reads_one_number_and_one_unit() {
    for (text, seconds) in [
        ("1s", 1),
        ("300s", 300),
        ("5m", 300),
        ("24h", 86_400),
        ("90d", 7_776_000),
        ("366d", 31_622_400),
        ("31622400s", 31_622_400),
    ] {
        let duration: Duration = text.parse().unwrap();
        assert_eq!(duration.as_secs(), seconds, "{text}");
        assert_eq!(duration.to_std(), std::time::Duration::from_secs(seconds));
        assert_eq!(duration.to_string(), text);
    }
}

#[test]
fn refusals_name_the_reason() {
    use DurationFault::{Compound, LeadingZero, NoNumber, NoUnit, Space, TooLong, UnknownUnit, Zero};
    for (text, fault) in [
        ("", NoNumber),
        ("m", NoNumber),
        ("-5m", NoNumber),
        ("+5m", NoNumber),
        (" 5m", NoNumber),
        ("05m", LeadingZero),
        ("300", NoUnit),
        ("1h30m", Compound),
        ("1.5h", Compound),
        ("5min", UnknownUnit),
        ("500ms", UnknownUnit),
        ("2w", UnknownUnit),
        ("5M", UnknownUnit),
        ("5m ", Space),
        ("5 m", Space),
        ("1h 30m", Compound),
        ("0s", Zero),
        ("0d", Zero),
        ("367d", TooLong),
        ("31622401s", TooLong),
        ("18446744073709551615d", TooLong),
        ("99999999999999999999999s", TooLong),
    ] {
        assert_eq!(text.parse::<Duration>().unwrap_err().fault, fault, "{text:?}");
    }
    assert_eq!(
        "300".parse::<Duration>().unwrap_err().to_string(),
        "\"300\" is not a duration: it has no unit, such as the s of 30s; allowed: one whole number and one unit \
         (s, m, h or d), greater than zero and at most 366d, such as 30s or 5m"
    );
}

#[test]
fn zero_is_only_read_where_it_is_allowed() {
    assert_eq!(Duration::parse_allowing_zero("0s"), Ok(Duration::ZERO));
    assert_eq!(Duration::parse_allowing_zero("0h"), Ok(Duration::ZERO));
    assert_eq!(Duration::parse_allowing_zero("5m"), Ok(Duration::from_secs(300)));
    assert!(Duration::parse_allowing_zero("0").is_err());
    assert_eq!(Duration::ZERO.to_string(), "0s");
}

#[test]
fn seconds_are_written_in_the_largest_exact_unit() {
    for (seconds, text) in [
        (0, "0s"),
        (59, "59s"),
        (60, "1m"),
        (61, "61s"),
        (5400, "90m"),
        (7200, "2h"),
        (172_800, "2d"),
        (u64::MAX, "366d"),
    ] {
        assert_eq!(Duration::from_secs(seconds).to_string(), text);
    }
}

#[test]
fn compares_by_length() {
    let parse = |text: &str| text.parse::<Duration>().unwrap();
    assert_eq!(parse("60s"), parse("1m"));
    assert_eq!(HashSet::from([parse("60s"), parse("1m"), parse("1h")]).len(), 2);
    assert!(parse("90m") > parse("1h"));
    assert!(parse("59s") < parse("1m"));
}

proptest! {
    #[test]
    fn written_text_can_be_parsed(seconds in 1..=Duration::MAX.as_secs()) {
        let duration = Duration::from_secs(seconds);
        prop_assert_eq!(duration.as_secs(), seconds);
        let read: Duration = duration.to_string().parse().unwrap();
        prop_assert_eq!((read.as_secs(), read.to_string()), (seconds, duration.to_string()));
    }

    #[test]
    fn never_fails_otherwise_than_by_an_error(text in "[0-9smhd]{0,30}|\\PC{0,20}") {
        if let Ok(duration) = text.parse::<Duration>() {
            prop_assert_eq!(duration.to_string(), text);
        }
    }
}
