//! Pager-mode messages (RFC 7572): the text of a stanza, the text of a MESSAGE.

use bytes::Bytes;
use sip_proto::body::{self, BodyError, TextFormat};
use sip_proto::header::{CallId, Date, HeaderName, MediaType, NameAddr, TypedHeader};
use sip_proto::message::{OutgoingRequest, Request, RequestParts};
use sip_proto::{Method, Refusal, StatusCode};
use xmpp_proto::jid::Jid;
use xmpp_proto::ns;
use xmpp_proto::xml::Element;

use super::{html, language};
use crate::address::{AddressError, x2s_address};
use crate::clock::Now;
use crate::denial::Denial;

/// The media types in which a text is looked for.
pub const TEXT_TYPES: &[&str] =
    &["text/plain", "text/html", "multipart/mixed", "multipart/alternative", "message/cpim"];

const DELAY: &str = "urn:xmpp:delay";

/// Age of a Date from which a message counts as delayed, in seconds: clocks differ.
const DELAY_S_MIN: u64 = 60;

/// Bytes that the next hops may add to a request: a Via and what it is answered with.
const HOP_BYTES: usize = 200;

/// What a message stanza says.
#[derive(Clone, PartialEq, Eq)]
pub struct Text {
    /// The text.
    pub body: String,
    /// The subject.
    pub subject: Option<String>,
    /// The thread.
    pub thread: Option<String>,
    /// The language of the text.
    pub language: Option<String>,
}

/// What makes a MESSAGE unique at its recipient (RFC 3261 s.8.2.2.2).
#[derive(Clone, Copy, Debug)]
pub struct Identifiers<'a> {
    /// The Call-ID of the thread.
    pub call_id: &'a CallId,
    /// The tag of the sender.
    pub from_tag: &'a str,
    /// Rises within the thread.
    pub sequence_number: u32,
}

/// Reads the text of a message stanza; none when it has none. An empty body is none unless there
/// is a subject.
///
/// Of several bodies the one in the stanza's language counts, else the first without a language,
/// else the first (RFC 6121 s.5.2.3).
pub fn x2s_text(stanza: &Element, stream_language: Option<&str>) -> Option<Text> {
    let inherited = stanza.lang().or(stream_language);
    let body = chosen(stanza, "body", inherited)?;
    let subject = chosen(stanza, "subject", inherited).map(|subject| subject.text().into_owned());
    if body.text().is_empty() && subject.as_ref().is_none_or(String::is_empty) {
        return None;
    }
    let thread = stanza.child(ns::SERVER, "thread").map(|thread| thread.text().into_owned());
    let tag = body.lang().or(inherited).and_then(language::tag);
    Some(Text {
        body: body.text().into_owned(),
        subject,
        thread: thread.filter(|thread| !thread.is_empty()),
        language: tag.map(str::to_owned),
    })
}

fn chosen<'a>(stanza: &'a Element, name: &str, inherited: Option<&str>) -> Option<&'a Element> {
    let all = || stanza.children().filter(|child| child.is(ns::SERVER, name));
    let own = |child: &&Element| child.lang().is_none() || child.lang() == inherited;
    all().find(own).or_else(|| all().next())
}

/// Writes the MESSAGE for a text (RFC 7572 Table 1).
///
/// # Errors
/// Fails when one of the two has no SIP address.
pub fn x2s_message(
    from: &Jid,
    to: &Jid,
    text: &Text,
    identifiers: Identifiers<'_>,
) -> Result<OutgoingRequest, AddressError> {
    let uri = x2s_address(&to.bare())?;
    let mut request = OutgoingRequest::new(RequestParts {
        method: Method::Message,
        uri: &uri,
        from: &NameAddr::new(x2s_address(from)?).with_tag(identifiers.from_tag),
        to: &NameAddr::new(uri.clone()),
        call_id: identifiers.call_id,
        sequence_number: identifiers.sequence_number,
    });
    if let Some(subject) = &text.subject {
        request.headers_mut().push_text(HeaderName::Subject, subject);
    }
    if let Some(tag) = &text.language {
        request.headers_mut().push_text(HeaderName::ContentLanguage, tag);
    }
    let plain = if text.body.is_ascii() { "text/plain" } else { "text/plain;charset=UTF-8" };
    if let Ok(media_type) = MediaType::parse(plain) {
        request.set_body(&media_type, Bytes::copy_from_slice(text.body.as_bytes()));
    }
    Ok(request)
}

/// Returns how many bytes a request will have at its recipient, at the most.
pub fn request_bytes(request: &OutgoingRequest, body_bytes: usize) -> usize {
    let rows = request.headers().iter().map(|row| row.spelling.len() + row.value.len() + 4);
    request.uri().to_wire().len() + rows.sum::<usize>() + body_bytes + HOP_BYTES
}

/// Writes the stanza for a MESSAGE (RFC 7572 Table 2).
///
/// # Errors
/// Fails with the answer when the MESSAGE has no text that can be carried.
pub fn s2x_message(
    request: &Request,
    from: &Jid,
    to: &Jid,
    id: &str,
    thread: &str,
    now: Now,
) -> Result<Element, Denial> {
    let (text, tag) = s2x_text(request)?;
    let mut stanza = Element::new(ns::SERVER, "message")
        .with_attribute("from", from.as_str())
        .with_attribute("to", to.as_str())
        .with_attribute("id", id);
    if let Some(tag) = tag {
        stanza = stanza.with_lang(tag);
    }
    if let Some(subject) = request.headers().first(HeaderName::Subject) {
        stanza.push_child(Element::new(ns::SERVER, "subject").with_text(subject));
    }
    stanza.push_child(Element::new(ns::SERVER, "thread").with_text(thread));
    stanza.push_child(Element::new(ns::SERVER, "body").with_text(text));
    // RFC 4475 s.3.1.2.12: a Date that cannot be read says nothing.
    if let Ok(Some(date)) = request.headers().typed::<Date>()
        && let Some(stamp) = delayed(date, now)
    {
        let delay = Element::new(DELAY, "delay")
            .with_attribute("from", from.domain().as_str())
            .with_attribute("stamp", stamp);
        stanza.push_child(delay);
    }
    Ok(stanza)
}

/// Returns the text of a MESSAGE with its language.
fn s2x_text(request: &Request) -> Result<(String, Option<String>), Denial> {
    let unreadable = |error: BodyError| Denial::new(error.status(), &error.to_string());
    let no_text = || Denial::new(StatusCode::BAD_REQUEST, "The Message Has No Text");
    let media_type = request.content_type()?.ok_or_else(no_text)?;
    let found = body::text(&media_type, request.body()).map_err(unreadable)?;
    let found = found.ok_or_else(|| Refusal::unsupported_media_type(TEXT_TYPES))?;
    let own = request.headers().first(HeaderName::ContentLanguage);
    let tag = found.language.as_deref().or(own).and_then(language::tag).map(str::to_owned);
    let text = match found.format {
        TextFormat::Plain => found.text,
        TextFormat::Html => html::text(&found.text),
    };
    if text.is_empty() {
        return Err(no_text());
    }
    Ok((text, tag))
}

/// Returns the stamp of XEP-0203 when a message was sent a while ago.
fn delayed(date: Date, now: Now) -> Option<String> {
    let seconds = date.unix_seconds();
    if seconds + DELAY_S_MIN > now.unix_ms / 1000 {
        return None;
    }
    let time = time::OffsetDateTime::from_unix_timestamp(i64::try_from(seconds).ok()?).ok()?;
    time.format(&time::format_description::well_known::Rfc3339).ok()
}

impl std::fmt::Debug for Text {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Text({} bytes)", self.body.len())
    }
}
