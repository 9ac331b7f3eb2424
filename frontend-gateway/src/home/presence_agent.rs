//! The presence of home users: what they published, and who is told (RFC 3856, 3903, 6665).

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use sip_proto::dialog::DialogId;
use sip_proto::header::{EntityTag, NameAddr, TerminationReason, TypedHeader};
use sip_proto::message::{OutgoingRequest, OutgoingResponse, Request};
use sip_proto::publication::{self, PublicationChange, PublicationRules};
use sip_proto::transaction::FlowId;
use sip_proto::usage::subscription::{Notifier, NotifierRules, NotifierTerms, Standing};
use sip_proto::{IdSource, Refusal, StatusCode};
use xmpp_proto::jid::Jid;

use crate::address::x2s_address;
use crate::clock::Now;
use crate::dialog_record;
use crate::pidf::{self, Basic, Document, MEDIA_TYPE, Tuple};
use crate::store::Write;
use crate::store::record::{DialogRecord, Publication};
use crate::throttle::Throttle;

/// What the agent offers to watchers.
pub const NOTIFIER_RULES: NotifierRules = NotifierRules {
    packages: &["presence"],
    generated: &[MEDIA_TYPE],
    expires_seconds_min: 60,
    expires_seconds_default: 3600,
    expires_seconds_max: 3600,
};

/// What the agent takes from publishers.
const PUBLICATION_RULES: PublicationRules = PublicationRules {
    packages: &["presence"],
    expires_seconds_min: 60,
    expires_seconds_default: 3600,
    expires_seconds_max: 3600,
    publications_max: 10,
};

/// The most subscriptions to one user.
const WATCHERS_MAX: usize = 1_000;

/// Which records of the store are the agent's.
const RECORD_OWNER: &str = "home";

/// A NOTIFY that is to be sent.
#[derive(Debug)]
pub struct Notify {
    /// The subscription.
    pub dialog: DialogId,
    /// The flow that its SUBSCRIBE came on.
    pub flow: FlowId,
    /// Who is told.
    pub watcher: Jid,
    /// The request.
    pub request: OutgoingRequest,
}

/// A subscription that is asked for.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// Whose presence.
    pub presentity: &'a Jid,
    /// Who asks.
    pub watcher: &'a Jid,
    /// The SUBSCRIBE.
    pub request: &'a Request,
    /// The flow that it came on.
    pub flow: FlowId,
    /// Whether the watcher is granted it already.
    pub standing: Standing,
    /// Whether it outlives the process.
    pub stored: bool,
    /// Where SUBSCRIBEs of the dialog go.
    pub contact: &'a NameAddr,
}

/// Publications and subscriptions.
#[derive(Debug, Default)]
pub struct PresenceAgent {
    published: BTreeMap<Jid, Vec<Published>>,
    online: BTreeSet<Jid>,
    watches: BTreeMap<DialogId, Watch>,
}

#[derive(Debug)]
struct Published {
    record: Publication,
    document: Document,
}

#[derive(Debug)]
struct Watch {
    notifier: Notifier,
    presentity: Jid,
    watcher: Jid,
    flow: FlowId,
    /// The dialogs with the gateway live in one process with it, and end with it.
    stored: bool,
    throttle: Throttle,
}

impl PresenceAgent {
    /// Restores what the store holds.
    pub fn restore(
        publications: Vec<Publication>,
        dialogs: &[DialogRecord],
        lost_flow: FlowId,
        now: Now,
    ) -> Self {
        let mut agent = Self::default();
        for record in publications {
            let (Ok(presentity), Ok(document)) =
                (Jid::parse(&record.presentity), pidf::parse(&record.document))
            else {
                continue;
            };
            let published = agent.published.entry(presentity).or_default();
            published.push(Published { record, document });
        }
        for record in dialogs {
            let restored = dialog_record::restore(RECORD_OWNER, record, &NOTIFIER_RULES, now);
            let Some((notifier, watcher, presentity)) = restored else { continue };
            let watch = Watch {
                presentity,
                watcher,
                flow: lost_flow,
                stored: true,
                throttle: Throttle::default(),
                notifier,
            };
            agent.watches.insert(watch.notifier.dialog().id(), watch);
        }
        agent
    }

    /// Takes a PUBLISH of an authenticated user; returns the answer and the writes that keep it.
    ///
    /// # Errors
    /// Fails with the answer; then nothing has changed.
    pub fn publish(
        &mut self,
        user: &Jid,
        request: &Request,
        ids: &mut IdSource,
        now: Now,
    ) -> Result<(OutgoingResponse, Vec<Write>), Refusal> {
        let published = self.published.entry(user.clone()).or_default();
        let tags = published.iter().filter_map(|it| EntityTag::parse(&it.record.tag).ok());
        let current: Vec<EntityTag> = tags.collect();
        let accepted = publication::publish(request, &current, &PUBLICATION_RULES)?;
        let document = match accepted.change {
            PublicationChange::Store => Some(pidf::parse(request.body()).map_err(|error| {
                Refusal::with_reason(StatusCode::BAD_REQUEST, &error.to_string())
            })?),
            PublicationChange::Refresh | PublicationChange::Remove => None,
        };
        let mut writes = Vec::new();
        let matched = accepted.matched.as_ref().map(EntityTag::as_str);
        let at = published.iter().position(|it| Some(it.record.tag.as_str()) == matched);
        let replaced = at.map(|at| published.remove(at));
        if let Some(old) = &replaced {
            writes.push(Write::RemovePublication { tag: old.record.tag.clone() });
        }
        let tag = ids.entity_tag();
        let content = match (document, replaced) {
            (Some(document), _) => Some((request.body().to_vec(), document)),
            (None, Some(old)) if accepted.change == PublicationChange::Refresh => {
                Some((old.record.document, old.document))
            }
            (None, _) => None,
        };
        if let Some((bytes, document)) = content {
            let record = Publication {
                tag: tag.as_str().to_owned(),
                presentity: user.to_string(),
                expires_ms: now.unix_ms + u64::from(accepted.expires_seconds) * 1000,
                document: bytes,
            };
            writes.push(Write::PutPublication(record.clone()));
            published.push(Published { record, document });
        }
        let response = publication::response(request, &accepted, &tag, &ids.tag());
        self.change(user);
        Ok((response, writes))
    }

    /// Takes a SUBSCRIBE that begins a subscription; returns the answer.
    ///
    /// # Errors
    /// Fails with the answer; then nothing has changed.
    pub fn subscribe(
        &mut self,
        wanted: &Wanted<'_>,
        local_tag: &str,
        now: Now,
    ) -> Result<OutgoingResponse, Refusal> {
        let of_user = self.watches.values().filter(|it| it.presentity == *wanted.presentity);
        if of_user.count() >= WATCHERS_MAX {
            return Err(Refusal::with_reason(StatusCode::FORBIDDEN, "Too Many Watchers"));
        }
        let terms = NotifierTerms { local_tag, contact: wanted.contact, standing: wanted.standing };
        let (notifier, response) =
            Notifier::accept(wanted.request, &NOTIFIER_RULES, &terms, now.instant)?;
        let watch = Watch {
            presentity: wanted.presentity.clone(),
            watcher: wanted.watcher.clone(),
            flow: wanted.flow,
            stored: wanted.stored,
            throttle: Throttle::default(),
            notifier,
        };
        self.watches.insert(watch.notifier.dialog().id(), watch);
        Ok(response)
    }

    /// Takes a SUBSCRIBE inside of a dialog, if the dialog is one of the agent's.
    pub fn resubscribe(
        &mut self,
        request: &Request,
        flow: FlowId,
        now: Now,
    ) -> Option<Result<OutgoingResponse, Refusal>> {
        let watch = self.watches.get_mut(&DialogId::of_request(request))?;
        watch.flow = flow;
        Some(watch.notifier.handle_subscribe(request, &NOTIFIER_RULES, now.instant))
    }

    /// Notes whether a user has a device registered.
    pub fn set_online(&mut self, user: &Jid, online: bool) {
        let changed =
            if online { self.online.insert(user.clone()) } else { self.online.remove(user) };
        if changed {
            self.change(user);
        }
    }

    /// Takes a decision of a user about those who wait for it.
    pub fn decide(&mut self, user: &Jid, watcher: &Jid, allowed: bool) {
        let watches = self.watches.values_mut();
        for watch in watches.filter(|it| it.presentity == *user && it.watcher == *watcher) {
            if allowed {
                watch.notifier.approve();
            } else {
                watch.notifier.terminate(TerminationReason::Rejected, None);
            }
        }
    }

    /// Ends everything of a user.
    pub fn remove_user(&mut self, user: &Jid) {
        self.published.remove(user);
        self.online.remove(user);
        for watch in self.watches.values_mut().filter(|watch| watch.presentity == *user) {
            watch.notifier.terminate(TerminationReason::Noresource, None);
        }
    }

    /// Tells a watcher anew who could not be reached before.
    pub fn renew(&mut self, watcher: &Jid) {
        for watch in self.watches.values_mut().filter(|watch| watch.watcher == *watcher) {
            watch.throttle.change();
        }
    }

    /// Returns who is told in a dialog.
    pub fn watcher(&self, id: &DialogId) -> Option<&Jid> {
        self.watches.get(id).map(|watch| &watch.watcher)
    }

    /// Takes the answer to a NOTIFY, or none; returns the write that it asks for.
    pub fn handle_notify_response(
        &mut self,
        id: &DialogId,
        status: Option<StatusCode>,
    ) -> Option<Write> {
        let watch = self.watches.get(id)?;
        if watch.notifier.handle_notify_response(status) {
            return None;
        }
        self.watches.remove(id);
        Some(Write::RemoveDialog { key: dialog_record::key(RECORD_OWNER, id) })
    }

    /// Lets publications and subscriptions end that are over; returns the writes.
    pub fn handle_timeout(&mut self, now: Now) -> Vec<Write> {
        let mut writes = Vec::new();
        let mut changed = Vec::new();
        for (user, published) in &mut self.published {
            let before = published.len();
            published.retain(|it| {
                let valid = it.record.expires_ms > now.unix_ms;
                if !valid {
                    writes.push(Write::RemovePublication { tag: it.record.tag.clone() });
                }
                valid
            });
            if published.len() < before {
                changed.push(user.clone());
            }
        }
        self.published.retain(|_, published| !published.is_empty());
        for user in changed {
            self.change(&user);
        }
        for watch in self.watches.values_mut() {
            watch.notifier.handle_timeout(now.instant);
        }
        writes
    }

    /// Returns when something ends or a watcher may be told, by the monotonic clock.
    pub fn poll_timeout(&self, now: Now) -> Option<std::time::Instant> {
        let all = self.published.values().flatten();
        let expiry = all.map(|it| now.instant_of(it.record.expires_ms)).min();
        let watches = self.watches.values();
        let due = watches.flat_map(|it| [it.notifier.poll_timeout(), it.throttle.poll_timeout()]);
        due.flatten().chain(expiry).min()
    }

    /// Makes the NOTIFYs that are due, and the writes that keep the dialogs.
    pub fn take_notifies(&mut self, now: Now) -> (Vec<Notify>, Vec<Write>) {
        let due = self.watches.iter_mut().filter_map(|(id, watch)| {
            let changed = watch.throttle.take(now.instant);
            (changed || watch.notifier.owes_notify()).then(|| id.clone())
        });
        let due: Vec<DialogId> = due.collect();
        let (mut notifies, mut writes) = (Vec::new(), Vec::new());
        for id in due {
            let Some(presentity) = self.watches.get(&id).map(|watch| watch.presentity.clone())
            else {
                continue;
            };
            let body = self.document(&presentity);
            let Some(watch) = self.watches.get_mut(&id) else { continue };
            // RFC 3856 s.6.6.2: nothing is revealed before the watcher is granted the right.
            let active = watch.notifier.standing() == Some(Standing::Active);
            let request = watch.notifier.notify(active.then_some(body), now.instant);
            watch.throttle.told(now.instant);
            writes.extend(watch.write(&id, now));
            notifies.push(Notify {
                flow: watch.flow,
                watcher: watch.watcher.clone(),
                request,
                dialog: id,
            });
        }
        (notifies, writes)
    }

    fn change(&mut self, user: &Jid) {
        for watch in self.watches.values_mut().filter(|watch| watch.presentity == *user) {
            watch.throttle.change();
        }
    }

    /// Writes the whole state of a user.
    fn document(&self, user: &Jid) -> Bytes {
        let address = x2s_address(user).map(|uri| uri.to_wire()).unwrap_or_default();
        let entity = format!("pres:{}", address.trim_start_matches("sip:"));
        let mut document = Document { entity, ..Document::default() };
        for published in self.published.get(user).into_iter().flatten() {
            let own = &published.document;
            for tuple in &own.tuples {
                let mut tuple = tuple.clone();
                // A person's activity and notes are of the document that they stand in.
                tuple.show = tuple.show.or_else(|| tuple.activity.or(own.activity)?.show());
                if tuple.notes.is_empty() {
                    tuple.notes.clone_from(&own.notes);
                }
                if document.tuples.iter().any(|other| other.id == tuple.id) {
                    tuple.id = format!("{}-{}", tuple.id, published.record.tag);
                }
                document.tuples.push(tuple);
            }
        }
        if document.tuples.is_empty() {
            let basic = Some(Basic::Open);
            document.tuples.push(Tuple { id: "phone".into(), basic, ..Tuple::default() });
        }
        // What a device published before it went away says nothing of the time after.
        if !self.online.contains(user) {
            for tuple in &mut document.tuples {
                *tuple = Tuple {
                    id: std::mem::take(&mut tuple.id),
                    basic: Some(Basic::Closed),
                    ..Tuple::default()
                };
            }
        }
        pidf::write(&document)
    }
}

impl Watch {
    fn write(&self, id: &DialogId, now: Now) -> Option<Write> {
        if !self.stored {
            return None;
        }
        let record = dialog_record::record(
            RECORD_OWNER,
            &self.notifier,
            &self.watcher,
            &self.presentity,
            now,
        );
        Some(match record {
            Some(record) => Write::PutDialog(record),
            None => Write::RemoveDialog { key: dialog_record::key(RECORD_OWNER, id) },
        })
    }
}
