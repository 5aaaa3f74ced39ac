//! Times of a log line: a civil time and a zone abbreviation, which names a zone only sometimes.
//!
//! `UTC`, `GMT` and numeric offsets are exact. Otherwise the source's `timezone` setting decides
//! (and the abbreviation decides which side of a repeated hour it is); without one, abbreviations
//! that only one zone in wide use has are read as that, and the assumption is noted; any other is
//! read as UTC and flagged. Not here: what the time is the time of.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::{AmbiguousOffset, Offset, TimeZone};
use ledger_core::Nanos;

/// A zone that the source's configuration names.
#[derive(Clone, Debug)]
pub(crate) struct Zone {
    name: String,
    zone: TimeZone,
}

/// A time that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Time {
    /// The time.
    pub(crate) at: Nanos,
    /// Offset from UTC in minutes.
    pub(crate) offset_minutes: i32,
    /// Which zone it was read in, unless that was exact; and the flag that says how far that is
    /// known.
    pub(crate) assumed: Option<(String, &'static str)>,
}

/// Abbreviations with one meaning in wide use, with their offset in minutes.
const ABBREVIATIONS: &[(&str, i32)] = &[
    ("EST", -300),
    ("EDT", -240),
    ("MST", -420),
    ("MDT", -360),
    ("PST", -480),
    ("PDT", -420),
    ("AKST", -540),
    ("AKDT", -480),
    ("HST", -600),
    ("CET", 60),
    ("CEST", 120),
    ("EET", 120),
    ("EEST", 180),
    ("WET", 0),
    ("WEST", 60),
    ("MSK", 180),
    ("JST", 540),
    ("KST", 540),
    ("HKT", 480),
    ("AEST", 600),
    ("AEDT", 660),
    ("ACST", 570),
    ("ACDT", 630),
    ("AWST", 480),
    ("NZST", 720),
    ("NZDT", 780),
    ("SAST", 120),
    ("CAT", 120),
    ("EAT", 180),
    ("WAT", 60),
];

impl Zone {
    /// A zone of the IANA database.
    pub(crate) fn named(name: &str) -> Option<Zone> {
        TimeZone::get(name).ok().map(|zone| Zone {
            name: name.to_owned(),
            zone,
        })
    }
}

/// Reads `YYYY-MM-DD HH:MM:SS[.fff] ZZZ`.
pub(crate) fn parse(text: &str, zone: Option<&Zone>) -> Option<Time> {
    let blank = text.bytes().rposition(|byte| byte == b' ')?;
    let (civil, abbreviation) = (text.get(..blank)?, text.get(blank + 1..)?);
    let civil = civil_time(civil.as_bytes())?;
    let utc = Offset::UTC.to_timestamp(civil).ok()?;
    if let Some(offset_minutes) = exact(abbreviation) {
        return shifted(utc, offset_minutes, None);
    }
    if let Some(zone) = zone {
        return in_zone(civil, Some(abbreviation), zone);
    }
    match ABBREVIATIONS.iter().find(|(name, _)| *name == abbreviation) {
        Some((name, minutes)) => {
            let assumed = format!("{name} read as UTC{:+}", f64::from(*minutes) / 60.0);
            shifted(utc, *minutes, Some((assumed, "zone-assumed")))
        }
        None => shifted(
            utc,
            0,
            Some((format!("{abbreviation} read as UTC"), "zone-unknown")),
        ),
    }
}

/// The form that [`parse`] reads of `seconds.milliseconds` since the Unix epoch.
pub(crate) fn of_epoch(text: &str) -> Option<String> {
    let (seconds, fraction) = text.split_once('.')?;
    let fraction = fraction.get(..3).filter(|_| fraction.len() == 3)?;
    let at = Timestamp::from_second(seconds.parse().ok()?).ok()?;
    let civil = Offset::UTC.to_datetime(at);
    let (date, time) = (civil.date(), civil.time());
    Some(format!(
        "{:04}-{:02}-{:02} {:02}:{:02}:{:02}.{fraction} UTC",
        date.year(),
        date.month(),
        date.day(),
        time.hour(),
        time.minute(),
        time.second()
    ))
}

/// Reads a time without any zone: the server's own. Without a configured zone it is read as UTC and
/// flagged.
pub(crate) fn local(civil: DateTime, zone: Option<&Zone>) -> Option<Time> {
    match zone {
        Some(zone) => in_zone(civil, None, zone),
        None => {
            let utc = Offset::UTC.to_timestamp(civil).ok()?;
            let assumed = ("local time read as UTC".to_owned(), "zone-unknown");
            shifted(utc, 0, Some(assumed))
        }
    }
}

fn shifted(utc: Timestamp, minutes: i32, assumed: Option<(String, &'static str)>) -> Option<Time> {
    let ns = i64::try_from(utc.as_nanosecond()).ok()?;
    let at = Nanos(ns.checked_sub(i64::from(minutes).checked_mul(60_000_000_000)?)?);
    Some(Time {
        at,
        offset_minutes: minutes,
        assumed,
    })
}

fn in_zone(civil: DateTime, abbreviation: Option<&str>, zone: &Zone) -> Option<Time> {
    let ambiguous = zone.zone.to_ambiguous_timestamp(civil);
    let (offset, mut flag) = match ambiguous.offset() {
        AmbiguousOffset::Unambiguous { offset } => (offset, "zone-configured"),
        AmbiguousOffset::Gap { before, .. } => (before, "dst-gap"),
        AmbiguousOffset::Fold { before, after } => {
            let is = |offset| abbreviates(civil, offset, abbreviation, zone);
            match (is(before), is(after)) {
                (Some(true), Some(false)) => (before, "zone-configured"),
                (Some(false), Some(true)) => (after, "zone-configured"),
                _ => (before, "dst-fold"),
            }
        }
    };
    if flag == "zone-configured" && abbreviates(civil, offset, abbreviation, zone) == Some(false) {
        flag = "zone-mismatch";
    }
    let minutes = offset.seconds() / 60;
    let utc = Offset::UTC.to_timestamp(civil).ok()?;
    shifted(utc, minutes, Some((zone.name.clone(), flag)))
}

/// Whether the zone writes this abbreviation at this offset.
fn abbreviates(
    civil: DateTime,
    offset: Offset,
    abbreviation: Option<&str>,
    zone: &Zone,
) -> Option<bool> {
    let abbreviation = abbreviation?;
    let at = offset.to_timestamp(civil).ok()?;
    Some(zone.zone.to_offset_info(at).abbreviation() == abbreviation)
}

/// The offset in minutes that an abbreviation states by itself.
fn exact(abbreviation: &str) -> Option<i32> {
    if matches!(abbreviation, "UTC" | "GMT" | "UCT" | "Z") {
        return Some(0);
    }
    // Zones without letters are written as `+03`, `-0330` or `+05:45`.
    let (sign, digits) = match abbreviation.split_at_checked(1)? {
        ("+", digits) => (1, digits),
        ("-", digits) => (-1, digits),
        _ => return None,
    };
    let digits = digits.replace(':', "");
    let (hours, minutes) = match digits.len() {
        2 => (digits.get(..2)?, "0"),
        4 => (digits.get(..2)?, digits.get(2..)?),
        _ => return None,
    };
    Some(sign * (hours.parse::<i32>().ok()? * 60 + minutes.parse::<i32>().ok()?))
}

/// The number of two digits.
#[inline]
pub(crate) fn two(tens: u8, ones: u8) -> Option<i8> {
    let digits = tens.is_ascii_digit() && ones.is_ascii_digit();
    let number = digits.then(|| (tens - b'0') * 10 + (ones - b'0'))?;
    Some(number.cast_signed())
}

fn civil_time(text: &[u8]) -> Option<DateTime> {
    let (whole, fraction) = text.split_first_chunk::<19>()?;
    let [
        y0,
        y1,
        y2,
        y3,
        b'-',
        mo0,
        mo1,
        b'-',
        d0,
        d1,
        b' ',
        h0,
        h1,
        b':',
        mi0,
        mi1,
        b':',
        s0,
        s1,
    ] = *whole
    else {
        return None;
    };
    let three = |a: u8, b: u8, c: u8| Some(i32::from(two(a, b)?) * 10 + i32::from(two(b'0', c)?));
    let fraction = match *fraction {
        [] => 0,
        [b'.', a, b, c] => three(a, b, c)? * 1_000_000,
        [b'.', a, b, c, d, e, f] => three(a, b, c)? * 1_000_000 + three(d, e, f)? * 1_000,
        _ => return None,
    };
    let year = i16::from(two(y0, y1)?) * 100 + i16::from(two(y2, y3)?);
    let (month, day) = (two(mo0, mo1)?, two(d0, d1)?);
    let (hour, minute, second) = (two(h0, h1)?, two(mi0, mi1)?, two(s0, s1)?);
    DateTime::new(year, month, day, hour, minute, second, fraction).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_zones() {
        let york = Zone::named("America/New_York").unwrap();
        for (text, zone, at, minutes, flag) in [
            (
                "2026-11-23 09:42:06.565 UTC",
                None,
                1_795_426_926_565,
                0,
                None,
            ),
            (
                "2026-11-23 04:42:06.565 EST",
                None,
                1_795_426_926_565,
                -300,
                Some("zone-assumed"),
            ),
            (
                "2026-11-23 04:42:06.565 EST",
                Some(&york),
                1_795_426_926_565,
                -300,
                Some("zone-configured"),
            ),
            (
                "2026-11-23 09:42:06.565 UTC",
                Some(&york),
                1_795_426_926_565,
                0,
                None,
            ),
            (
                "2026-11-23 12:42:06.565 +03",
                None,
                1_795_426_926_565,
                180,
                None,
            ),
            (
                "2026-11-23 15:27:06.565 +0545",
                None,
                1_795_426_926_565,
                345,
                None,
            ),
            (
                "2026-11-23 09:42:06.565 XYZ",
                None,
                1_795_426_926_565,
                0,
                Some("zone-unknown"),
            ),
            // The hour that comes twice: the abbreviation says which.
            (
                "2026-11-01 01:30:00.000 EDT",
                Some(&york),
                1_793_511_000_000,
                -240,
                Some("zone-configured"),
            ),
            (
                "2026-11-01 01:30:00.000 EST",
                Some(&york),
                1_793_514_600_000,
                -300,
                Some("zone-configured"),
            ),
            (
                "2026-11-01 01:30:00.000 XYZ",
                Some(&york),
                1_793_511_000_000,
                -240,
                Some("dst-fold"),
            ),
            (
                "2026-11-23 04:42:06.565 CST",
                Some(&york),
                1_795_426_926_565,
                -300,
                Some("zone-mismatch"),
            ),
        ] {
            let time = parse(text, zone).unwrap();
            assert_eq!(time.at, Nanos(at * 1_000_000), "{text}");
            assert_eq!(time.offset_minutes, minutes, "{text}");
            assert_eq!(time.assumed.map(|(_, flag)| flag), flag, "{text}");
        }
        // A time without any abbreviation: the hour that comes twice, the one that never is, and the
        // seconds beside them.
        for (text, at, flag) in [
            ("2026-11-01 00:59:59", 1_793_509_199, "zone-configured"),
            ("2026-11-01 01:00:00", 1_793_509_200, "dst-fold"),
            ("2026-11-01 01:59:59", 1_793_512_799, "dst-fold"),
            ("2026-11-01 02:00:00", 1_793_516_400, "zone-configured"),
            ("2026-03-08 02:30:00", 1_772_955_000, "dst-gap"),
            ("2026-03-08 03:00:00", 1_772_953_200, "zone-configured"),
        ] {
            let civil = civil_time(text.as_bytes()).unwrap();
            let time = local(civil, Some(&york)).unwrap();
            assert_eq!(time.at, Nanos(at * 1_000_000_000), "{text}");
            assert_eq!(time.assumed.map(|(_, flag)| flag), Some(flag), "{text}");
        }
        for bad in [
            "",
            "2026-11-23 09:42:06.565",
            "2026-13-23 09:42:06.565 UTC",
            "2026-11-23T09:42:06 UTC",
            "2026-11-23 09:42:6 UTC",
        ] {
            assert!(parse(bad, None).is_none(), "{bad}");
        }
        assert!(Zone::named("Mars/Olympus").is_none());
    }
}
