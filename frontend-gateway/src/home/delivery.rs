//! Messages for home users: to every device at once, or kept until one registers.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Instant;

use sip_proto::frame::{Frame, Framer};
use sip_proto::header::{Date, HeaderName, NameAddr, Via};
use sip_proto::limits::Limits;
use sip_proto::message::{Message, OutgoingRequest, Request, RequestParts};
use sip_proto::{Method, Refusal, StatusCode};
use xmpp_proto::jid::Jid;

use super::requests::Asked;
use super::{ANSWER_MAX, Answer, Asker, Home, HomeEffect, Purpose};
use crate::address::{s2x_address, x2s_address};
use crate::clock::Now;
use crate::denial::Denial;
use crate::forward;
use crate::notice;
use crate::store::Write;
use crate::store::record::HomeMessage;

/// What follows a commit.
#[derive(Debug)]
pub(super) enum HomeStep {
    /// The message is kept: its sender learns that.
    Kept(Asker, Box<Request>, Jid),
    /// The message could not be kept.
    NotKept(Asker, Box<Request>, u64),
    /// A message is not kept for the user any more, and others may still be.
    Dropped(Jid),
}

/// Messages on their way to devices.
#[derive(Debug, Default)]
pub(super) struct Deliveries {
    last_id: u64,
    open: BTreeMap<u64, Delivery>,
    /// When those are kept that no device has answered; in the order of their numbers.
    deadlines: VecDeque<(Instant, u64)>,
    collecting: BTreeMap<Jid, VecDeque<HomeMessage>>,
    reading: BTreeSet<Jid>,
    /// Those who came for what was still on its way to the disk.
    missed: BTreeSet<Jid>,
}

#[derive(Debug)]
struct Delivery {
    user: Jid,
    request: Box<Request>,
    origin: Origin,
    /// Devices that have not answered.
    waiting: usize,
    /// The answer of a device that will never take the message.
    refused: Option<(StatusCode, String)>,
}

/// Where a message comes from.
#[derive(Clone, Copy, Debug)]
enum Origin {
    /// A request that waits for its answer.
    Request(Asker),
    /// The message store.
    Kept(u64),
    /// The home itself: a notice, which nobody is told about.
    Notice,
    /// A device has taken the message; what others say does not matter.
    Taken,
}

impl Deliveries {
    /// Takes out a message that every device has answered, with the deadlines that are over so.
    fn close(&mut self, id: u64) -> Option<Delivery> {
        let delivery = self.open.remove(&id);
        while self.deadlines.front().is_some_and(|(_, id)| !self.open.contains_key(id)) {
            self.deadlines.pop_front();
        }
        delivery
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.deadlines.front().map(|(deadline, _)| *deadline)
    }
}

impl Home {
    /// Brings a message to a user of ours, and answers it when it has arrived or is kept.
    pub(super) fn deliver(
        &mut self,
        asked: &Asked<'_>,
        request: &Request,
        user: &Jid,
    ) -> Result<(), Denial> {
        // Before it is kept: it could not be sent on later either.
        if request.max_forwards().map_err(Refusal::from)?.0 == 0 {
            return Err(Refusal::new(StatusCode::TOO_MANY_HOPS).into());
        }
        let origin = Origin::Request(asked.asker);
        let request = Box::new(request.clone());
        match self.fork(origin, request, user, None, asked.now)? {
            None => Ok(()),
            Some(request) => self.keep(asked.asker, request, user, asked.now).map(drop),
        }
    }

    /// Sends a message to every device of a user; gives it back when there is none.
    fn fork(
        &mut self,
        origin: Origin,
        request: Box<Request>,
        user: &Jid,
        date: Option<Date>,
        now: Now,
    ) -> Result<Option<Box<Request>>, Denial> {
        let reaches = self.location.reach(user, now);
        if reaches.is_empty() {
            return Ok(Some(request));
        }
        let mut copies = Vec::new();
        for reach in reaches {
            let mut copy = forward::request(&request, &reach.uri)?;
            if let Some(date) = date.filter(|_| !copy.headers().has(HeaderName::Date)) {
                copy.headers_mut().push(&date);
            }
            copies.push((copy, reach));
        }
        self.deliveries.last_id += 1;
        let id = self.deliveries.last_id;
        let delivery =
            Delivery { user: user.clone(), request, origin, waiting: copies.len(), refused: None };
        self.deliveries.open.insert(id, delivery);
        self.deliveries.deadlines.push_back((now.instant + ANSWER_MAX, id));
        for (copy, reach) in copies {
            self.send_to(user, &reach, copy, Purpose::Fork(id), now);
        }
        Ok(None)
    }

    pub(super) fn finish_fork(&mut self, id: u64, answer: &Answer<'_>, now: Now) {
        let Some(delivery) = self.deliveries.open.get_mut(&id) else { return };
        delivery.waiting -= 1;
        match answer {
            Answer::Response(response) if response.status.is_success() => {
                let origin = std::mem::replace(&mut delivery.origin, Origin::Taken);
                let request = delivery.request.clone();
                let user = delivery.user.clone();
                self.arrived(origin, &request, &user, now);
            }
            Answer::Response(response) if is_final(response.status) => {
                let reason = response.reason_phrase.to_owned();
                delivery.refused = Some((response.status, reason));
            }
            Answer::Response(_) | Answer::Timeout | Answer::Lost => {}
        }
        if self.deliveries.open.get(&id).is_some_and(|delivery| delivery.waiting == 0)
            && let Some(delivery) = self.deliveries.close(id)
        {
            self.give_up(delivery, now);
        }
    }

    /// A device has taken the message: the first one counts.
    fn arrived(&mut self, origin: Origin, request: &Request, user: &Jid, now: Now) {
        match origin {
            Origin::Request(asker) => {
                self.respond_status(asker, request, StatusCode::OK, "", now);
            }
            Origin::Kept(message) => {
                self.drop_message(message, user);
                self.deliver_next(user, now);
            }
            Origin::Notice | Origin::Taken => {}
        }
    }

    /// No device has taken the message.
    fn give_up(&mut self, delivery: Delivery, now: Now) {
        let Delivery { user, request, origin, refused, .. } = delivery;
        match (origin, refused) {
            (Origin::Taken, _) | (Origin::Notice, Some(_)) => {}
            (Origin::Notice, None) => drop(self.keep_notice(&request, &user, now)),
            (Origin::Request(asker), Some((status, reason))) => {
                self.respond_status(asker, &request, status, &reason, now);
            }
            (Origin::Request(asker), None) => {
                self.keep_or_deny(asker, request, &user, now);
            }
            (Origin::Kept(message), Some((_, reason))) => {
                self.drop_message(message, &user);
                self.notify_sender(&request, &format!("was refused ({reason})"), now);
                self.deliver_next(&user, now);
            }
            // The next registration tries again.
            (Origin::Kept(_), None) => drop(self.deliveries.collecting.remove(&user)),
        }
    }

    /// Keeps the messages that no device has answered in time. One that answers later may still
    /// take its message.
    pub(super) fn keep_unanswered(&mut self, now: Now) {
        while let Some(&(deadline, id)) = self.deliveries.deadlines.front() {
            if deadline > now.instant {
                return;
            }
            self.deliveries.deadlines.pop_front();
            let Some(delivery) = self.deliveries.open.get(&id) else { continue };
            let (request, user) = (delivery.request.clone(), delivery.user.clone());
            let kept = match delivery.origin {
                Origin::Request(asker) => self.keep_or_deny(asker, request, &user, now),
                Origin::Notice => self.keep_notice(&request, &user, now),
                Origin::Kept(_) | Origin::Taken => continue,
            };
            if let Some(delivery) = self.deliveries.open.get_mut(&id) {
                delivery.origin = kept.map_or(Origin::Taken, Origin::Kept);
            }
        }
    }

    /// Keeps a message, or tells its sender why it is not kept; returns its number.
    fn keep_or_deny(
        &mut self,
        asker: Asker,
        request: Box<Request>,
        user: &Jid,
        now: Now,
    ) -> Option<u64> {
        let answer = request.clone();
        let kept = self.keep(asker, request, user, now);
        kept.map_err(|denial| self.deny(asker, &answer, &denial, now)).ok()
    }

    /// Keeps a message for a user who is away; its sender is answered once that is certain.
    /// Returns its number.
    fn keep(
        &mut self,
        asker: Asker,
        request: Box<Request>,
        user: &Jid,
        now: Now,
    ) -> Result<u64, Denial> {
        let record = self.make_record(&request, user, now)?;
        let id = record.id;
        let failed = HomeStep::NotKept(asker, request.clone(), id);
        let kept = HomeStep::Kept(asker, request, user.clone());
        self.commits.write_then(Write::KeepMessage(record), kept, failed);
        Ok(id)
    }

    /// Keeps a notice for a user who is away; returns its number.
    fn keep_notice(&mut self, request: &Request, user: &Jid, now: Now) -> Option<u64> {
        let record = self.make_record(request, user, now).ok()?;
        let id = record.id;
        self.commits.write(Write::KeepMessage(record));
        Some(id)
    }

    fn make_record(
        &mut self,
        request: &Request,
        user: &Jid,
        now: Now,
    ) -> Result<HomeMessage, Denial> {
        let kept = self.messages.keep(user, request.to_bytes().to_vec(), now);
        kept.map_err(|error| {
            tracing::warn!(user = %host::log::identity(user.as_str()), %error, "a message is not kept");
            Denial::new(StatusCode::TEMPORARILY_UNAVAILABLE, &error.to_string())
        })
    }

    pub(super) fn handle_step(&mut self, step: HomeStep, now: Now) {
        match step {
            // RFC 3428 s.7: 202 says that somebody keeps the message.
            HomeStep::Kept(asker, request, user) => {
                self.respond_status(asker, &request, StatusCode::ACCEPTED, "", now);
                if self.deliveries.missed.remove(&user) {
                    self.collect_messages(&user);
                }
            }
            HomeStep::NotKept(asker, request, id) => {
                self.messages.forget(id);
                let status = StatusCode::SERVER_INTERNAL_ERROR;
                self.respond_status(asker, &request, status, "Message Store Failed", now);
            }
            // There may be more than were read at once.
            HomeStep::Dropped(user) => self.collect_messages(&user),
        }
    }

    /// Forgets a message that is kept for a user: it has its outcome.
    fn drop_message(&mut self, id: u64, user: &Jid) {
        self.messages.forget(id);
        self.commits.write_and(Write::DropMessage { id }, HomeStep::Dropped(user.clone()));
    }

    /// Begins to bring a user the messages that are kept for it.
    pub(super) fn collect_messages(&mut self, user: &Jid) {
        let idle = !self.deliveries.collecting.contains_key(user);
        if idle && self.messages.has_for(user) && self.deliveries.reading.insert(user.clone()) {
            self.effects.push_back(HomeEffect::ReadMessages(user.clone()));
        }
    }

    /// Takes the oldest messages that are kept for a user.
    pub fn handle_kept_messages(&mut self, user: &Jid, messages: Vec<HomeMessage>, now: Now) {
        if !self.deliveries.reading.remove(user) {
            return;
        }
        if messages.is_empty() {
            if self.messages.has_for(user) {
                self.deliveries.missed.insert(user.clone());
            }
            return;
        }
        // The store may not have dropped yet what has its outcome already.
        let kept = messages.into_iter().filter(|message| self.messages.has(message.id));
        let (expired, rest): (Vec<_>, _) =
            kept.partition(|message| message.expires_ms <= now.unix_ms);
        for message in expired {
            self.drop_message(message.id, user);
            metrics::counter!("gateway_home_messages_expired_total").increment(1);
            if let Some(request) = parsed(&message.request) {
                self.notify_sender(&request, "was not collected in time", now);
            }
        }
        self.deliveries.collecting.insert(user.clone(), rest.into());
        self.deliver_next(user, now);
        self.drain(now);
    }

    fn deliver_next(&mut self, user: &Jid, now: Now) {
        let Some(queue) = self.deliveries.collecting.get_mut(user) else { return };
        let Some(message) = queue.pop_front() else {
            self.deliveries.collecting.remove(user);
            return;
        };
        let Some(request) = parsed(&message.request) else {
            tracing::error!(message = message.id, "a kept message cannot be read");
            self.drop_message(message.id, user);
            return self.deliver_next(user, now);
        };
        let date = Some(Date::from_unix_seconds(message.received_ms / 1000));
        let request = Box::new(request);
        match self.fork(Origin::Kept(message.id), request.clone(), user, date, now) {
            Ok(None) => {}
            Ok(Some(_)) => drop(self.deliveries.collecting.remove(user)),
            // It can never be sent; those behind it can.
            Err(denial) => {
                self.drop_message(message.id, user);
                self.notify_sender(&request, &format!("was refused ({})", denial.reason()), now);
                self.deliver_next(user, now);
            }
        }
    }

    /// Has the messages read that nobody collected in time.
    pub(super) fn expire_messages(&mut self, now: Now) {
        while let Some(user) = self.messages.take_expired(now) {
            if self.deliveries.reading.insert(user.clone()) {
                self.effects.push_back(HomeEffect::ReadMessages(user));
            }
        }
    }

    /// Tells the sender of a kept message, which was answered long ago, what became of it.
    fn notify_sender(&mut self, request: &Request, what: &str, now: Now) {
        if notice::is_notice(request) {
            return;
        }
        let Ok(sender) = s2x_address(request.from().uri()) else { return };
        let Ok(uri) = x2s_address(&sender.bare()) else { return };
        let text = match notice::excerpt_of(request) {
            Some(start) => format!("Your message {what}.\n> {start}"),
            None => format!("Your message {what}."),
        };
        let mut notice = OutgoingRequest::new(RequestParts {
            method: Method::Message,
            uri: &uri,
            from: &NameAddr::new(request.to().uri().clone()).with_tag(&self.ids.tag()),
            to: &NameAddr::new(uri.clone()),
            call_id: &self.ids.call_id(),
            sequence_number: 1,
        });
        notice::mark(&mut notice);
        notice::set_text(&mut notice, &text);
        let sender = sender.bare();
        if self.accounts.has(&sender) {
            self.deliver_notice(&notice, &sender, now);
        } else {
            self.ask_gateway(notice, Purpose::Notice, now);
        }
    }

    /// Brings a notice to a user of ours, or keeps it. What becomes of it is told to nobody.
    fn deliver_notice(&mut self, notice: &OutgoingRequest, user: &Jid, now: Now) {
        let via = Via::new("TCP", self.settings.sent_by.clone(), &self.ids.branch());
        let Some(request) = parsed(&notice.to_bytes(&via)).map(Box::new) else { return };
        if let Ok(Some(request)) = self.fork(Origin::Notice, request, user, None, now) {
            self.keep_notice(&request, user, now);
        }
    }
}

/// Says whether an answer means that a device will never take the message, so that keeping it
/// would be no use.
fn is_final(status: StatusCode) -> bool {
    matches!(status.code(), 400 | 403 | 405 | 406 | 413..=416 | 488 | 493 | 505 | 513 | 603 | 606)
}

fn parsed(bytes: &[u8]) -> Option<Request> {
    let mut framer = Framer::new(Limits::default());
    framer.handle_bytes(bytes);
    let Some(Frame::Message(parsed)) = framer.poll_frame() else { return None };
    match parsed {
        Message::Request(request) => Some(*request),
        Message::Response(_) => None,
    }
}
