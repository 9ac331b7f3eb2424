//! The presence of home users: what they published, and who is told (RFC 3856, 3903, 6665).

mod watches;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

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
use crate::deadlines::Deadlines;
use crate::dialog_record;
use crate::pidf::{self, Basic, Document, MEDIA_TYPE, Tuple};
use crate::store::Write;
use crate::store::record::{DialogRecord, Publication};
use crate::throttle::Throttle;
use watches::{Watch, Watches};

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
    /// Nobody who has published nothing is among them.
    published: BTreeMap<Jid, Vec<Published>>,
    /// When the first publication of a user runs out, in milliseconds of Unix time.
    expiries: Deadlines<Jid, u64>,
    online: BTreeSet<Jid>,
    watches: Watches,
}

#[derive(Debug)]
struct Published {
    record: Publication,
    document: Document,
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
            let published = Published { record, document };
            agent.change_published(&presentity, |all| all.push(published));
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
            agent.watches.insert(watch);
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
        let published = self.published.get(user).map(Vec::as_slice).unwrap_or_default();
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
        let replaced = at.map(|at| self.change_published(user, |all| all.remove(at)));
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
            self.change_published(user, |all| all.push(Published { record, document }));
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
        if self.watches.count_of_presentity(wanted.presentity) >= WATCHERS_MAX {
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
        self.watches.insert(watch);
        Ok(response)
    }

    /// Takes a SUBSCRIBE inside of a dialog, if the dialog is one of the agent's.
    pub fn resubscribe(
        &mut self,
        request: &Request,
        flow: FlowId,
        now: Now,
    ) -> Option<Result<OutgoingResponse, Refusal>> {
        self.watches.change(&DialogId::of_request(request), |watch| {
            watch.flow = flow;
            watch.notifier.handle_subscribe(request, &NOTIFIER_RULES, now.instant)
        })
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
        self.watches.change_each(self.watches.between(user, watcher), |watch| {
            if allowed {
                watch.notifier.approve();
            } else {
                watch.notifier.terminate(TerminationReason::Rejected, None);
            }
        });
    }

    /// Ends everything of a user.
    pub fn remove_user(&mut self, user: &Jid) {
        self.change_published(user, Vec::clear);
        self.online.remove(user);
        self.watches.change_each(self.watches.of_presentity(user), |watch| {
            watch.notifier.terminate(TerminationReason::Noresource, None);
        });
    }

    /// Tells a watcher anew who could not be reached before.
    pub fn renew(&mut self, watcher: &Jid) {
        self.watches.change_each(self.watches.of_watcher(watcher), |it| it.throttle.change());
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
        let due: BTreeSet<Jid> = self.expiries.take_due(now.unix_ms).into_iter().collect();
        for user in due {
            self.change_published(&user, |all| {
                let over = all.iter().filter(|it| it.is_over(now));
                writes.extend(over.map(|it| {
                    let tag = it.record.tag.clone();
                    Write::RemovePublication { tag }
                }));
                all.retain(|it| !it.is_over(now));
            });
            self.change(&user);
        }
        self.watches.expire(now.instant);
        writes
    }

    /// Returns when something ends or a watcher may be told, by the monotonic clock.
    pub fn poll_timeout(&self, now: Now) -> Option<Instant> {
        let expiry = self.expiries.next().map(|unix_ms| now.instant_of(unix_ms));
        [expiry, self.watches.poll_timeout()].into_iter().flatten().min()
    }

    /// Makes the NOTIFYs that are due, and the writes that keep the dialogs.
    pub fn take_notifies(&mut self, now: Now) -> (Vec<Notify>, Vec<Write>) {
        let (mut notifies, mut writes) = (Vec::new(), Vec::new());
        for id in self.watches.take_due(now.instant) {
            let Some(watch) = self.watches.get(&id) else { continue };
            let document = self.document(&watch.presentity);
            let Some((notify, write)) = self.watches.notify(&id, document, now) else { continue };
            notifies.push(notify);
            writes.extend(write);
        }
        (notifies, writes)
    }

    fn change(&mut self, user: &Jid) {
        self.watches.change_each(self.watches.of_presentity(user), |it| it.throttle.change());
    }

    /// Changes what a user has published.
    fn change_published<T>(
        &mut self,
        user: &Jid,
        what: impl FnOnce(&mut Vec<Published>) -> T,
    ) -> T {
        let published = self.published.entry(user.clone()).or_default();
        let result = what(published);
        self.expiries.set(user, published.iter().map(|it| it.record.expires_ms).min());
        if published.is_empty() {
            self.published.remove(user);
        }
        result
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

impl Published {
    fn is_over(&self, now: Now) -> bool {
        self.record.expires_ms <= now.unix_ms
    }
}
