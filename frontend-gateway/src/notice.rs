//! Messages that we write ourselves, about a message that failed. They are never answered by
//! another one.

use bytes::Bytes;
use sip_proto::body::{self, TextFormat};
use sip_proto::header::{MediaType, TypedHeader};
use sip_proto::message::{OutgoingRequest, Request};

/// The header field that tells a notice from a user's message, between gateway and home.
const MARK: &str = "Isthmus-Notice";

/// Marks a request as a notice.
pub fn mark(request: &mut OutgoingRequest) {
    request.headers_mut().push_other(MARK, "failure");
}

/// Says whether a request is a notice.
pub fn is_notice(request: &Request) -> bool {
    request.headers().first_other(MARK).is_some()
}

/// Characters of a failed message that its sender is reminded of.
const EXCERPT_CHARACTERS_MAX: usize = 80;

/// Returns the start of a text, on one line.
pub fn excerpt(text: &str) -> String {
    let mut line = String::new();
    for word in text.split_whitespace() {
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
        // A character takes four bytes at the most, so that this is enough and one more.
        if line.len() > EXCERPT_CHARACTERS_MAX * 4 {
            break;
        }
    }
    match line.char_indices().nth(EXCERPT_CHARACTERS_MAX) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

/// Returns the start of what a MESSAGE says, on one line; none when it is no plain text.
pub fn excerpt_of(request: &Request) -> Option<String> {
    let media_type = request.content_type().ok()??;
    let found = body::text(&media_type, request.body()).ok()??;
    Some(excerpt(&found.text)).filter(|it| found.format == TextFormat::Plain && !it.is_empty())
}

/// Sets the text of a message.
pub fn set_text(request: &mut OutgoingRequest, text: &str) {
    let media_type = if text.is_ascii() { "text/plain" } else { "text/plain;charset=UTF-8" };
    if let Ok(media_type) = MediaType::parse(media_type) {
        request.set_body(&media_type, Bytes::copy_from_slice(text.as_bytes()));
    }
}

#[cfg(test)]
mod tests {
    use sip_proto::message::Message;

    use super::{EXCERPT_CHARACTERS_MAX, excerpt_of};
    use crate::testing;

    fn of(media_type: &str, text: &str) -> Option<String> {
        let request = format!(
            "MESSAGE sip:a@example.net SIP/2.0\nFrom: <sip:a@example.net>;tag=1\n\
             To: <sip:b@example.net>\nCall-ID: c\nCSeq: 1 MESSAGE\n\
             Content-Type: {media_type}\n\n{text}"
        );
        match testing::messages(&testing::sip(&request, 1)).remove(0) {
            Message::Request(request) => excerpt_of(&request),
            Message::Response(response) => panic!("{response:?}"),
        }
    }

    #[test]
    fn the_start_of_a_text_is_one_line_of_so_many_characters() {
        let plain = "text/plain;charset=UTF-8";
        assert_eq!(of(plain, " one\r\n\r\ntwo ").as_deref(), Some("one two"));
        let exact = "é".repeat(EXCERPT_CHARACTERS_MAX);
        assert_eq!(of(plain, &exact), Some(exact.clone()));
        assert_eq!(of(plain, &format!("{exact}é")), Some(format!("{exact}…")));
        let words = "é é ".repeat(10_000);
        assert_eq!(of(plain, &words).unwrap().chars().count(), EXCERPT_CHARACTERS_MAX + 1);
    }

    #[test]
    fn what_is_no_plain_text_has_no_start() {
        assert_eq!(of("text/html", "<p>one</p>"), None);
        assert_eq!(of("image/png", "one"), None);
        assert_eq!(of("text/plain", " \r\n"), None);
    }
}
