//! XMPP addresses and SIP URIs for the same entity (RFC 7247 s.6, XEP-0106).

use sip_proto::uri::{Host, Scheme, Uri};
use xmpp_proto::jid::{Jid, JidError};

/// Why an address has no counterpart on the other side.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// RFC 7247 s.8: sips promises TLS on every hop, which the other side cannot keep.
    #[error("SIPS addresses are not translated")]
    Sips,
    /// The scheme names no user of a SIP or XMPP domain.
    #[error("addresses with the scheme {0} are not translated")]
    Scheme(String),
    /// Escaped octets that are no UTF-8, or a host that is none.
    #[error("the address cannot be decoded")]
    Undecodable,
    /// What comes out is no JID (RFC 7622).
    #[error("the address is not a valid XMPP address: {0}")]
    NotAJid(#[from] JidError),
    /// The domain has no form in ASCII, or the user part is one that SIP cannot carry.
    #[error("the address is not a valid SIP address")]
    NotAUri,
}

/// Returns the JID of the entity that a SIP, im or pres URI names (RFC 7247 s.6.4).
///
/// Password and parameters are dropped; the value of `gr` becomes the resource.
pub fn s2x_address(uri: &Uri) -> Result<Jid, AddressError> {
    match uri.scheme() {
        Scheme::Sip | Scheme::Im | Scheme::Pres => {}
        Scheme::Sips => return Err(AddressError::Sips),
        other => return Err(AddressError::Scheme(other.as_str().into())),
    }
    let host = match uri.host().ok_or(AddressError::Undecodable)? {
        Host::Name(name) => name.as_str().to_owned(),
        Host::V4(address) => address.to_string(),
        Host::V6(address) => format!("[{address}]"),
    };
    let mut text = String::new();
    if let Some(user) = uri.user_decoded().map_err(|_| AddressError::Undecodable)? {
        escape(&user, &mut text)?;
        text.push('@');
    }
    text.push_str(&host);
    // RFC 7247 s.6.3: a temporary GRUU, without a value, names no resource.
    let gr = uri.parameter("gr").map_err(|_| AddressError::Undecodable)?;
    if let Some(resource) = gr.filter(|value| !value.is_empty()) {
        text.push('/');
        text.push_str(&resource);
    }
    Ok(Jid::parse(&text)?)
}

/// Returns the SIP URI of the entity that a JID names (RFC 7247 s.6.5).
///
/// The resource becomes the parameter `gr`.
pub fn x2s_address(jid: &Jid) -> Result<Uri, AddressError> {
    let host = Host::parse(&jid.domain().to_ascii()).map_err(|_| AddressError::NotAUri)?;
    let user = jid.localpart().map(unescape);
    let mut uri = Uri::sip(user.as_deref(), host);
    if let Some(resource) = jid.resourcepart() {
        uri.set_parameter("gr", resource);
    }
    Ok(uri)
}

/// The ten characters of XEP-0106 with their sequences.
const ESCAPES: [(char, &str); 10] = [
    (' ', "20"),
    ('"', "22"),
    ('&', "26"),
    ('\'', "27"),
    ('/', "2f"),
    (':', "3a"),
    ('<', "3c"),
    ('>', "3e"),
    ('@', "40"),
    ('\\', "5c"),
];

/// Appends a user part as a localpart.
fn escape(user: &str, out: &mut String) -> Result<(), AddressError> {
    // XEP-0106 s.4.1: \20 is neither first nor last.
    if user.starts_with(' ') || user.ends_with(' ') {
        return Err(JidError::Localpart.into());
    }
    for (at, character) in user.char_indices() {
        let must_escape = match character {
            // XEP-0106 s.4.2: a backslash only where it would read as an escape.
            '\\' => sequence(&user[at..]).is_some(),
            _ => true,
        };
        match ESCAPES.iter().find(|(escaped, _)| *escaped == character && must_escape) {
            Some((_, code)) => {
                out.push('\\');
                out.push_str(code);
            }
            None => out.push(character),
        }
    }
    Ok(())
}

fn unescape(localpart: &str) -> String {
    let mut user = String::with_capacity(localpart.len());
    let mut rest = localpart;
    while let Some(at) = rest.find('\\') {
        user.push_str(&rest[..at]);
        match sequence(&rest[at..]) {
            Some(character) => {
                user.push(character);
                rest = &rest[at + 3..];
            }
            None => {
                user.push('\\');
                rest = &rest[at + 1..];
            }
        }
    }
    user.push_str(rest);
    user
}

/// Returns the character that the escape sequence at the start of `text` stands for.
fn sequence(text: &str) -> Option<char> {
    let code = text.strip_prefix('\\')?.get(..2)?;
    ESCAPES.iter().find(|(_, known)| *known == code).map(|(character, _)| *character)
}

#[cfg(test)]
mod tests;
