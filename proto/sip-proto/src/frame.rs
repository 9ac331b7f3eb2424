//! Cuts the bytes of a stream into messages (RFC 3261 s.7.5 and s.18.3, RFC 5626 s.4.4.1).

#[cfg(test)]
mod tests;

use bytes::{Buf, Bytes, BytesMut};
use memchr::memchr_iter;

use crate::limits::Limits;
use crate::message::Message;
use crate::parse::{Head, ParseFailure, parse_head};
use crate::status::StatusCode;

/// Capacity that an idle framer may keep, in bytes.
const IDLE_BUFFER_BYTES_MAX: usize = 8 * 1024;

/// What a stream holds.
#[derive(Clone, Debug)]
pub enum Frame {
    /// A keep-alive of two CRLF, to be answered with one CRLF (RFC 5626 s.4.4.1).
    Ping,
    /// A complete message.
    Message(Message),
    /// A message that cannot be read. After one that asks for closing nothing more comes; the
    /// stream is closed once the answers to earlier requests are sent.
    Failure(ParseFailure),
}

/// The framing of one direction of one stream.
///
/// What comes out does not depend on how the bytes were cut on their way. The memory held is
/// bounded by the limits of a message and the bytes of one call of [`Framer::handle_bytes`]; the
/// owner polls until nothing comes before it hands over more. How long a message may take is the
/// owner's to limit.
#[derive(Debug)]
pub struct Framer {
    limits: Limits,
    buffer: BytesMut,
    state: State,
}

/// ```text
/// BetweenMessages --CRLF--> AfterLineEnd --CRLF, a ping--> BetweenMessages
/// BetweenMessages, AfterLineEnd --another byte--> Head --empty line--> Body
/// Body --all bytes--> BetweenMessages
/// any state --the end of a message is not certain--> Closed
/// ```
#[derive(Debug)]
enum State {
    BetweenMessages,
    AfterLineEnd,
    Head { line_start: usize, searched: usize },
    Body { message: Result<Message, ParseFailure>, length: usize },
    Closed,
}

/// Whether polling can go on.
enum Step {
    /// The state has changed.
    Again(State),
    /// More bytes are needed.
    Wait(State),
    /// There is something to tell.
    Tell(State, Frame),
}

impl Framer {
    /// Makes the framer of a stream.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self { limits, buffer: BytesMut::new(), state: State::BetweenMessages }
    }

    /// Takes bytes from the stream.
    pub fn handle_bytes(&mut self, bytes: &[u8]) {
        if !matches!(self.state, State::Closed) {
            self.buffer.extend_from_slice(bytes);
        }
    }

    /// Takes the end of the bytes: the stream has ended, or the owner gives up waiting for the rest
    /// of a message. Returns the failure of the message that is not complete, which is never
    /// processed.
    pub fn handle_end(&mut self) -> Option<ParseFailure> {
        let complete = |length| self.buffer.get(..length).unwrap_or_default();
        let failure = match std::mem::replace(&mut self.state, State::Closed) {
            State::BetweenMessages | State::AfterLineEnd | State::Closed => None,
            State::Head { line_start, .. } => {
                let reason = "Incomplete Header Fields";
                Some(ParseFailure::closing(StatusCode::BAD_REQUEST, reason, complete(line_start)))
            }
            State::Body { message, .. } => Some(match message {
                Ok(message) => ParseFailure::of_incomplete_body(&message),
                Err(mut failure) => {
                    failure.close = true;
                    failure
                }
            }),
        };
        self.buffer = BytesMut::new();
        failure
    }

    /// Says whether part of a message has come, so that the rest is owed in a bounded time.
    #[must_use]
    pub fn is_inside_message(&self) -> bool {
        matches!(self.state, State::Head { .. } | State::Body { .. })
    }

    /// Returns the next thing that the bytes hold.
    pub fn poll_frame(&mut self) -> Option<Frame> {
        loop {
            let step = match std::mem::replace(&mut self.state, State::Closed) {
                State::BetweenMessages => {
                    self.take_line_end(State::BetweenMessages, Step::Again(State::AfterLineEnd))
                }
                State::AfterLineEnd => {
                    let ping = Step::Tell(State::BetweenMessages, Frame::Ping);
                    self.take_line_end(State::AfterLineEnd, ping)
                }
                State::Head { line_start, searched } => self.search_head(line_start, searched),
                State::Body { message, length } => self.take_body(message, length),
                State::Closed => {
                    self.buffer = BytesMut::new();
                    Step::Wait(State::Closed)
                }
            };
            match step {
                Step::Again(state) => self.state = state,
                Step::Wait(state) => {
                    self.state = state;
                    return None;
                }
                Step::Tell(state, frame) => {
                    self.state = state;
                    return Some(frame);
                }
            }
        }
    }

    /// Takes a CRLF, or finds that a message begins.
    fn take_line_end(&mut self, unchanged: State, taken: Step) -> Step {
        match (self.buffer.first(), self.buffer.get(1)) {
            (None, _) => {
                if self.buffer.capacity() > IDLE_BUFFER_BYTES_MAX {
                    self.buffer = BytesMut::new();
                }
                Step::Wait(unchanged)
            }
            (Some(b'\r'), None) => Step::Wait(unchanged),
            (Some(b'\r'), Some(b'\n')) => {
                self.buffer.advance(2);
                taken
            }
            (Some(b'\r' | b'\n'), _) => self.fail(StatusCode::BAD_REQUEST, "Bare Line End", 0),
            (Some(_), _) => Step::Again(State::Head { line_start: 0, searched: 0 }),
        }
    }

    /// Looks for the empty line, line by line, so that no line is searched twice and a line end
    /// that is not CRLF is found before anything is read beyond it.
    fn search_head(&mut self, mut line_start: usize, searched: usize) -> Step {
        let bytes_max = self.limits.head_bytes_max;
        for found in memchr_iter(b'\n', self.buffer.get(searched..).unwrap_or_default()) {
            let line_feed = searched + found;
            if line_feed >= bytes_max {
                return self.fail_too_large(line_start);
            }
            let line = self.buffer.get(line_start..line_feed).unwrap_or_default();
            if line.last() != Some(&b'\r') {
                return self.fail(StatusCode::BAD_REQUEST, "Bare Line Feed", line_start);
            }
            let is_empty_line = line.len() == 1;
            line_start = line_feed + 1;
            if is_empty_line {
                return self.read_head(line_start);
            }
        }
        if self.buffer.len() >= bytes_max {
            return self.fail_too_large(line_start);
        }
        Step::Wait(State::Head { line_start, searched: self.buffer.len() })
    }

    fn read_head(&mut self, head_end: usize) -> Step {
        let bytes = self.buffer.get(..head_end).unwrap_or_default();
        let Head { content_length, message } = match parse_head(bytes, &self.limits) {
            Ok(head) => head,
            Err(failure) => return Step::Tell(State::Closed, Frame::Failure(failure)),
        };
        match content_length {
            // RFC 3261 s.18.3: on a stream only Content-Length tells where the message ends.
            None => {
                self.fail(StatusCode::BAD_REQUEST, "Missing Content-Length Header Field", head_end)
            }
            Some(length) if length > self.limits.body_bytes_max => {
                self.fail(StatusCode::BAD_REQUEST, "Content-Length Too Large", head_end)
            }
            Some(length) => {
                self.buffer.advance(head_end);
                Step::Again(State::Body { message, length })
            }
        }
    }

    fn take_body(&mut self, message: Result<Message, ParseFailure>, length: usize) -> Step {
        if self.buffer.len() < length {
            return Step::Wait(State::Body { message, length });
        }
        // Copied, so that a message that is kept does not keep the buffer of its stream.
        let body = Bytes::copy_from_slice(self.buffer.get(..length).unwrap_or_default());
        self.buffer.advance(length);
        let frame = match message {
            Ok(mut message) => {
                message.set_body(body);
                Frame::Message(message)
            }
            Err(failure) => Frame::Failure(failure),
        };
        Step::Tell(State::BetweenMessages, frame)
    }

    fn fail_too_large(&self, complete_bytes: usize) -> Step {
        let status = StatusCode::MESSAGE_TOO_LARGE;
        self.fail(status, status.reason_phrase(), complete_bytes)
    }

    /// Ends the framing; the answer copies what stands in the first bytes of the buffer.
    fn fail(&self, status: StatusCode, reason: &str, complete_bytes: usize) -> Step {
        let complete = self.buffer.get(..complete_bytes).unwrap_or_default();
        let failure = ParseFailure::closing(status, reason, complete);
        Step::Tell(State::Closed, Frame::Failure(failure))
    }
}
