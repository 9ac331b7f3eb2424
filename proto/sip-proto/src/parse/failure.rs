//! What is told to the sender of a message that could not be read.

use super::rows::{split_row, unfold};
use crate::error::{Fault, HeaderError};
use crate::header::HeaderName;
use crate::headers::Headers;
use crate::message::{Message, OutgoingResponse};
use crate::method::Method;
use crate::scan::is_control;
use crate::status::StatusCode;

/// The header fields that a response copies from its request (RFC 3261 s.8.2.6.2).
const ECHOED: [HeaderName; 5] =
    [HeaderName::Via, HeaderName::From, HeaderName::To, HeaderName::CallId, HeaderName::CSeq];

/// A message that could not be read: the peer's fault, answered when it can be.
#[derive(Clone, Debug, thiserror::Error)]
#[error("message refused with {status}: {reason_phrase}")]
pub struct ParseFailure {
    /// The status code of the answer.
    pub status: StatusCode,
    /// The reason phrase of the answer.
    pub reason_phrase: String,
    /// Whether the stream must be closed, because nobody can tell where the next message begins.
    pub close: bool,
    /// What the answer copies; none for a message that cannot or must not be answered.
    echo: Option<Headers>,
}

impl ParseFailure {
    /// Makes the failure of a message whose end is known.
    pub(super) fn new(status: StatusCode, reason: &str, head: &[u8]) -> Self {
        Self { status, reason_phrase: reason.to_owned(), close: false, echo: echo(head) }
    }

    /// Makes the failure of a message whose end is not known.
    pub(crate) fn closing(status: StatusCode, reason: &str, head: &[u8]) -> Self {
        Self { close: true, ..Self::new(status, reason, head) }
    }

    /// Makes the failure of a message whose body did not come.
    pub(crate) fn of_incomplete_body(message: &Message) -> Self {
        let echo = match message {
            Message::Request(request) if *request.method() != Method::Ack => {
                Some(request.headers().clone())
            }
            Message::Request(_) | Message::Response(_) => None,
        };
        let reason_phrase = "Incomplete Body".to_owned();
        Self { status: StatusCode::BAD_REQUEST, reason_phrase, close: true, echo }
    }

    pub(super) fn of_header(error: HeaderError, head: &[u8]) -> Self {
        Self::new(StatusCode::BAD_REQUEST, &error.reason_phrase(), head)
    }

    /// Says whose fault it is.
    #[must_use]
    pub fn fault(&self) -> Fault {
        Fault::Peer
    }

    /// Returns the answer, which copies what could be read of Via, From, To, Call-ID and CSeq.
    ///
    /// The tag of the answerer goes to a To without one. There is no answer to a response, to an
    /// ACK (RFC 3261 s.17.1.1.3), and to a request without Via.
    #[must_use]
    pub fn response(&self, to_tag: &str) -> Option<OutgoingResponse> {
        let echo = self.echo.as_ref()?;
        Some(OutgoingResponse::echoing(self.status, &self.reason_phrase, echo, to_tag))
    }
}

/// Collects what an answer copies from the complete lines of a head, however broken the rest is.
fn echo(head: &[u8]) -> Option<Headers> {
    let text = String::from_utf8_lossy(head);
    let text = unfold(&text);
    let mut lines = text.split("\r\n");
    let start_line = lines.next()?;
    if start_line.starts_with("SIP/") || start_line.starts_with("ACK ") {
        return None;
    }
    let mut echo = Headers::default();
    for (name, value) in lines.filter_map(split_row) {
        let name = HeaderName::parse(name);
        let wanted = ECHOED.contains(&name) && (name == HeaderName::Via || !echo.has(name));
        let is_clean = !value.bytes().any(is_control) && !value.contains('\u{fffd}');
        if wanted && is_clean {
            echo.push_text(name, value);
        }
    }
    echo.has(HeaderName::Via).then_some(echo)
}
