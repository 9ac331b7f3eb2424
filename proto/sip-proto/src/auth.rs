//! Digest authentication (RFC 3261 s.22, RFC 7616, RFC 8760): challenges, credentials, replays.

mod challenge;
mod credentials;
mod nonce;
mod parameters;
#[cfg(test)]
mod tests;

use std::fmt;

use md5::Md5;
use sha2::{Digest, Sha256};

pub use self::challenge::{Answer, Challenge};
pub use self::credentials::Credentials;
use self::nonce::{Freshness, Nonces};
use crate::error::Malformed;
use crate::method::Method;
use crate::scan::hexadecimal;

/// A digest algorithm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Algorithm {
    /// MD5, which older phones are limited to.
    Md5,
    /// SHA-256 (RFC 8760).
    Sha256,
}

/// The hash of user name, realm and password: all that a server has to keep of a password.
///
/// It is as good as the password within its realm, so that it is kept secret like one.
#[derive(Clone, PartialEq, Eq)]
pub struct Ha1 {
    algorithm: Algorithm,
    hexadecimal: String,
}

/// What credentials are worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The sender knows the password, and the request is not a replay.
    Accepted,
    /// The sender knows the password, but the nonce is old or used up: it gets another challenge
    /// with `stale`, and repeats the request without asking its user.
    Stale,
    /// The credentials are wrong.
    Refused,
}

/// Bounds of an [`Authenticator`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AuthenticatorLimits {
    /// How long a nonce is good for, in seconds.
    pub nonce_seconds_max: u64,
    /// Nonces in use whose counts are remembered; the oldest one goes stale beyond.
    pub nonces_max: usize,
}

impl Default for AuthenticatorLimits {
    fn default() -> Self {
        Self { nonce_seconds_max: 300, nonces_max: 10_000 }
    }
}

/// Issues challenges and verifies credentials.
///
/// A nonce that nobody has used costs no memory: it carries its time and a signature.
pub struct Authenticator {
    nonces: Nonces,
}

impl Algorithm {
    /// Returns the name in the registry.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Md5 => "MD5",
            Self::Sha256 => "SHA-256",
        }
    }

    fn parse(text: &str) -> Result<Self, Malformed> {
        let known = [Self::Md5, Self::Sha256];
        let found =
            known.into_iter().find(|algorithm| algorithm.as_str().eq_ignore_ascii_case(text));
        found.ok_or(Malformed("the algorithm is not supported"))
    }

    /// Hashes parts joined by colons, and returns lower-case hexadecimal digits.
    fn hash(self, parts: &[&str]) -> String {
        let text = parts.join(":");
        match self {
            Self::Md5 => hexadecimal(&Md5::digest(text.as_bytes())),
            Self::Sha256 => hexadecimal(&Sha256::digest(text.as_bytes())),
        }
    }

    fn hexadecimal_length(self) -> usize {
        match self {
            Self::Md5 => 32,
            Self::Sha256 => 64,
        }
    }
}

impl Ha1 {
    /// Hashes a password.
    #[must_use]
    pub fn compute(algorithm: Algorithm, user_name: &str, realm: &str, password: &str) -> Self {
        Self { algorithm, hexadecimal: algorithm.hash(&[user_name, realm, password]) }
    }

    /// Takes a hash out of a store.
    ///
    /// # Errors
    /// Fails when the text is not as many hexadecimal digits as the algorithm gives.
    pub fn from_hexadecimal(algorithm: Algorithm, text: &str) -> Result<Self, Malformed> {
        let is_hexadecimal = text.bytes().all(|byte| byte.is_ascii_hexdigit());
        if text.len() != algorithm.hexadecimal_length() || !is_hexadecimal {
            return Err(Malformed("not a hash of this algorithm"));
        }
        Ok(Self { algorithm, hexadecimal: text.to_ascii_lowercase() })
    }

    /// Returns the hash as lower-case hexadecimal digits, for a store.
    #[must_use]
    pub fn as_hexadecimal(&self) -> &str {
        &self.hexadecimal
    }

    /// Returns the algorithm.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }
}

impl fmt::Debug for Ha1 {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Ha1({}, ***)", self.algorithm.as_str())
    }
}

impl Authenticator {
    /// Makes an authenticator from 32 random bytes, drawn when the process starts.
    #[must_use]
    pub fn new(secret: [u8; 32], limits: AuthenticatorLimits) -> Self {
        Self { nonces: Nonces::new(secret, limits) }
    }

    /// Returns the challenges of a 401, one for each algorithm in the order of preference. All
    /// of them are pushed to the response as WWW-Authenticate.
    pub fn challenge(
        &mut self,
        realm: &str,
        algorithms: &[Algorithm],
        stale: bool,
        unix_seconds: u64,
    ) -> Vec<Challenge> {
        let nonce = self.nonces.issue(unix_seconds);
        let of = |algorithm| Challenge::offering(realm, &nonce, algorithm, stale);
        algorithms.iter().copied().map(of).collect()
    }

    /// Verifies the credentials of a request with the hash of the user that they name; the owner
    /// has chosen the hash by [`Credentials::algorithm`] and compared the realm.
    ///
    /// The digest URI is not compared with the Request-URI: RFC 8760 s.2.6 lets them differ, and
    /// some phones name the address of the registrar there.
    pub fn verify(
        &mut self,
        credentials: &Credentials,
        ha1: &Ha1,
        method: &Method,
        unix_seconds: u64,
    ) -> Verdict {
        if !credentials.prove_knowledge(ha1, method) {
            return Verdict::Refused;
        }
        // Counts are remembered for those alone who know a password, so that nobody else can
        // fill the memory.
        match self.nonces.spend(credentials.nonce(), credentials.nonce_count(), unix_seconds) {
            Freshness::Fresh => Verdict::Accepted,
            Freshness::Stale => Verdict::Stale,
        }
    }
}
