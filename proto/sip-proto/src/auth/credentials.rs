//! The answer to a challenge: Authorization (RFC 3261 s.20.7).

use std::fmt;

use subtle::ConstantTimeEq;

use super::parameters::{DigestParameters, write_quoted, write_token};
use super::{Algorithm, Ha1};
use crate::error::Malformed;
use crate::header::{HeaderName, TypedHeader};
use crate::method::Method;

/// Digest credentials with an algorithm and a quality of protection that this engine has.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    pub(super) user_name: String,
    pub(super) realm: String,
    pub(super) nonce: String,
    pub(super) uri: String,
    pub(super) algorithm: Algorithm,
    pub(super) opaque: Option<String>,
    pub(super) response: String,
    /// The nonce and the count of the client; none without quality of protection.
    pub(super) client: Option<(String, u32)>,
}

impl Credentials {
    /// Returns the user name.
    #[must_use]
    pub fn user_name(&self) -> &str {
        &self.user_name
    }

    /// Returns the realm, which the owner compares with its own.
    #[must_use]
    pub fn realm(&self) -> &str {
        &self.realm
    }

    /// Returns the digest URI.
    #[must_use]
    pub fn uri(&self) -> &str {
        &self.uri
    }

    /// Returns the algorithm, by which the owner chooses the hash to verify with.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    pub(super) fn nonce(&self) -> &str {
        &self.nonce
    }

    pub(super) fn nonce_count(&self) -> Option<u32> {
        self.client.as_ref().map(|(_, count)| *count)
    }

    /// Says whether the response could be made by one who knows the password alone.
    pub(super) fn prove_knowledge(&self, ha1: &Ha1, method: &Method) -> bool {
        let expected = self.expected_response(ha1, method);
        ha1.algorithm == self.algorithm
            && bool::from(expected.as_bytes().ct_eq(self.response.as_bytes()))
    }

    pub(super) fn expected_response(&self, ha1: &Ha1, method: &Method) -> String {
        let ha2 = self.algorithm.hash(&[method.as_str(), &self.uri]);
        match &self.client {
            Some((client_nonce, count)) => {
                let count = format!("{count:08x}");
                let parts =
                    [&ha1.hexadecimal, self.nonce.as_str(), &count, client_nonce, "auth", &ha2];
                self.algorithm.hash(&parts)
            }
            None => self.algorithm.hash(&[&ha1.hexadecimal, &self.nonce, &ha2]),
        }
    }
}

impl TypedHeader for Credentials {
    const NAME: HeaderName = HeaderName::Authorization;

    fn parse(value: &str) -> Result<Self, Malformed> {
        let parameters = DigestParameters::parse(value)?;
        let client = match parameters.get("qop") {
            None => None,
            Some(qop) if qop.eq_ignore_ascii_case("auth") => {
                let count = parameters.required("nc")?;
                let is_count = count.len() == 8 && count.bytes().all(|it| it.is_ascii_hexdigit());
                let count = u32::from_str_radix(&count, 16).ok().filter(|_| is_count);
                let count = count.ok_or(Malformed("the nonce count is malformed"))?;
                Some((parameters.required("cnonce")?, count))
            }
            Some(_) => return Err(Malformed("the quality of protection is not supported")),
        };
        Ok(Self {
            user_name: parameters.required("username")?,
            realm: parameters.required("realm")?,
            nonce: parameters.required("nonce")?,
            uri: parameters.required("uri")?,
            algorithm: parameters.get("algorithm").map_or(Ok(Algorithm::Md5), Algorithm::parse)?,
            opaque: parameters.get("opaque").map(str::to_owned),
            response: parameters.required("response")?.to_ascii_lowercase(),
            client,
        })
    }

    fn write(&self, out: &mut String) {
        out.push_str("Digest");
        write_quoted(out, "username", &self.user_name);
        write_quoted(out, "realm", &self.realm);
        write_quoted(out, "nonce", &self.nonce);
        write_quoted(out, "uri", &self.uri);
        write_quoted(out, "response", &self.response);
        write_token(out, "algorithm", self.algorithm.as_str());
        if let Some(opaque) = &self.opaque {
            write_quoted(out, "opaque", opaque);
        }
        if let Some((client_nonce, count)) = &self.client {
            write_token(out, "qop", "auth");
            write_token(out, "nc", &format!("{count:08x}"));
            write_quoted(out, "cnonce", client_nonce);
        }
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Credentials({}, {}, ***)", self.user_name, self.realm)
    }
}
