//! Date in the one form that SIP has: RFC 1123 in GMT (RFC 3261 s.20.17).

use super::{HeaderName, TypedHeader};
use crate::error::Malformed;

/// A moment, in seconds since 1970-01-01 00:00:00 UTC, from there to the end of the year 9999.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Date(u64);

const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
const SECONDS_PER_DAY: u64 = 86_400;
const SECONDS_MAX: u64 = 253_402_300_799;

impl Date {
    /// Makes a date from seconds since 1970; later than the year 9999 becomes its last second.
    #[must_use]
    pub fn from_unix_seconds(seconds: u64) -> Self {
        Self(seconds.min(SECONDS_MAX))
    }

    /// Returns the seconds since 1970.
    #[must_use]
    pub fn unix_seconds(self) -> u64 {
        self.0
    }
}

impl TypedHeader for Date {
    const NAME: HeaderName = HeaderName::Date;

    fn parse(value: &str) -> Result<Self, Malformed> {
        parse_rfc_1123(value).ok_or(Malformed("not an RFC 1123 date in GMT"))
    }

    fn write(&self, out: &mut String) {
        let day = self.0 / SECONDS_PER_DAY;
        let second = self.0 % SECONDS_PER_DAY;
        let (year, month, day_of_month) = civil_from_days(day);
        let named = |names: &[&'static str], index: u64| {
            usize::try_from(index).ok().and_then(|index| names.get(index).copied()).unwrap_or("")
        };
        out.push_str(&format!(
            "{}, {day_of_month:02} {} {year:04} {:02}:{:02}:{:02} GMT",
            named(&DAYS, day % 7),
            named(&MONTHS, month - 1),
            second / 3600,
            second / 60 % 60,
            second % 60,
        ));
    }
}

fn parse_rfc_1123(value: &str) -> Option<Date> {
    let (weekday, rest) = value.split_once(", ")?;
    let mut parts = rest.split(' ');
    let day = fixed_number(parts.next()?, 2)?;
    let month_name = parts.next()?;
    let year = fixed_number(parts.next()?, 4)?;
    let mut clock = parts.next()?.split(':');
    let hour = fixed_number(clock.next()?, 2)?;
    let minute = fixed_number(clock.next()?, 2)?;
    let second = fixed_number(clock.next()?, 2)?;
    // RFC 3261 s.25.1: SIP-date allows GMT only.
    if parts.next()? != "GMT" || parts.next().is_some() || clock.next().is_some() {
        return None;
    }
    if !DAYS.contains(&weekday) || hour > 23 || minute > 59 || second > 60 || year < 1970 {
        return None;
    }
    let month = MONTHS.iter().position(|name| *name == month_name)? as u64 + 1;
    let days = days_from_civil(year, month, day);
    if civil_from_days(days) != (year, month, day) {
        return None;
    }
    Some(Date(days * SECONDS_PER_DAY + hour * 3600 + minute * 60 + second.min(59)))
}

fn fixed_number(text: &str, digits: usize) -> Option<u64> {
    let good = text.len() == digits && text.bytes().all(|byte| byte.is_ascii_digit());
    good.then(|| text.parse().ok()).flatten()
}

/// Counts days since 1970-01-01 in years that begin in March, so that the leap day comes last.
fn days_from_civil(year: u64, month: u64, day: u64) -> u64 {
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let day_of_year = (153 * month + 2) / 5 + day;
    (365 * year + year / 4 - year / 100 + year / 400 + day_of_year).saturating_sub(719_469)
}

fn civil_from_days(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let era = days / 146_097;
    let day_of_era = days % 146_097;
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let year = era * 400 + year_of_era;
    if month < 10 { (year, month + 3, day) } else { (year + 1, month - 9, day) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wire(date: Date) -> String {
        let mut out = String::new();
        date.write(&mut out);
        out
    }

    #[test]
    fn known_moments_are_read_and_written() {
        for (text, seconds) in [
            ("Thu, 01 Jan 1970 00:00:00 GMT", 0),
            ("Sat, 15 Oct 2005 04:44:56 GMT", 1_129_351_496),
            ("Thu, 29 Feb 2024 23:59:59 GMT", 1_709_251_199),
            ("Fri, 31 Dec 9999 23:59:59 GMT", SECONDS_MAX),
        ] {
            assert_eq!(Date::parse(text).map(Date::unix_seconds), Ok(seconds), "{text}");
            assert_eq!(wire(Date::from_unix_seconds(seconds)), text);
        }
        assert_eq!(Date::from_unix_seconds(u64::MAX).unix_seconds(), SECONDS_MAX);
    }

    #[test]
    fn every_day_of_four_centuries_reads_back() {
        for day in (0..146_097).map(|day| day * SECONDS_PER_DAY + 12_345) {
            let date = Date::from_unix_seconds(day);
            assert_eq!(Date::parse(&wire(date)), Ok(date));
        }
    }

    #[test]
    fn refuses_other_zones_forms_and_days_that_do_not_exist() {
        for bad in [
            "Fri, 01 Jan 2010 16:00:00 EST",
            "Fri, 1 Jan 2010 16:00:00 GMT",
            "Friday, 01-Jan-10 16:00:00 GMT",
            "Fri, 29 Feb 2023 16:00:00 GMT",
            "Fri, 00 Jan 2010 16:00:00 GMT",
            "Fri, 01 Jan 2010 24:00:00 GMT",
            "Fri, 01 Jan 1969 00:00:00 GMT",
            "Fri, 01 Jan 2010 16:00:00 GMT x",
            "1129351496",
            "",
        ] {
            assert!(Date::parse(bad).is_err(), "{bad}");
        }
    }
}
