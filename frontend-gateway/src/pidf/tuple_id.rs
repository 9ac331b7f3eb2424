//! Tuple identifiers and XMPP resources: RFC 8048 s.6.2 asks for an xs:ID, which a resource is not.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

const PREFIX: &str = "ID-";

/// Returns the tuple identifier that stands for a resource; different resources never share one.
///
/// A resource of letters, digits, `_`, `.` and `-` stands for itself behind the prefix; any other
/// is written in base64url, and so is one that would read as such a writing.
pub fn tuple_id_of_resource(resource: &str) -> String {
    if must_be_encoded(resource) {
        format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(resource))
    } else {
        format!("{PREFIX}{resource}")
    }
}

/// Returns the resource that a tuple identifier stands for; one that we did not make is its own.
pub fn resource_of_tuple_id(id: &str) -> String {
    match id.strip_prefix(PREFIX) {
        None | Some("") => id.to_owned(),
        Some(written) => encoded(written).unwrap_or_else(|| written.to_owned()),
    }
}

fn must_be_encoded(resource: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-');
    resource.is_empty() || !resource.bytes().all(plain) || encoded(resource).is_some()
}

/// Returns what `written` is the base64url writing of, if it had to be written so.
fn encoded(written: &str) -> Option<String> {
    let decoded = URL_SAFE_NO_PAD.decode(written).ok()?;
    String::from_utf8(decoded).ok().filter(|resource| must_be_encoded(resource))
}
