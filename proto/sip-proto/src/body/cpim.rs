//! The envelope message/cpim (RFC 3862): who wrote to whom and when, around one content.

use std::fmt;

use bytes::Bytes;
use memchr::memmem;

use super::BodyError;
use super::multipart::split_head;
use crate::header::{HeaderName, MediaType};
use crate::uri::Uri;

/// The namespace of the header fields that RFC 3862 defines.
pub const CPIM_NAMESPACE: &str = "urn:ietf:params:cpim-headers:";

/// Header fields of one envelope.
const FIELDS_MAX: usize = 64;

/// An envelope that was opened, of whose content logs show the length alone.
#[derive(Clone, PartialEq, Eq)]
pub struct Cpim {
    fields: Vec<Field>,
    /// The media type of the content; text/plain when the envelope names none.
    pub media_type: MediaType,
    /// The language tag of the content, when the envelope names one.
    pub language: Option<String>,
    /// The content.
    pub content: Bytes,
}

/// One header field, its name without prefix.
#[derive(Clone, PartialEq, Eq)]
struct Field {
    namespace: String,
    name: String,
    value: String,
}

impl Cpim {
    /// Opens an envelope. An envelope inside of it stays closed.
    ///
    /// # Errors
    /// Fails when the body is not an envelope, and when it demands a feature by Require, since
    /// none is known.
    pub fn parse(body: &Bytes) -> Result<Self, BodyError> {
        let end = memmem::find(body, b"\r\n\r\n");
        let end = end.ok_or(BodyError::Malformed("an envelope without empty line"))?;
        let head = std::str::from_utf8(body.get(..end).unwrap_or_default());
        let head = head.map_err(|_| BodyError::Malformed("an envelope that is not UTF-8"))?;
        let fields = parse_fields(head)?;
        let (headers, content) = split_head(&body.slice(end + 4..))?;
        let malformed = BodyError::Malformed("the content of an envelope");
        let media_type = headers.typed::<MediaType>().map_err(|_| malformed)?;
        let media_type = media_type.unwrap_or_else(|| MediaType::from_static("text/plain"));
        let language = headers.first(HeaderName::ContentLanguage).map(str::to_owned);
        let cpim = Self { fields, media_type, language, content };
        // RFC 3862 s.3.5: what is required and not understood is not to be processed.
        match cpim.field(CPIM_NAMESPACE, "Require") {
            Some(_) => Err(BodyError::UnknownFeature),
            None => Ok(cpim),
        }
    }

    /// Returns the value of a header field of a namespace; names are compared with their case.
    #[must_use]
    pub fn field(&self, namespace: &str, name: &str) -> Option<&str> {
        let found = self.fields.iter().find(|it| it.namespace == namespace && it.name == name);
        found.map(|field| field.value.as_str())
    }

    /// Returns who wrote the message, when that is a URI.
    #[must_use]
    pub fn from(&self) -> Option<Uri> {
        self.address("From")
    }

    /// Returns the first one to whom the message was written, when that is a URI.
    #[must_use]
    pub fn to(&self) -> Option<Uri> {
        self.address("To")
    }

    /// Returns when the message was written, as RFC 3339 text that is not checked.
    #[must_use]
    pub fn date_time(&self) -> Option<&str> {
        self.field(CPIM_NAMESPACE, "DateTime")
    }

    /// Returns what the message is about.
    #[must_use]
    pub fn subject(&self) -> Option<&str> {
        self.field(CPIM_NAMESPACE, "Subject")
    }

    fn address(&self, name: &str) -> Option<Uri> {
        let (_, uri) = self.field(CPIM_NAMESPACE, name)?.rsplit_once('<')?;
        Uri::parse(uri.strip_suffix('>')?).ok()
    }
}

impl fmt::Debug for Cpim {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Cpim({}, {} bytes)", self.media_type, self.content.len())
    }
}

fn parse_fields(head: &str) -> Result<Vec<Field>, BodyError> {
    let malformed = BodyError::Malformed("a header field of an envelope");
    let mut fields = Vec::new();
    // RFC 3862 s.3.4: a declaration counts from where it stands. The default namespace has the
    // empty prefix.
    let mut namespaces = vec![("", CPIM_NAMESPACE)];
    for line in head.split("\r\n") {
        if fields.len() == FIELDS_MAX {
            return Err(BodyError::TooComplex);
        }
        let (full_name, rest) = line.split_once(':').ok_or(malformed)?;
        let value = skip_parameters(rest).ok_or(malformed)?;
        if full_name == "NS" {
            let (prefix, uri) = value.split_once('<').ok_or(malformed)?;
            let uri = uri.strip_suffix('>').ok_or(malformed)?;
            namespaces.push((prefix.trim_end(), uri));
            continue;
        }
        let (prefix, name) = full_name.split_once('.').unwrap_or(("", full_name));
        let declared = namespaces.iter().rev().find(|(candidate, _)| *candidate == prefix);
        let (_, namespace) = declared.ok_or(malformed)?;
        let (namespace, name) = ((*namespace).to_owned(), name.to_owned());
        fields.push(Field { namespace, name, value: unescape(value).ok_or(malformed)? });
    }
    Ok(fields)
}

/// Skips the parameters between the colon and the space before the value.
fn skip_parameters(rest: &str) -> Option<&str> {
    let mut quoted = false;
    let space = rest.bytes().position(|byte| {
        quoted ^= byte == b'"';
        byte == b' ' && !quoted
    })?;
    let (parameters, value) = rest.split_at_checked(space)?;
    (parameters.is_empty() || parameters.starts_with(';')).then(|| value.trim_start_matches(' '))
}

/// RFC 3862 s.3.6: Escape.
fn unescape(value: &str) -> Option<String> {
    let mut text = String::with_capacity(value.len());
    let mut characters = value.chars();
    while let Some(character) = characters.next() {
        text.push(match character {
            '\\' => match characters.next()? {
                'u' => {
                    let digits: String = characters.by_ref().take(4).collect();
                    let code_point = u32::from_str_radix(&digits, 16).ok()?;
                    char::from_u32(code_point).filter(|_| digits.len() == 4)?
                }
                'b' => '\u{8}',
                't' => '\t',
                'n' => '\n',
                'r' => '\r',
                literal => literal,
            },
            literal if literal.is_control() => return None,
            literal => literal,
        });
    }
    Some(text)
}
