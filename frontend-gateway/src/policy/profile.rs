//! What is known of kinds of partners: the settings that count where their record leaves them out.

use xmpp_proto::stream::{SaslTerms, TlsTerms};

/// A kind of partner (`cisco.md` 1.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    /// Any server that follows the standards.
    Generic,
    /// Cisco Webex.
    Webex,
    /// IBM Sametime.
    Sametime,
    /// Cisco IM and Presence with Expressway.
    Cisco,
    /// What Google Talk was, and servers of its time.
    GoogleTalk,
}

/// What a profile says of one key: its default, and which values work with such a partner.
#[derive(Clone, Copy, Debug)]
pub struct Setting<T: 'static> {
    /// What counts where the key is left out.
    pub default: T,
    /// What works; a record that says something else is warned of.
    pub fits: &'static [T],
}

/// One row of the table of profiles.
#[derive(Clone, Copy, Debug)]
pub struct ProfileSettings {
    /// `tls_negotiation`.
    pub tls: Setting<TlsTerms>,
    /// `sasl_negotiation`.
    pub sasl: Setting<SaslTerms>,
    /// `dialback_negotiation`.
    pub dialback: Setting<bool>,
    /// `keep_alive`.
    pub keep_alive: Setting<bool>,
    /// Why, for the warning.
    pub reason: &'static str,
}

const ANY_TLS: &[TlsTerms] = &[TlsTerms::Required, TlsTerms::Optional, TlsTerms::NotSupported];
const ANY_SASL: &[SaslTerms] = &[SaslTerms::Required, SaslTerms::Optional, SaslTerms::NotSupported];
const ANY: &[bool] = &[true, false];

// Row 7 of the negotiation matrix: a peer with a self-signed certificate works by dialback.
const GENERIC: ProfileSettings = ProfileSettings {
    tls: Setting { default: TlsTerms::Required, fits: ANY_TLS },
    sasl: Setting { default: SaslTerms::Optional, fits: ANY_SASL },
    dialback: Setting { default: true, fits: ANY },
    keep_alive: Setting { default: true, fits: ANY },
    reason: "",
};

impl Profile {
    /// All profiles with their words of the policy document.
    pub const WORDS: [(&'static str, Self); 5] = [
        ("generic", Self::Generic),
        ("webex", Self::Webex),
        ("sametime", Self::Sametime),
        ("cisco", Self::Cisco),
        ("google-talk", Self::GoogleTalk),
    ];

    /// Returns the word of the policy document.
    pub fn word(self) -> &'static str {
        Self::WORDS.iter().find(|(_, profile)| *profile == self).map_or("", |(word, _)| word)
    }

    /// Returns the profile's row of the table.
    pub const fn settings(self) -> ProfileSettings {
        match self {
            Self::Generic => GENERIC,
            Self::Webex => ProfileSettings {
                sasl: Setting {
                    default: SaslTerms::Optional,
                    fits: &[SaslTerms::Optional, SaslTerms::NotSupported],
                },
                dialback: Setting { default: true, fits: &[true] },
                reason: "Webex must not be required to show a client certificate",
                ..GENERIC
            },
            Self::Sametime => ProfileSettings {
                tls: Setting { default: TlsTerms::Required, fits: &[TlsTerms::Required] },
                sasl: Setting { default: SaslTerms::Required, fits: &[SaslTerms::Required] },
                dialback: Setting { default: false, fits: ANY },
                reason: "Sametime uses TLS with SASL and nothing else",
                ..GENERIC
            },
            Self::Cisco => ProfileSettings {
                sasl: Setting {
                    default: SaslTerms::NotSupported,
                    fits: &[SaslTerms::NotSupported],
                },
                dialback: Setting { default: true, fits: &[true] },
                reason: "Expressway always uses dialback and supports no SASL EXTERNAL",
                ..GENERIC
            },
            Self::GoogleTalk => ProfileSettings {
                tls: Setting { default: TlsTerms::NotSupported, fits: &[TlsTerms::NotSupported] },
                sasl: Setting {
                    default: SaslTerms::NotSupported,
                    fits: &[SaslTerms::NotSupported],
                },
                dialback: Setting { default: true, fits: &[true] },
                keep_alive: Setting { default: false, fits: &[false] },
                reason: "Google Talk has dialback without TLS alone, and answers no keep-alive",
            },
        }
    }
}
