//! A challenge: WWW-Authenticate (RFC 3261 s.20.44).

use super::parameters::{DigestParameters, write_quoted, write_token};
use super::{Algorithm, Credentials, Ha1};
use crate::error::Malformed;
use crate::header::{HeaderName, TypedHeader};
use crate::method::Method;
use crate::uri::Uri;

/// A Digest challenge with an algorithm that this engine has.
///
/// A challenge with another scheme or algorithm cannot be read and is to be ignored
/// (RFC 8760 s.2.4), which [`crate::Headers::readable_rows`] does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Challenge {
    realm: String,
    nonce: String,
    algorithm: Algorithm,
    opaque: Option<String>,
    stale: bool,
    qop: Qop,
}

/// The quality of protection that a challenge offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Qop {
    /// `auth`, and possibly others.
    Auth,
    /// None is named, as in RFC 2069.
    Unnamed,
}

/// What a client puts into the answer to a challenge.
#[derive(Clone, Copy, Debug)]
pub struct Answer<'a> {
    /// The user name.
    pub user_name: &'a str,
    /// The hash for the realm and algorithm of the challenge.
    pub ha1: &'a Ha1,
    /// The method of the request.
    pub method: &'a Method,
    /// The Request-URI.
    pub uri: &'a Uri,
    /// A random token of the client.
    pub client_nonce: &'a str,
    /// How many requests the client has sent with this nonce, this one included.
    pub nonce_count: u32,
}

impl Challenge {
    pub(super) fn offering(realm: &str, nonce: &str, algorithm: Algorithm, stale: bool) -> Self {
        let (realm, nonce) = (realm.to_owned(), nonce.to_owned());
        Self { realm, nonce, algorithm, opaque: None, stale, qop: Qop::Auth }
    }

    /// Returns the realm.
    #[must_use]
    pub fn realm(&self) -> &str {
        &self.realm
    }

    /// Returns the algorithm.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// Says whether the password was right and only the nonce was old.
    #[must_use]
    pub fn is_stale(&self) -> bool {
        self.stale
    }

    /// Returns the credentials that answer the challenge.
    #[must_use]
    pub fn answer(&self, answer: &Answer<'_>) -> Credentials {
        let credentials = Credentials {
            user_name: answer.user_name.to_owned(),
            realm: self.realm.clone(),
            nonce: self.nonce.clone(),
            uri: answer.uri.to_wire(),
            algorithm: self.algorithm,
            opaque: self.opaque.clone(),
            response: String::new(),
            client: match self.qop {
                Qop::Auth => Some((answer.client_nonce.to_owned(), answer.nonce_count)),
                Qop::Unnamed => None,
            },
        };
        let response = credentials.expected_response(answer.ha1, answer.method);
        Credentials { response, ..credentials }
    }
}

impl TypedHeader for Challenge {
    const NAME: HeaderName = HeaderName::WwwAuthenticate;

    fn parse(value: &str) -> Result<Self, Malformed> {
        let parameters = DigestParameters::parse(value)?;
        let qop = match parameters.get("qop") {
            None => Qop::Unnamed,
            Some(list) if list.split(',').any(|it| it.trim().eq_ignore_ascii_case("auth")) => {
                Qop::Auth
            }
            Some(_) => return Err(Malformed("no quality of protection is supported")),
        };
        Ok(Self {
            realm: parameters.required("realm")?,
            nonce: parameters.required("nonce")?,
            algorithm: parameters.get("algorithm").map_or(Ok(Algorithm::Md5), Algorithm::parse)?,
            opaque: parameters.get("opaque").map(str::to_owned),
            stale: parameters.get("stale").is_some_and(|text| text.eq_ignore_ascii_case("true")),
            qop,
        })
    }

    fn write(&self, out: &mut String) {
        out.push_str("Digest");
        write_quoted(out, "realm", &self.realm);
        write_quoted(out, "nonce", &self.nonce);
        if let Some(opaque) = &self.opaque {
            write_quoted(out, "opaque", opaque);
        }
        write_token(out, "algorithm", self.algorithm.as_str());
        if self.qop == Qop::Auth {
            write_quoted(out, "qop", "auth");
        }
        if self.stale {
            write_token(out, "stale", "true");
        }
    }
}
