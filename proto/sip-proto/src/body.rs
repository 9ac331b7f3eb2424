//! Bodies: the parts of a multipart one, and the text that a MESSAGE is about.

mod charset;
pub mod cpim;
mod multipart;
#[cfg(test)]
mod tests;

use std::fmt;

use bytes::Bytes;

use self::charset::decode_text;
pub use self::multipart::{Part, parts};
use crate::error::Fault;
use crate::header::MediaType;
use crate::status::StatusCode;

/// Why a body cannot be read. The fault is the peer's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// It does not follow the format that its media type names.
    #[error("malformed body: {0}")]
    Malformed(&'static str),
    /// It has more parts, or deeper ones, than are read.
    #[error("too many parts in the body")]
    TooComplex,
    /// It is in a character set that is not read.
    #[error("unsupported character set")]
    UnsupportedCharset,
    /// A part is in a transfer encoding that is not read.
    #[error("unsupported content transfer encoding")]
    UnsupportedEncoding,
    /// It demands a feature that is not known.
    #[error("unknown mandatory feature")]
    UnknownFeature,
}

impl BodyError {
    /// Returns the status code that answers the request.
    #[must_use]
    pub fn status(self) -> StatusCode {
        match self {
            Self::Malformed(_) => StatusCode::BAD_REQUEST,
            Self::TooComplex => StatusCode::REQUEST_ENTITY_TOO_LARGE,
            Self::UnsupportedCharset | Self::UnsupportedEncoding | Self::UnknownFeature => {
                StatusCode::UNSUPPORTED_MEDIA_TYPE
            }
        }
    }

    /// Says whose fault it is.
    #[must_use]
    pub fn fault(self) -> Fault {
        Fault::Peer
    }
}

/// The text of a message, of which logs show the length alone.
#[derive(Clone, PartialEq, Eq)]
pub struct MessageText {
    /// How the text is marked up.
    pub format: TextFormat,
    /// The text, as it was sent.
    pub text: String,
    /// The language tag, when the part names one.
    pub language: Option<String>,
}

impl fmt::Debug for MessageText {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "MessageText({:?}, {} bytes)", self.format, self.text.len())
    }
}

/// The markup of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TextFormat {
    /// `text/plain`.
    Plain,
    /// `text/html`.
    Html,
}

impl TextFormat {
    fn media_type(self) -> &'static str {
        match self {
            Self::Plain => "text/plain",
            Self::Html => "text/html",
        }
    }
}

/// Finds the text of a body: the first text/plain in it, else the first text/html. Attachments
/// are not looked into. None means that there is no text.
///
/// # Errors
/// Fails when the body cannot be read.
pub fn text(media_type: &MediaType, body: &Bytes) -> Result<Option<MessageText>, BodyError> {
    let parts = parts(media_type, body)?;
    for format in [TextFormat::Plain, TextFormat::Html] {
        let mut shown = parts.iter().filter(|part| !part.is_attachment);
        if let Some(part) = shown.find(|part| part.media_type.name() == format.media_type()) {
            let text = decode_text(&part.media_type, &part.content)?;
            return Ok(Some(MessageText { format, text, language: part.language.clone() }));
        }
    }
    Ok(None)
}
