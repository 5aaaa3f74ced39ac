//! The values of `since:`: a length of time before now, a day, or an instant.
//!
//! Not here: reading a clock. Now is given.

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use ledger_core::Nanos;

/// Seconds of each unit.
const UNITS: &[(char, i64)] = &[
    ('s', 1),
    ('m', 60),
    ('h', 3_600),
    ('d', 86_400),
    ('w', 604_800),
];

/// The instant that `value` names: `90s`, `30m`, `12h`, `7d`, `2w` before `now`; a day such as
/// `2026-11-24`, from its midnight in UTC; or an RFC 3339 time with its offset. `None` if it is
/// none of these, or lies outside what nanoseconds since 1970 can say.
pub(crate) fn since(value: &str, now: Nanos) -> Option<Nanos> {
    before_now(value, now)
        .or_else(|| instant(value.parse::<Timestamp>().ok()?))
        .or_else(|| {
            let day: Date = value.parse().ok().filter(|_| value.len() == 10)?;
            instant(TimeZone::UTC.to_timestamp(day.at(0, 0, 0, 0)).ok()?)
        })
}

fn before_now(value: &str, now: Nanos) -> Option<Nanos> {
    let unit = value.chars().next_back()?;
    let (_, seconds) = UNITS.iter().find(|(name, _)| *name == unit)?;
    let digits = value.strip_suffix(unit)?;
    let plain = !digits.is_empty() && digits.bytes().all(|digit| digit.is_ascii_digit());
    let count: i64 = digits.parse().ok().filter(|_| plain)?;
    let nanos = count.checked_mul(*seconds)?.checked_mul(1_000_000_000)?;
    now.0.checked_sub(nanos).map(Nanos)
}

fn instant(time: Timestamp) -> Option<Nanos> {
    i64::try_from(time.as_nanosecond()).ok().map(Nanos)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_that_name_no_instant_are_refused_and_the_twins_read() {
        let now = Nanos(1_795_600_000_000_000_000);
        let ago = |seconds: i64| Some(Nanos(now.0 - seconds * 1_000_000_000));
        for (value, expected) in [
            ("", None),
            ("d", None),
            ("7", None),
            ("-7d", None),
            ("+7d", None),
            ("7 d", None),
            ("7D", None),
            ("7y", None),
            ("99999999999999999999d", None),
            ("9999999999w", None),
            ("yesterday", None),
            ("2026-13-01", None),
            ("2026-11-24T10:00:00", None),
            ("9999-01-01", None),
            ("é", None),
            ("0s", ago(0)),
            ("90s", ago(90)),
            ("30m", ago(1_800)),
            ("12h", ago(43_200)),
            ("7d", ago(604_800)),
            ("2w", ago(1_209_600)),
            ("2026-11-24", Some(Nanos(1_795_478_400_000_000_000))),
            (
                "2026-11-24T00:00:00Z",
                Some(Nanos(1_795_478_400_000_000_000)),
            ),
            (
                "2026-11-24T01:00:00+01:00",
                Some(Nanos(1_795_478_400_000_000_000)),
            ),
            ("1970-01-01T00:00:00.000000001Z", Some(Nanos(1))),
        ] {
            assert_eq!(since(value, now), expected, "{value}");
        }
    }
}
