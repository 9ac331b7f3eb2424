//! Multipart bodies (RFC 2046 s.5.1), walked part by part, with at most one envelope among them.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use memchr::memmem;

use super::BodyError;
use super::cpim::Cpim;
use crate::header::{HeaderName, MediaType};
use crate::headers::Headers;
use crate::parse::fields;

/// Parts of one body, containers and leaves together.
const PARTS_MAX: usize = 32;
/// Containers inside of each other.
const DEPTH_MAX: usize = 4;
/// Length of a boundary (RFC 2046 s.5.1.1).
const BOUNDARY_BYTES_MAX: usize = 70;

/// A part that has no parts, of whose content logs show the length alone.
#[derive(Clone, PartialEq, Eq)]
pub struct Part {
    /// The media type; text/plain when the part names none.
    pub media_type: MediaType,
    /// The language tag, when the part names one.
    pub language: Option<String>,
    /// Whether the part is meant to be saved and not shown.
    pub is_attachment: bool,
    /// The content, its transfer encoding undone.
    pub content: Bytes,
}

impl fmt::Debug for Part {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Part({}, {} bytes)", self.media_type, self.content.len())
    }
}

/// Returns the leaves of a body in their order: those of multipart/mixed and
/// multipart/alternative, what a message/cpim envelope is around, or the body itself.
///
/// An envelope inside of another stays closed, and is a leaf.
///
/// # Errors
/// Fails when a boundary is missing, when a part or an envelope cannot be read, and beyond 32
/// parts or 4 levels.
pub fn parts(media_type: &MediaType, body: &Bytes) -> Result<Vec<Part>, BodyError> {
    let mut walk = Walk { leaves: Vec::new(), seen: 0 };
    let whole = Part {
        media_type: media_type.clone(),
        language: None,
        is_attachment: false,
        content: body.clone(),
    };
    walk.visit(whole, 0, false)?;
    Ok(walk.leaves)
}

struct Walk {
    leaves: Vec<Part>,
    seen: usize,
}

impl Walk {
    fn visit(&mut self, part: Part, depth: usize, in_envelope: bool) -> Result<(), BodyError> {
        self.seen += 1;
        if self.seen > PARTS_MAX || depth > DEPTH_MAX {
            return Err(BodyError::TooComplex);
        }
        match part.media_type.name() {
            "message/cpim" if !in_envelope && !part.is_attachment => {
                return self.visit(open_envelope(&part)?, depth + 1, true);
            }
            "multipart/mixed" | "multipart/alternative" => {}
            _ => {
                self.leaves.push(part);
                return Ok(());
            }
        }
        let boundary = part.media_type.parameters.value("boundary").unwrap_or_default();
        if boundary.is_empty() || boundary.len() > BOUNDARY_BYTES_MAX {
            return Err(BodyError::Malformed("the boundary is missing or too long"));
        }
        let mut rest = Delimited::new(&part.content, &boundary)?;
        while let Some(inner) = rest.next_part()? {
            self.visit(read_part(&inner)?, depth + 1, in_envelope)?;
        }
        Ok(())
    }
}

/// Returns what an envelope is around.
fn open_envelope(envelope: &Part) -> Result<Part, BodyError> {
    let cpim = Cpim::parse(&envelope.content)?;
    Ok(Part {
        media_type: cpim.media_type,
        language: cpim.language.or_else(|| envelope.language.clone()),
        is_attachment: false,
        content: cpim.content,
    })
}

/// What is left of a multipart body, beginning behind a delimiter.
struct Delimited {
    rest: Bytes,
    delimiter: String,
}

/// What follows a delimiter.
enum Behind {
    Part(usize),
    End,
    /// The delimiter is the beginning of a longer line, which is content.
    Content,
}

impl Delimited {
    /// Skips the preamble.
    fn new(body: &Bytes, boundary: &str) -> Result<Self, BodyError> {
        let delimiter = format!("\r\n--{boundary}");
        // The first delimiter may stand at the very beginning, where no line end precedes it.
        let first = delimiter.strip_prefix("\r\n").unwrap_or_default();
        if body.starts_with(first.as_bytes()) {
            let rest = body.slice(first.len()..);
            return Ok(Self { rest, delimiter });
        }
        let position = memmem::find(body, delimiter.as_bytes());
        let position = position.ok_or(BodyError::Malformed("the first boundary is missing"))?;
        let rest = body.slice(position + delimiter.len()..);
        Ok(Self { rest, delimiter })
    }

    /// Takes the part that begins here; none behind the last delimiter.
    fn next_part(&mut self) -> Result<Option<Bytes>, BodyError> {
        let malformed = BodyError::Malformed("a boundary is not a line");
        let start = match behind_delimiter(&self.rest) {
            Behind::Part(start) => start,
            Behind::End => return Ok(None),
            Behind::Content => return Err(malformed),
        };
        let mut searched = start.saturating_sub(2);
        loop {
            let found = memmem::find(
                self.rest.get(searched..).unwrap_or_default(),
                self.delimiter.as_bytes(),
            );
            let end = searched + found.ok_or(BodyError::Malformed("a boundary is missing"))?;
            let behind = self.rest.slice(end + self.delimiter.len()..);
            if matches!(behind_delimiter(&behind), Behind::Content) {
                searched = end + self.delimiter.len();
                continue;
            }
            let part = self.rest.slice(start.min(end)..end);
            self.rest = behind;
            return Ok(Some(part));
        }
    }
}

fn behind_delimiter(rest: &[u8]) -> Behind {
    if rest.starts_with(b"--") {
        return Behind::End;
    }
    let padding = rest.iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
    match rest.get(padding..) {
        Some(line_end) if line_end.starts_with(b"\r\n") => Behind::Part(padding + 2),
        _ => Behind::Content,
    }
}

fn read_part(bytes: &Bytes) -> Result<Part, BodyError> {
    let (headers, content) = split_head(bytes)?;
    let malformed = BodyError::Malformed("the header fields of a part");
    let media_type = headers.typed::<MediaType>().map_err(|_| malformed)?;
    let disposition = headers.first(HeaderName::ContentDisposition).unwrap_or_default();
    let encoding = headers.first_other("Content-Transfer-Encoding").unwrap_or_default();
    Ok(Part {
        media_type: media_type.unwrap_or_else(|| MediaType::from_static("text/plain")),
        language: headers.first(HeaderName::ContentLanguage).map(str::to_owned),
        is_attachment: disposition
            .split(';')
            .next()
            .is_some_and(|kind| kind.trim().eq_ignore_ascii_case("attachment")),
        content: decode_transfer(encoding, content)?,
    })
}

/// Splits MIME header fields, which may be none, from what they describe.
pub(super) fn split_head(bytes: &Bytes) -> Result<(Headers, Bytes), BodyError> {
    if bytes.starts_with(b"\r\n") {
        return Ok((Headers::default(), bytes.slice(2..)));
    }
    let head_end = memmem::find(bytes, b"\r\n\r\n").map(|position| position + 2);
    let head_end = head_end.ok_or(BodyError::Malformed("a part without empty line"))?;
    let malformed = BodyError::Malformed("the header fields of a part");
    let head = bytes.get(..head_end).unwrap_or_default();
    let headers = fields(head).map_err(|_| malformed)?;
    Ok((headers, bytes.slice(head_end + 2..)))
}

fn decode_transfer(encoding: &str, content: Bytes) -> Result<Bytes, BodyError> {
    match encoding.to_ascii_lowercase().as_str() {
        "" | "7bit" | "8bit" | "binary" => Ok(content),
        "base64" => {
            let is_data = |byte: &u8| !matches!(byte, b'\r' | b'\n' | b' ' | b'\t');
            let data: Vec<u8> = content.iter().copied().filter(is_data).collect();
            let decoded = STANDARD.decode(data).map_err(|_| BodyError::Malformed("not base64"))?;
            Ok(Bytes::from(decoded))
        }
        _ => Err(BodyError::UnsupportedEncoding),
    }
}
