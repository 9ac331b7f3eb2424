//! Activities of RPID and of Microsoft, and the shows that stand for them.

use super::Show;

/// What a person does, as far as it has a show; see `presence-map.tsv`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Activity {
    /// Nothing that limits availability.
    Available,
    /// Not at the device.
    Away,
    /// Gone for long.
    Vacation,
    /// Not to be disturbed.
    Busy,
}

impl Activity {
    /// Reads the local name of an RPID activity (RFC 4480 s.3.2); an unknown one means nothing.
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "away" | "in-transit" | "meal" | "lunch" | "dinner" | "breakfast" | "sleeping"
            | "steering" | "shopping" | "travel" => Some(Self::Away),
            "busy" | "meeting" | "on-the-phone" | "presentation" | "appointment"
            | "performance" | "working" => Some(Self::Busy),
            "vacation" | "holiday" | "permanent-absence" => Some(Self::Vacation),
            "other" | "unknown" | "looking-for-work" | "playing" | "spectator" | "tv"
            | "worship" => Some(Self::Available),
            _ => None,
        }
    }

    /// Returns the name of the RPID element that is written for a show.
    pub const fn name_for(show: Show) -> Option<&'static str> {
        match show {
            Show::Chat => None,
            Show::Away | Show::ExtendedAway => Some("away"),
            Show::DoNotDisturb => Some("busy"),
        }
    }

    /// Returns the show that stands for the activity.
    pub const fn show(self) -> Option<Show> {
        match self {
            Self::Available => None,
            Self::Away => Some(Show::Away),
            Self::Vacation => Some(Show::ExtendedAway),
            Self::Busy => Some(Show::DoNotDisturb),
        }
    }
}

/// What a Microsoft availability number means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Availability {
    /// The user cannot be reached.
    Offline,
    /// The user can be reached, with the show that limits it.
    Online(Option<Show>),
}

impl Availability {
    /// Reads a number.
    pub const fn from_number(number: u32) -> Self {
        match number {
            3_000..=4_499 => Self::Online(None),
            4_500..=5_999 | 12_000..=14_999 => Self::Online(Some(Show::Away)),
            6_000..=11_999 => Self::Online(Some(Show::DoNotDisturb)),
            15_000..=17_999 => Self::Online(Some(Show::ExtendedAway)),
            _ => Self::Offline,
        }
    }
}
