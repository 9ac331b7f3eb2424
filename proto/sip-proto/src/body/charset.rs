//! Text in the character sets that are read: UTF-8, US-ASCII and ISO-8859-1.

use super::BodyError;
use crate::header::MediaType;

/// Decodes text by the charset parameter of its media type.
pub(super) fn decode_text(media_type: &MediaType, content: &[u8]) -> Result<String, BodyError> {
    // RFC 3261 s.7.4.1: without the parameter text is UTF-8.
    let charset = media_type.parameters.value("charset").unwrap_or_default();
    match charset.to_ascii_lowercase().as_str() {
        "" | "utf-8" | "utf8" => {
            let text = std::str::from_utf8(content);
            text.map(str::to_owned).map_err(|_| BodyError::Malformed("not UTF-8"))
        }
        "us-ascii" | "ascii" if content.is_ascii() => {
            Ok(content.iter().copied().map(char::from).collect())
        }
        "us-ascii" | "ascii" => Err(BodyError::Malformed("not US-ASCII")),
        // The first 256 code points of Unicode are ISO-8859-1.
        "iso-8859-1" | "latin1" => Ok(content.iter().copied().map(char::from).collect()),
        _ => Err(BodyError::UnsupportedCharset),
    }
}
