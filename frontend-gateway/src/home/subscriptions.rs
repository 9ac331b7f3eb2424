//! Subscriptions at the home: to its own users, and of its users to contacts at partners.

use sip_proto::dialog::DialogId;
use sip_proto::header::{NameAddr, SubscriptionState, SubscriptionStatus};
use sip_proto::message::Request;
use sip_proto::transaction::FlowId;
use sip_proto::uri::Uri;
use sip_proto::usage::subscription::{Standing, unknown_subscription};
use sip_proto::{Refusal, StatusCode};
use xmpp_proto::jid::Jid;

use super::location::Reach;
use super::presence_agent::Wanted;
use super::requests::{Asked, user_of};
use super::{Answer, Asker, GATEWAY, Home, LOST, Purpose};
use crate::address::x2s_address;
use crate::clock::Now;
use crate::denial::Denial;
use crate::facts::Facts;
use crate::forward;
use crate::policy;

/// Decides whether somebody sees a user of ours at once, or waits for the user's decision.
///
/// # Errors
/// Fails when the user has denied it.
pub fn decide_watcher(
    facts: Facts<'_>,
    presentity: &Jid,
    watcher: &Jid,
) -> Result<Standing, policy::Refusal> {
    match facts.contacts.standing(presentity, watcher) {
        policy::Standing::Denied => {
            let (user, contact) = (presentity.clone(), watcher.clone());
            Err(policy::Refusal::Denied { user, contact })
        }
        policy::Standing::Allowed => Ok(Standing::Active),
        policy::Standing::Unknown => {
            // As Lync did: who may see is decided by the type of the partner.
            let partner = facts.policy.partner(watcher.domain());
            let at_once = partner.is_none_or(|it| it.partner_type.is_approved_at_once());
            Ok(if at_once { Standing::Active } else { Standing::Pending })
        }
    }
}

impl Home {
    pub(super) fn answer_publish(
        &mut self,
        asked: &Asked<'_>,
        request: &Request,
        sender: &Jid,
    ) -> Result<(), Denial> {
        // Nobody publishes for somebody else.
        if user_of(request.uri())? != *sender {
            return Err(Refusal::new(StatusCode::FORBIDDEN).into());
        }
        let (response, writes) = self.agent.publish(sender, request, &mut self.ids, asked.now)?;
        writes.into_iter().for_each(|write| self.commits.write(write));
        self.respond(asked.asker, response, asked.now);
        self.send_notifies(asked.now);
        Ok(())
    }

    /// Answers a SUBSCRIBE to one of our users.
    pub(super) fn answer_subscribe(
        &mut self,
        asked: &Asked<'_>,
        request: &Request,
        watcher: &Jid,
    ) -> Result<(), Denial> {
        let presentity = self.recipient(asked, request)?;
        let from_partner = asked.flow == GATEWAY;
        let standing = decide_watcher(asked.facts, &presentity, watcher);
        let standing = standing.map_err(|_| Refusal::new(StatusCode::FORBIDDEN))?;
        let contact = self.contact(&presentity, asked.flow);
        let wanted = Wanted {
            presentity: &presentity,
            watcher,
            request,
            flow: asked.flow,
            standing,
            stored: !from_partner,
            contact: &contact,
        };
        let response = self.agent.subscribe(&wanted, &self.ids.tag(), asked.now)?;
        self.respond(asked.asker, response, asked.now);
        self.send_notifies(asked.now);
        Ok(())
    }

    /// Answers a SUBSCRIBE inside of a dialog: ours, or the gateway's.
    pub(super) fn answer_resubscribe(
        &mut self,
        asked: &Asked<'_>,
        request: &Request,
    ) -> Result<(), Denial> {
        match self.agent.resubscribe(request, asked.flow, asked.now) {
            Some(Ok(response)) => {
                self.respond(asked.asker, response, asked.now);
                self.send_notifies(asked.now);
                Ok(())
            }
            Some(Err(refusal)) => Err(refusal.into()),
            None if asked.flow == GATEWAY => Err(unknown_subscription().into()),
            None => {
                let contact = user_of(request.to().uri())?;
                if asked.facts.policy.is_home(contact.domain()) {
                    return Err(unknown_subscription().into());
                }
                self.pass_to_gateway(asked, request)
            }
        }
    }

    /// Brings a NOTIFY of the gateway to the device that subscribed.
    pub(super) fn pass_notify(
        &mut self,
        asked: &Asked<'_>,
        request: &Request,
    ) -> Result<(), Denial> {
        let watcher = user_of(request.to().uri())?;
        let onward = forward::request(request, request.uri())?;
        let flow = self.subscribed_on.flow_of(request);
        let state = request.headers().typed::<SubscriptionState>().ok().flatten();
        if state.is_some_and(|it| matches!(it.status, SubscriptionStatus::Terminated(_))) {
            self.subscribed_on.end(request);
        }
        match self.reach_of(&watcher, request.uri(), flow, asked.now) {
            Some(reach) => {
                let purpose = Purpose::Relay(asked.asker, asked.flow, Box::new(request.clone()));
                self.send_to(&watcher, &reach, onward, purpose, asked.now);
            }
            None => {
                self.unreached.insert(watcher);
                self.respond_unreachable(asked.asker, request, asked.now);
            }
        }
        Ok(())
    }

    pub(super) fn forget_answered_notifies(&mut self) {
        while self.passed_on.front().is_some_and(|(_, it)| !self.purposes.contains_key(it)) {
            self.passed_on.pop_front();
        }
    }

    /// Tells the gateway of NOTIFYs that no device has answered in time.
    pub(super) fn give_up_notifies(&mut self, now: Now) {
        while let Some(&(deadline, client)) = self.passed_on.front() {
            if deadline > now.instant {
                return;
            }
            self.passed_on.pop_front();
            if let Some(purpose) = self.purposes.remove(&client) {
                self.finish(purpose, &Answer::Timeout, now);
            }
        }
    }

    /// A NOTIFY of the gateway was lost with its flow: another one of the watcher may do.
    pub(super) fn finish_lost_notify(
        &mut self,
        asker: Asker,
        request: &Request,
        answer: &Answer<'_>,
        now: Now,
    ) {
        if let Ok(watcher) = user_of(request.to().uri()) {
            let reach = self.open_reach(&watcher, now).filter(|_| matches!(answer, Answer::Lost));
            if let (Some(reach), Ok(onward)) = (reach, forward::request(request, request.uri())) {
                let purpose = Purpose::Relay(asker, GATEWAY, Box::new(request.clone()));
                return self.send_to(&watcher, &reach, onward, purpose, now);
            }
            self.unreached.insert(watcher);
        }
        // This keeps the subscription: its watcher may come back.
        self.respond_unreachable(asker, request, now);
    }

    /// Sends the NOTIFYs that are due.
    pub(super) fn send_notifies(&mut self, now: Now) {
        let (notifies, writes) = self.agent.take_notifies(now);
        writes.into_iter().for_each(|write| self.commits.write(write));
        for notify in notifies {
            let purpose = Purpose::Notify(notify.dialog);
            if notify.flow == GATEWAY {
                self.ask_gateway(notify.request, purpose, now);
                continue;
            }
            let flow = Some(notify.flow).filter(|flow| *flow != LOST);
            let reach = self.reach_of(&notify.watcher, notify.request.uri(), flow, now);
            match reach {
                Some(reach) => self.send_to(&notify.watcher, &reach, notify.request, purpose, now),
                // The watcher is told everything when it registers again.
                None => drop(self.unreached.insert(notify.watcher)),
            }
        }
    }

    pub(super) fn finish_notify(&mut self, dialog: &DialogId, answer: &Answer<'_>, now: Now) {
        let status = match answer {
            Answer::Response(response) => response.status,
            // The connection is lost, not the subscription: the device registers again, and is
            // told anew then. One that does not lets the subscription run out.
            Answer::Timeout | Answer::Lost => {
                if let Some(watcher) = self.agent.watcher(dialog).cloned() {
                    match self.open_reach(&watcher, now) {
                        Some(_) if matches!(answer, Answer::Lost) => self.agent.renew(&watcher),
                        _ => drop(self.unreached.insert(watcher)),
                    }
                }
                StatusCode::SERVICE_UNAVAILABLE
            }
        };
        if let Some(write) = self.agent.handle_notify_response(dialog, Some(status)) {
            self.commits.write(write);
        }
        self.send_notifies(now);
    }

    /// Returns how a device is reached that is known by its dialog: on the flow of the dialog, on
    /// one on which its user has registered, else on one opened to an address that the user has
    /// registered.
    fn reach_of(&self, user: &Jid, uri: &Uri, flow: Option<FlowId>, now: Now) -> Option<Reach> {
        if let Some(flow) = flow.filter(|flow| self.flows.contains_key(flow)) {
            return Some(Reach { uri: uri.clone(), flow: Some(flow) });
        }
        self.open_reach(user, now).or_else(|| {
            let reaches = self.location.reach(user, now);
            let same = reaches.iter().find(|reach| reach.uri.is_equivalent(uri));
            same.or(reaches.first()).cloned()
        })
    }

    /// Returns whether a device of a user can be reached on an open connection.
    pub fn is_connected(&self, user: &Jid, now: Now) -> bool {
        self.open_reach(user, now).is_some()
    }

    /// Returns an open flow on which a user has registered, the newest first.
    fn open_reach(&self, user: &Jid, now: Now) -> Option<Reach> {
        let reaches = self.location.reach(user, now).into_iter();
        let open = reaches.filter(|it| it.flow.is_some_and(|it| self.flows.contains_key(&it)));
        open.max_by_key(|reach| reach.flow)
    }

    /// Returns where requests of a dialog with the home go.
    fn contact(&self, user: &Jid, flow: FlowId) -> NameAddr {
        let ends = self.flows.get(&flow).copied().flatten();
        let transport = self.location.transport(flow);
        let own = x2s_address(user).ok();
        match (ends, transport, own) {
            (Some(ends), Some(transport), own) => {
                let name = own.as_ref().and_then(Uri::user);
                forward::contact(name, ends.local.ip(), ends.local.port(), transport)
            }
            // The gateway finds the home wherever it is.
            (_, _, Some(own)) => NameAddr::new(own),
            (_, _, None) => NameAddr::new(Uri::sip(None, self.settings.sent_by.host.clone())),
        }
    }
}
