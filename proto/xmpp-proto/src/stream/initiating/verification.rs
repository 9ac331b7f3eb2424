//! Questions about the keys of others: we are the receiving server of XEP-0220, the peer is the
//! authoritative one.

use std::collections::BTreeMap;
use std::time::Instant;

use crate::stanza::error::StanzaCondition;
use crate::stream::dialback::{DialbackElement, DomainPair, Step, Verdict, VerifyRequest, request};
use crate::stream::initiating::{InitiatingEvent, InitiatingStream, State};
use crate::stream::timer::Timer;

/// The questions without an answer, by the two domains and the stream ID of the key.
#[derive(Default)]
pub(super) struct Verifications(BTreeMap<(DomainPair, String), Question>);

struct Question {
    key: String,
    sent: bool,
    deadline: Instant,
}

impl Verifications {
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Keeps a question that is to be sent.
    pub(super) fn ask(&mut self, request: VerifyRequest, deadline: Instant) {
        let VerifyRequest { pair, stream_id, key } = request;
        self.0.insert((pair, stream_id), Question { key, sent: false, deadline });
    }

    /// Forgets all questions and tells which they were.
    pub(super) fn take_all(&mut self) -> impl Iterator<Item = (DomainPair, String)> + use<> {
        std::mem::take(&mut self.0).into_keys()
    }
}

impl InitiatingStream {
    /// Sends the questions that wait, once the stream is far enough for them.
    ///
    /// XEP-0220 s.2.2.2: they are answered before authentication. They are not mixed with SASL,
    /// behind which the stream would begin anew.
    pub(super) fn send_verifications(&mut self) {
        if matches!(self.state, State::AwaitDialback(_) | State::AwaitEnabled(_) | State::Open(_)) {
            for ((pair, stream_id), question) in &mut self.verifications.0 {
                if !question.sent {
                    question.sent = true;
                    self.wire.send(&request(
                        Step::Verify,
                        &pair.local,
                        &pair.remote,
                        Some(stream_id),
                        &question.key,
                    ));
                }
            }
        }
        self.time_verifications();
    }

    /// Takes the peer's answer if it was asked for (XEP-0220 s.3.1).
    pub(super) fn handle_verdict(&mut self, answer: &DialbackElement, verdict: Verdict) {
        let Some(stream_id) = answer.id.clone() else { return };
        let pair = DomainPair { local: answer.to.clone(), remote: answer.from.clone() };
        let question = (pair, stream_id);
        if !self.verifications.0.get(&question).is_some_and(|question| question.sent) {
            return;
        }
        self.verifications.0.remove(&question);
        let (pair, stream_id) = question;
        self.events.push_back(InitiatingEvent::Verdict { pair, stream_id, verdict });
        self.time_verifications();
    }

    /// Gives up the questions whose time is over.
    pub(super) fn expire_verifications(&mut self) {
        let now = self.now;
        let expired: Vec<(DomainPair, String)> = self
            .verifications
            .0
            .extract_if(.., |_, question| question.deadline <= now)
            .map(|(question, _)| question)
            .collect();
        for (pair, stream_id) in expired {
            self.events.push_back(InitiatingEvent::Verdict {
                pair,
                stream_id,
                verdict: Verdict::Error(StanzaCondition::RemoteServerTimeout),
            });
        }
        self.time_verifications();
    }

    fn time_verifications(&mut self) {
        match self.verifications.0.values().map(|question| question.deadline).min() {
            Some(deadline) => self.wire.timers.set(Timer::Verification, deadline),
            None => self.wire.timers.stop(Timer::Verification),
        }
    }
}
