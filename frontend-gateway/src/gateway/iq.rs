//! Requests for information from partners' servers and users: who asks, about whom, and the answer.
//!
//! What a SIP user's address answers tells that the user exists, so it is for contacts that may see
//! the user's presence; others get what an address without a user gives (RFC 6121 s.8.5.1).

use xmpp_proto::ns;
use xmpp_proto::stanza::error::{StanzaCondition, StanzaError};
use xmpp_proto::xml::Element;

use super::disco::{self, Entity};
use super::stanzas::{Arrived, Verdict, refused};
use super::watch::Watch;
use super::x2s_watches::Watching;
use super::{Gateway, Purpose};
use crate::clock::Now;
use crate::facts::Facts;
use crate::policy::Subject;

/// The content of an answer, which may be empty, or why there is none.
type Answer = Result<Option<Element>, StanzaCondition>;

impl Gateway {
    pub(super) fn handle_iq(
        &mut self,
        arrived: &Arrived<'_>,
        facts: Facts<'_>,
        now: Now,
    ) -> Verdict {
        let iq = arrived.element;
        match iq.attribute("type") {
            Some("get" | "set") => self.answer_iq(arrived, facts, now),
            Some("result" | "error") => {
                // The answer to a ping may have come to another edge than the one that asked.
                if let (None, None, Some(id)) =
                    (arrived.from.localpart(), arrived.to.localpart(), iq.attribute("id"))
                {
                    self.links.pass_barrier_answer(id);
                }
                Verdict::Done
            }
            _ => refused(StanzaCondition::BadRequest, "an iq needs a type"),
        }
    }

    fn answer_iq(&mut self, arrived: &Arrived<'_>, facts: Facts<'_>, now: Now) -> Verdict {
        let iq = arrived.element;
        let mut children = iq.children();
        // RFC 6120 s.8.2.3: exactly one child, and an id.
        let (Some(payload), None, Some(id)) =
            (children.next(), children.next(), iq.attribute("id"))
        else {
            return refused(StanzaCondition::BadRequest, "an iq needs an id and one child");
        };
        let is_of_user = arrived.to.localpart().is_some();
        if is_of_user && let Err(error) = self.permit(arrived, Subject::Presence, facts) {
            return Verdict::Refused(error);
        }
        let answer = match iq.attribute("type") == Some("get") {
            true if is_of_user => self.answer_for_user(arrived, payload, now),
            true => self.answer_for_domain(arrived, payload, facts, now),
            // Nothing of ours can be set from outside.
            false => Err(StanzaCondition::ServiceUnavailable),
        };
        let content = match answer {
            Ok(content) => content,
            Err(condition) => {
                return Verdict::Refused(StanzaError::new(condition).with_text(reason(condition)));
            }
        };
        let mut result = Element::new(ns::SERVER, "iq")
            .with_attribute("type", "result")
            .with_attribute("id", id)
            .with_attribute("from", arrived.to.as_str())
            .with_attribute("to", arrived.from.as_str());
        if let Some(content) = content {
            result.push_child(content);
        }
        self.send_state(&result, &arrived.to, &arrived.from, Purpose::State, now);
        Verdict::Done
    }

    fn answer_for_domain(
        &self,
        arrived: &Arrived<'_>,
        asked: &Element,
        facts: Facts<'_>,
        now: Now,
    ) -> Answer {
        // The domain has no resources.
        if arrived.to.resourcepart().is_some() {
            return Err(StanzaCondition::ServiceUnavailable);
        }
        let tells_version = facts.policy.gateway.shows_software_version;
        match (asked.namespace(), asked.local()) {
            (ns::VERSION, "query") if tells_version => Ok(Some(version())),
            // XEP-0012 s.5: of a server or component, how long it has been running.
            (ns::LAST_ACTIVITY, "query") => {
                Ok(Some(last_activity((now.instant - self.started).as_secs())))
            }
            _ => self.answer_for_any(Entity::Gateway { tells_version }, asked),
        }
    }

    fn answer_for_user(&self, arrived: &Arrived<'_>, asked: &Element, now: Now) -> Answer {
        let is_about_activity = asked.is(ns::LAST_ACTIVITY, "query");
        let watch = Watch::of_watcher(arrived);
        let Some(watching) = self.x2s.get(&watch).filter(|it| it.is_granted()) else {
            // XEP-0012 s.6: forbidden to who may not see presence, whether there is a user or not.
            return Err(match is_about_activity {
                true => StanzaCondition::Forbidden,
                false => StanzaCondition::ServiceUnavailable,
            });
        };
        match arrived.to.resourcepart() {
            None if is_about_activity => account_activity(watching, now),
            None => self.answer_for_any(Entity::Account, asked),
            Some(resource) if watching.is_available(Some(resource)) => {
                self.answer_for_any(Entity::Device, asked)
            }
            // RFC 6121 s.8.5.3.2.3: a device that is not there.
            Some(_) => Err(StanzaCondition::ServiceUnavailable),
        }
    }

    /// Answers what everything that answers can be asked.
    fn answer_for_any(&self, entity: Entity, asked: &Element) -> Answer {
        match (asked.namespace(), asked.local()) {
            (ns::PING, "ping") => Ok(None),
            (ns::DISCO_INFO, "query") => self.capabilities.info(asked, entity).map(Some),
            (ns::DISCO_ITEMS, "query") => disco::items(asked).map(Some),
            _ => Err(StanzaCondition::ServiceUnavailable),
        }
    }
}

/// XEP-0012 s.4: nothing has passed where a device is available, else the time since one was. It
/// is not known when we have not seen the last one go.
fn account_activity(watching: &Watching, now: Now) -> Answer {
    let since = watching.offline_since.map(|at| (now.instant - at).as_secs());
    let seconds = if watching.is_online() { Some(0) } else { since };
    seconds.map(|seconds| Some(last_activity(seconds))).ok_or(StanzaCondition::ServiceUnavailable)
}

fn last_activity(seconds: u64) -> Element {
    Element::new(ns::LAST_ACTIVITY, "query").with_attribute("seconds", seconds.to_string())
}

/// XEP-0092 s.2: what runs here, but not on what.
fn version() -> Element {
    let text = |name, text| Element::new(ns::VERSION, name).with_text(text);
    Element::new(ns::VERSION, "query")
        .with_child(text("name", "Isthmus"))
        .with_child(text("version", env!("CARGO_PKG_VERSION")))
}

/// Says in words what a refusal means; the same words for everybody.
fn reason(condition: StanzaCondition) -> &'static str {
    match condition {
        StanzaCondition::ItemNotFound => "no such node",
        StanzaCondition::Forbidden => "only for contacts that may see presence",
        _ => "not available here",
    }
}
