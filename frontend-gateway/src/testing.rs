//! What the tests of gateway and home share: a clock by hand, messages from and to text, and the
//! store as it would be after a restart.

use std::fmt::Debug;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use sip_proto::frame::{Frame, Framer};
use sip_proto::limits::Limits;
use sip_proto::message::{Message, OutgoingResponse, Request, Response};
use sip_proto::{Headers, StatusCode};
use tracing::Metadata;
use tracing::field::{Field, Visit};
use xmpp_proto::jid::Jid;
use xmpp_proto::xml::{Element, parse_document};

use crate::clock::{Now, milliseconds};
use crate::policy::{Policy, document};
use crate::store::record::HomeMessage;
use crate::store::sqlite::Sqlite;
use crate::store::{Loaded, Write};

/// The wall clock when a test begins.
pub(crate) const BEGIN_MS: u64 = 1_800_000_000_000;

/// The local SIP domain is example.net; the partners are of all three types.
pub(crate) const POLICY: &str = r#"
[[local_domain]]
domain = "example.net"

[[xmpp_partner]]
domain = "example.com"
additional_domains = ["also.example.com"]
partner_type = "federated"

[[xmpp_partner]]
domain = "verified.example"
partner_type = "public-verified"

[[xmpp_partner]]
domain = "public.example"
partner_type = "public-unverified"

[[external_access_policy]]
scope = "global"
federation_access = true
xmpp_access = true

[[external_access_policy]]
scope = "user"
name = "nothing"
users = ["hermit@example.net"]
"#;

/// Reads a policy document that has no errors.
pub(crate) fn policy(document: &str) -> Policy {
    let (policy, diagnostics) = document::parse(document);
    policy.unwrap_or_else(|| panic!("{diagnostics:?}"))
}

/// Returns an annotated file with a table in force that stands in it as a comment.
pub(crate) fn with_option(annotated: &str, table: &str) -> String {
    let mut is_inside = false;
    let uncomment = |line: &str| {
        is_inside = line.starts_with('#') && (is_inside || line == format!("# {table}"));
        let text = if is_inside { line.trim_start_matches(['#', ' ']) } else { line };
        // The rest of a comment that goes over two lines.
        if is_inside && line.starts_with("#  ") { String::new() } else { text.to_owned() }
    };
    annotated.lines().map(uncomment).collect::<Vec<_>>().join("\n")
}

pub(crate) fn jid(text: &str) -> Jid {
    Jid::parse(text).unwrap()
}

pub(crate) fn status(code: u16) -> StatusCode {
    StatusCode::new(code).unwrap()
}

/// A clock that only the test moves.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    begin: Instant,
    pub(crate) now: Now,
}

impl Clock {
    pub(crate) fn new() -> Self {
        let instant = Instant::now();
        Self { begin: instant, now: Now { instant, unix_ms: BEGIN_MS } }
    }

    pub(crate) fn set(&mut self, instant: Instant) {
        self.now.unix_ms += milliseconds(instant - self.now.instant);
        self.now.instant = instant;
    }

    /// Returns the time since the test began.
    pub(crate) fn elapsed(&self) -> Duration {
        self.now.instant - self.begin
    }
}

/// A machine with its clock.
pub(crate) trait Timed {
    fn clock(&mut self) -> &mut Clock;

    /// Returns when the machine asks to be woken.
    fn due(&self) -> Option<Instant>;

    /// Wakes the machine.
    fn wake(&mut self);

    /// Lets time pass, and wakes the machine whenever it asked for it.
    fn advance(&mut self, duration: Duration) {
        let target = self.clock().now.instant + duration;
        let mut wakes_at_once = 0;
        while let Some(due) = self.due().filter(|due| *due <= target) {
            let now = self.clock().now.instant;
            wakes_at_once = if due > now { 0 } else { wakes_at_once + 1 };
            assert!(wakes_at_once < 8, "the machine asks to be woken without end");
            self.clock().set(due.max(now));
            self.wake();
        }
        self.clock().set(target);
    }
}

/// Turns lines into a SIP message: CRLF at the ends of the head, and what it lacks of Via,
/// Max-Forwards and Content-Length. `serial` makes the branch unique.
pub(crate) fn sip(text: &str, serial: u64) -> Vec<u8> {
    let text = text.trim_start();
    let (head, body) = text.split_once("\n\n").unwrap_or((text.trim_end(), ""));
    let has = |name: &str| head.lines().any(|line| line.starts_with(name));
    let mut lines: Vec<String> = head.lines().map(|line| line.trim_end().to_owned()).collect();
    if !has("Via:") {
        let via = format!("Via: SIP/2.0/TCP inside.example.net;branch=z9hG4bK-test-{serial}");
        lines.insert(1, via);
    }
    if !has("Max-Forwards:") && !head.starts_with("SIP/2.0") {
        lines.push("Max-Forwards: 70".into());
    }
    if !has("Content-Length:") {
        lines.push(format!("Content-Length: {}", body.len()));
    }
    let mut bytes = lines.join("\r\n").into_bytes();
    bytes.extend_from_slice(b"\r\n\r\n");
    bytes.extend_from_slice(body.as_bytes());
    bytes
}

/// Reads what was sent; all of it must be whole messages.
pub(crate) fn messages(bytes: &[u8]) -> Vec<Message> {
    let mut framer = Framer::new(Limits::default());
    framer.handle_bytes(bytes);
    let frames = std::iter::from_fn(|| framer.poll_frame()).collect::<Vec<_>>();
    assert!(!framer.is_inside_message(), "half a message was sent");
    let message = |frame| match frame {
        Frame::Message(message) => Some(message),
        Frame::Ping => None,
        Frame::Failure(failure) => panic!("we sent what is no SIP: {failure:?}"),
    };
    frames.into_iter().filter_map(message).collect()
}

/// Returns the answer to a request, as its receiver would write it.
pub(crate) fn answer(request: &Request, code: u16, extra: &[(&str, &str)]) -> Vec<u8> {
    answered(request, code, extra).to_bytes().to_vec()
}

/// Returns the answer to a request as it is made.
pub(crate) fn answered(request: &Request, code: u16, extra: &[(&str, &str)]) -> OutgoingResponse {
    let mut response = OutgoingResponse::to(request, status(code), Some("answerer"));
    for (name, value) in extra {
        match *name {
            "Reason" => response = response.with_reason_phrase(value),
            name => {
                let known = sip_proto::header::HeaderName::parse(name);
                response.headers_mut().push_text(known, value);
            }
        }
    }
    response
}

/// Returns the first row of a header field, empty when there is none.
pub(crate) fn header<'a>(headers: &'a Headers, name: &str) -> &'a str {
    let known = sip_proto::header::HeaderName::parse(name);
    headers.first(known).or_else(|| headers.first_other(name)).unwrap_or_default()
}

pub(crate) fn body(request: &Request) -> &str {
    std::str::from_utf8(request.body()).unwrap()
}

/// Says code and reason phrase of an answer.
pub(crate) fn said(response: &Response) -> String {
    format!("{} {}", response.status().code(), response.reason_phrase())
}

/// Reads a stanza as on a stream between servers.
pub(crate) fn stanza(text: &str) -> Element {
    let limits = xmpp_proto::limits::Limits::AFTER_AUTHENTICATION;
    let at = text.find(['>', ' ', '/']).unwrap();
    let text = format!("{} xmlns='jabber:server'{}", &text[..at], &text[at..]);
    parse_document(text.as_bytes(), &limits).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// Every write that was confirmed: what a process that starts anew finds.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    pub(crate) writes: Vec<Write>,
}

impl Ledger {
    /// Loads what the real store makes of the writes.
    pub(crate) fn load(&self, now: Now) -> Loaded {
        let directory = tempfile::tempdir().unwrap();
        let mut store = Sqlite::open(&directory.path().join("store")).unwrap();
        store.apply(self.writes.iter()).unwrap();
        let mut loaded = store.load(now.unix_ms).unwrap();
        loaded.installation_secret = b"installation".to_vec();
        loaded
    }

    /// Reads messages that are kept for a home user, oldest first.
    pub(crate) fn kept_messages(&self, user: &Jid, count_max: usize) -> Vec<HomeMessage> {
        let dropped = |id| self.writes.contains(&Write::DropMessage { id });
        let kept = self.writes.iter().filter_map(|write| match write {
            Write::KeepMessage(message) => Some(message.clone()),
            _ => None,
        });
        let of_user = kept.filter(|it| it.aor == user.to_string() && !dropped(it.id));
        of_user.take(count_max).collect()
    }
}

/// Runs something and returns all that it logs at INFO and above, with every field.
pub(crate) fn logged(run: impl FnOnce()) -> String {
    let (lines, received) = mpsc::channel();
    tracing::subscriber::with_default(Records { lines }, run);
    received.try_iter().collect()
}

/// A subscriber that writes what an operator would see.
struct Records {
    lines: mpsc::Sender<String>,
}

/// The fields of one record.
#[derive(Default)]
struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.0.push_str(&format!("{}={value:?} ", field.name()));
    }
}

impl Records {
    fn write(&self, record: impl FnOnce(&mut Line)) {
        let mut line = Line::default();
        record(&mut line);
        // Nobody reads what is logged after the end.
        let _ = self.lines.send(line.0 + "\n");
    }
}

impl tracing::Subscriber for Records {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= tracing::Level::INFO
    }

    fn new_span(&self, span: &tracing::span::Attributes<'_>) -> tracing::Id {
        self.write(|line| span.record(line));
        tracing::Id::from_u64(1)
    }

    fn record(&self, _: &tracing::Id, values: &tracing::span::Record<'_>) {
        self.write(|line| values.record(line));
    }

    fn record_follows_from(&self, _: &tracing::Id, _: &tracing::Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        self.write(|line| event.record(line));
    }

    fn enter(&self, _: &tracing::Id) {}

    fn exit(&self, _: &tracing::Id) {}
}
