//! Subscriptions at the home: to its own users, and of its users to contacts at partners.

use sip_proto::dialog::DialogId;
use sip_proto::header::NameAddr;
use sip_proto::message::Request;
use sip_proto::transaction::FlowId;
use sip_proto::uri::Uri;
use sip_proto::usage::subscription::{Standing, unknown_subscription};
use sip_proto::{Refusal, StatusCode};
use xmpp_proto::jid::Jid;

use super::location::Reach;
use super::presence_agent::Wanted;
use super::requests::{Asked, user_of};
use super::{Answer, GATEWAY, Home, LOST, Purpose, forward};
use crate::address::x2s_address;
use crate::clock::Now;
use crate::denial::Denial;
use crate::policy;

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
        self.respond(asked.server, &response, asked.now);
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
        let standing = match asked.facts.contacts.standing(&presentity, watcher) {
            policy::Standing::Denied => return Err(Refusal::new(StatusCode::FORBIDDEN).into()),
            policy::Standing::Allowed => Standing::Active,
            policy::Standing::Unknown => {
                // As Lync did: who may see is decided by the type of the partner.
                let partner = asked.facts.policy.partner(watcher.domain());
                let at_once = partner.is_none_or(|it| it.partner_type.is_approved_at_once());
                if at_once { Standing::Active } else { Standing::Pending }
            }
        };
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
        self.respond(asked.server, &response, asked.now);
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
                self.respond(asked.server, &response, asked.now);
                self.send_notifies(asked.now);
                Ok(())
            }
            Some(Err(refusal)) => Err(refusal.into()),
            None if asked.flow == GATEWAY => Err(unknown_subscription().into()),
            None => {
                let contact = user_of(request.to().uri())?;
                if asked.facts.policy.served_by(contact.domain()).is_some() {
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
        let user = user_of(request.to().uri())?;
        let tag = request.to().tag().unwrap_or_default().to_owned();
        let dialog = (request.call_id().as_str().to_owned(), tag);
        let flow = self.subscribed_on.get(&dialog).copied();
        let onward = forward::request(request, request.uri())?;
        let purpose = Purpose::Relay(asked.server, Box::new(request.clone()));
        let reach = self.reach_of(&user, request.uri(), flow, asked.now);
        match reach {
            Some(reach) => self.send_to(&user, &reach, onward, purpose, asked.now),
            None => self.finish(purpose, &Answer::None, asked.now),
        }
        Ok(())
    }

    /// Sends the NOTIFYs that are due.
    pub(super) fn send_notifies(&mut self, now: Now) {
        let (notifies, writes) = self.agent.take_notifies(now);
        writes.into_iter().for_each(|write| self.commits.write(write));
        for notify in notifies {
            let purpose = Purpose::Notify(notify.dialog);
            if notify.flow == GATEWAY {
                self.send_on(GATEWAY, &notify.request, purpose, now);
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

    pub(super) fn finish_notify(&mut self, dialog: &DialogId, answer: &Answer<'_>) {
        let status = match answer {
            Answer::Response(response) => response.status(),
            // The connection is lost, not the subscription: the device registers again, and is
            // told anew then. One that does not lets the subscription run out.
            Answer::None => {
                self.unreached.extend(self.agent.watcher(dialog).cloned());
                StatusCode::SERVICE_UNAVAILABLE
            }
        };
        if let Some(write) = self.agent.handle_notify_response(dialog, Some(status)) {
            self.commits.write(write);
        }
    }

    /// Returns how a device is reached that is known by its dialog: on the flow of the dialog, on
    /// the flow on which it registered, else on one opened to its address if it has registered it.
    fn reach_of(&self, user: &Jid, uri: &Uri, flow: Option<FlowId>, now: Now) -> Option<Reach> {
        if let Some(flow) = flow.filter(|flow| self.flows.contains_key(flow)) {
            return Some(Reach { uri: uri.clone(), flow: Some(flow) });
        }
        let reaches = self.location.reach(user, now);
        let same = |reach: &&Reach| reach.uri.is_equivalent(uri);
        let open = |reach: &&Reach| reach.flow.is_some_and(|it| self.flows.contains_key(&it));
        let found = reaches.iter().find(same).or_else(|| reaches.iter().find(open));
        found.or_else(|| reaches.first()).cloned()
    }

    /// Returns where requests of a dialog with the home go.
    fn contact(&self, user: &Jid, flow: FlowId) -> NameAddr {
        let ends = self.flows.get(&flow).and_then(|flow| flow.ends);
        let transport = self.location.transport(flow);
        let own = x2s_address(user).ok();
        match (ends, transport, own) {
            (Some(ends), Some(transport), own) => {
                let name = own.as_ref().and_then(Uri::user);
                forward::contact(name, ends.local, transport)
            }
            // The gateway finds the home wherever it is.
            (_, _, Some(own)) => NameAddr::new(own),
            (_, _, None) => NameAddr::new(Uri::sip(None, self.settings.sent_by.host.clone())),
        }
    }
}
