//! The terms of a partner's streams: the negotiation matrix, and what each of its rows allows.

use std::fmt;

use thiserror::Error;

use crate::stream::admission::Proof;

/// How two domains secure and authenticate each other's streams: one of the thirteen rows of
/// Lync's negotiation matrix that can work.
///
/// The matrix has 18 rows: in the order of the words of [`SaslTerms`], under each of them those of
/// [`TlsTerms`], under each of these dialback switched on, then off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamTerms {
    tls: TlsTerms,
    sasl: SaslTerms,
    dialback: bool,
    bidi: bool,
}

/// Whether TLS protects a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsTerms {
    /// No stream goes without it.
    Required,
    /// It is used where the peer offers it or begins it.
    Optional,
    /// It is neither offered nor used.
    NotSupported,
}

/// Whether SASL EXTERNAL is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SaslTerms {
    /// Nothing else counts, as far as TLS is required too.
    Required,
    /// It is preferred; dialback counts too where it is allowed.
    Optional,
    /// It is neither offered nor used.
    NotSupported,
}

/// One way for a server to prove its domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// SASL EXTERNAL, which needs TLS.
    ExternalOverTls,
    /// Server Dialback on a stream with TLS.
    DialbackOverTls,
    /// Server Dialback on a stream without TLS.
    DialbackInClear,
}

impl fmt::Display for Method {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::ExternalOverTls => "SASL EXTERNAL over TLS",
            Self::DialbackOverTls => "dialback over TLS",
            Self::DialbackInClear => "dialback over TCP in the clear",
        })
    }
}

/// A row of the matrix that leaves no way to authenticate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("row {row} of the negotiation matrix is invalid: {}", self.reason())]
pub struct InvalidTerms {
    /// The number of the row.
    pub row: u8,
    sasl: SaslTerms,
}

impl InvalidTerms {
    const fn reason(&self) -> &'static str {
        match self.sasl {
            SaslTerms::NotSupported => {
                "SASL is not supported and dialback is switched off; one of them must be enabled"
            }
            SaslTerms::Required | SaslTerms::Optional => {
                "SASL needs TLS, which is not supported, and dialback is switched off"
            }
        }
    }
}

/// What an administrator may not expect of a row that can work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TermsWarning {
    /// Dialback is switched on and never used.
    DialbackUnused,
    /// SASL is wanted and never used.
    SaslUnused,
    /// SASL is wanted and used on streams with TLS alone; with whether dialback serves the others.
    SaslWithTlsAlone {
        /// Whether streams without TLS are possible.
        dialback: bool,
    },
    /// TLS is not required; with whether streams without it are possible.
    TlsNotRequired {
        /// Whether streams without TLS are possible.
        in_clear: bool,
    },
}

impl fmt::Display for TermsWarning {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::DialbackUnused => "dialback will not operate: TLS and SASL are both \"required\"",
            Self::SaslUnused => "SASL will not operate: it needs TLS, which is \"not-supported\"",
            Self::SaslWithTlsAlone { dialback: true } => {
                "SASL needs TLS: a peer without TLS is authenticated by dialback alone"
            }
            Self::SaslWithTlsAlone { dialback: false } => {
                "SASL needs TLS: with a peer without TLS every stream fails"
            }
            Self::TlsNotRequired { in_clear: true } => {
                "TLS is not required: what goes over a stream without it can be read and changed \
                 on its way"
            }
            Self::TlsNotRequired { in_clear: false } => {
                "TLS is not required, but the row leaves no method without it"
            }
        })
    }
}

impl StreamTerms {
    /// Takes the three settings of a partner's record.
    ///
    /// # Errors
    ///
    /// The row is one of the five that allow no method: 6, 12, 14, 16 and 18.
    pub const fn new(tls: TlsTerms, sasl: SaslTerms, dialback: bool) -> Result<Self, InvalidTerms> {
        let terms = Self { tls, sasl, dialback, bidi: false };
        let has_method = terms.allows(Method::ExternalOverTls)
            || terms.allows(Method::DialbackOverTls)
            || terms.allows(Method::DialbackInClear);
        match has_method {
            true => Ok(terms),
            false => Err(InvalidTerms { row: terms.row(), sasl }),
        }
    }

    /// The same terms with or without bidirectional streams, which are off at first.
    #[must_use]
    pub const fn with_bidi(self, bidi: bool) -> Self {
        Self { bidi, ..self }
    }

    /// Whether one stream may carry the stanzas of both directions (XEP-0288).
    pub const fn bidi(self) -> bool {
        self.bidi
    }

    /// What a certificate that names the peer's domain counts as on a stream that we opened, where
    /// no SASL of the peer takes place: EXTERNAL, which asks for nothing else, or else the
    /// certificate in place of a dialback key (XEP-0344).
    pub fn certificate_proof(self) -> Option<Proof> {
        [Proof::External, Proof::Certificate].into_iter().find(|proof| self.accepts(*proof))
    }

    /// Whether TLS protects streams.
    pub const fn tls(self) -> TlsTerms {
        self.tls
    }

    /// Whether SASL EXTERNAL is used.
    pub const fn sasl(self) -> SaslTerms {
        self.sasl
    }

    /// Whether Server Dialback is switched on.
    pub const fn dialback(self) -> bool {
        self.dialback
    }

    /// The number of the row, from 1 to 18.
    pub const fn row(self) -> u8 {
        let sasl = match self.sasl {
            SaslTerms::Required => 0,
            SaslTerms::Optional => 6,
            SaslTerms::NotSupported => 12,
        };
        let tls = match self.tls {
            TlsTerms::Required => 0,
            TlsTerms::Optional => 2,
            TlsTerms::NotSupported => 4,
        };
        sasl + tls + if self.dialback { 1 } else { 2 }
    }

    /// Whether a server may prove its domain in this way.
    pub const fn allows(self, method: Method) -> bool {
        let has_tls = !matches!(self.tls, TlsTerms::NotSupported);
        match method {
            Method::ExternalOverTls => has_tls && !matches!(self.sasl, SaslTerms::NotSupported),
            Method::DialbackOverTls => {
                // Row 1: with TLS and SASL required dialback does not operate. Row 3: where TLS is
                // optional it does, although SASL is required.
                let nothing_else =
                    matches!((self.tls, self.sasl), (TlsTerms::Required, SaslTerms::Required));
                self.dialback && has_tls && !nothing_else
            }
            Method::DialbackInClear => self.dialback && !matches!(self.tls, TlsTerms::Required),
        }
    }

    /// The ways in which a server may prove its domain, the best first.
    pub fn methods(self) -> impl Iterator<Item = Method> {
        [Method::ExternalOverTls, Method::DialbackOverTls, Method::DialbackInClear]
            .into_iter()
            .filter(move |method| self.allows(*method))
    }

    /// Whether a stream that was authenticated in this way may be used.
    pub const fn accepts(self, proof: Proof) -> bool {
        self.allows(proof.method())
    }

    /// What an administrator may not expect of the row.
    pub fn warnings(self) -> impl Iterator<Item = TermsWarning> {
        let wants_sasl = self.sasl != SaslTerms::NotSupported;
        let dialback = match (self.tls, self.sasl, self.dialback) {
            (TlsTerms::Required, SaslTerms::Required, true) => Some(TermsWarning::DialbackUnused),
            _ => None,
        };
        let sasl = match self.tls {
            TlsTerms::Optional if wants_sasl => {
                Some(TermsWarning::SaslWithTlsAlone { dialback: self.dialback })
            }
            TlsTerms::NotSupported if wants_sasl => Some(TermsWarning::SaslUnused),
            _ => None,
        };
        let in_clear = self.allows(Method::DialbackInClear);
        let tls =
            (self.tls != TlsTerms::Required).then_some(TermsWarning::TlsNotRequired { in_clear });
        [dialback, sasl, tls].into_iter().flatten()
    }
}

/// The row and what it allows, for an administrator.
impl fmt::Display for StreamTerms {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let methods: Vec<String> = self.methods().map(|method| method.to_string()).collect();
        write!(formatter, "row {} of the negotiation matrix: {}", self.row(), methods.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::{InvalidTerms, Method, SaslTerms, StreamTerms, TermsWarning, TlsTerms};
    use crate::stream::admission::Proof;

    const EXTERNAL: Method = Method::ExternalOverTls;
    const TLS_DIALBACK: Method = Method::DialbackOverTls;
    const TCP_DIALBACK: Method = Method::DialbackInClear;

    /// TLS, SASL (required, optional, not supported), dialback, and the methods.
    type Row = (char, char, bool, &'static [Method]);

    // "Negotiation settings for XMPP federated partners" of Lync Server 2013, row by row.
    const MATRIX: [Row; 18] = [
        ('R', 'R', true, &[EXTERNAL]),
        ('R', 'R', false, &[EXTERNAL]),
        ('O', 'R', true, &[EXTERNAL, TLS_DIALBACK, TCP_DIALBACK]),
        ('O', 'R', false, &[EXTERNAL]),
        ('N', 'R', true, &[TCP_DIALBACK]),
        ('N', 'R', false, &[]),
        ('R', 'O', true, &[EXTERNAL, TLS_DIALBACK]),
        ('R', 'O', false, &[EXTERNAL]),
        ('O', 'O', true, &[EXTERNAL, TLS_DIALBACK, TCP_DIALBACK]),
        ('O', 'O', false, &[EXTERNAL]),
        ('N', 'O', true, &[TCP_DIALBACK]),
        ('N', 'O', false, &[]),
        ('R', 'N', true, &[TLS_DIALBACK]),
        ('R', 'N', false, &[]),
        ('O', 'N', true, &[TLS_DIALBACK, TCP_DIALBACK]),
        ('O', 'N', false, &[]),
        ('N', 'N', true, &[TCP_DIALBACK]),
        ('N', 'N', false, &[]),
    ];

    fn terms((tls, sasl, dialback, _): Row) -> Result<StreamTerms, InvalidTerms> {
        let tls = match tls {
            'R' => TlsTerms::Required,
            'O' => TlsTerms::Optional,
            _ => TlsTerms::NotSupported,
        };
        let sasl = match sasl {
            'R' => SaslTerms::Required,
            'O' => SaslTerms::Optional,
            _ => SaslTerms::NotSupported,
        };
        StreamTerms::new(tls, sasl, dialback)
    }

    #[test]
    fn each_row_of_the_matrix_allows_exactly_its_methods() {
        for (row, number) in MATRIX.into_iter().zip(1..) {
            match terms(row) {
                Ok(terms) => {
                    assert_eq!(terms.row(), number);
                    assert_eq!(terms.methods().collect::<Vec<_>>(), row.3, "row {number}");
                }
                Err(invalid) => assert_eq!((invalid.row, row.3), (number, &[][..])),
            }
        }
    }

    #[test]
    fn the_five_rows_without_a_method_are_invalid_with_a_reason() {
        let told = |number: usize| terms(MATRIX[number - 1]).unwrap_err().to_string();
        for (number, reason) in [
            (6, "SASL needs TLS, which is not supported"),
            (12, "SASL needs TLS, which is not supported"),
            (14, "one of them must be enabled"),
            (16, "one of them must be enabled"),
            (18, "one of them must be enabled"),
        ] {
            let told = told(number);
            assert!(told.starts_with(&format!("row {number} ")) && told.contains(reason), "{told}");
        }
    }

    #[test]
    fn the_rows_that_surprise_are_warned_of() {
        let unused = TermsWarning::DialbackUnused;
        let sasl_unused = TermsWarning::SaslUnused;
        let tls_alone = |dialback| TermsWarning::SaslWithTlsAlone { dialback };
        let no_tls = |in_clear| TermsWarning::TlsNotRequired { in_clear };
        for (number, expected) in [
            (1, &[unused][..]),
            (2, &[]),
            (3, &[tls_alone(true), no_tls(true)]),
            (4, &[tls_alone(false), no_tls(false)]),
            (5, &[sasl_unused, no_tls(true)]),
            (7, &[]),
            (8, &[]),
            (9, &[tls_alone(true), no_tls(true)]),
            (10, &[tls_alone(false), no_tls(false)]),
            (11, &[sasl_unused, no_tls(true)]),
            (13, &[]),
            (15, &[no_tls(true)]),
            (17, &[no_tls(true)]),
        ] {
            let warnings: Vec<TermsWarning> =
                terms(MATRIX[number - 1]).unwrap().warnings().collect();
            assert_eq!(warnings, expected, "row {number}");
        }
    }

    #[test]
    fn a_row_is_shown_with_its_number_and_methods() {
        let shown = terms(MATRIX[6]).unwrap().to_string();
        assert_eq!(
            shown,
            "row 7 of the negotiation matrix: SASL EXTERNAL over TLS, dialback over TLS"
        );
    }

    #[test]
    fn a_certificate_counts_as_what_the_row_takes() {
        let counts_as = |sasl| {
            let terms = StreamTerms::new(TlsTerms::Required, sasl, true).unwrap();
            terms.certificate_proof()
        };
        assert_eq!(counts_as(SaslTerms::Required), Some(Proof::External));
        assert_eq!(counts_as(SaslTerms::NotSupported), Some(Proof::Certificate));
    }
}
