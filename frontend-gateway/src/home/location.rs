//! Where home users are: their bindings, and the flows that they registered on.

use std::collections::{BTreeMap, BTreeSet};

use sip_proto::Refusal;
use sip_proto::message::Request;
use sip_proto::registrar::{self, Binding, RegistrarLimits};
use sip_proto::transaction::{FlowId, Transport};
use sip_proto::uri::Uri;
use xmpp_proto::jid::Jid;

use crate::clock::Now;
use crate::deadlines::Deadlines;
use crate::store::{Write, record};

/// A contact of a user, and the flow to it if it is open.
#[derive(Clone, Debug, PartialEq)]
pub struct Reach {
    /// The contact URI.
    pub uri: Uri,
    /// The flow that it registered on, or that was opened to it.
    pub flow: Option<FlowId>,
}

/// All bindings and flows.
// Only `update` changes a place: it keeps what is found by flow and by time true to it.
#[derive(Debug, Default)]
pub struct Location {
    /// No empty place is among them.
    places: BTreeMap<Jid, Place>,
    /// The flows that are open.
    flows: BTreeMap<FlowId, Transport>,
    /// Who is on a flow, by a contact or by a proof. It need not be open yet.
    users_on: BTreeMap<FlowId, BTreeSet<Jid>>,
    /// When the first binding of a user expires, in milliseconds of Unix time.
    expiries: Deadlines<Jid, u64>,
}

/// Where one user is.
#[derive(Debug, Default)]
struct Place {
    /// In the order in which they were first made.
    contacts: Vec<Entry>,
    /// The open flows on which it was proven that they are the user's.
    proven_on: BTreeSet<FlowId>,
}

/// A binding, with what is asked for with every message.
#[derive(Debug)]
struct Entry {
    binding: Binding,
    /// Read once; none when the stored text is damaged.
    uri: Option<Uri>,
    flow: Option<FlowId>,
}

impl Location {
    /// Restores the bindings that the store holds; their flows are gone.
    pub fn restore(records: Vec<record::Binding>) -> Self {
        let mut location = Self::default();
        for record in records {
            let Ok(user) = Jid::parse(&record.aor) else { continue };
            let binding = Binding {
                contact: record.contact,
                call_id: record.call_id,
                sequence_number: record.cseq,
                expires_at_unix_seconds: record.expires_ms / 1000,
            };
            location.update(&user, |place| place.contacts.push(Entry::new(binding, None)));
        }
        location
    }

    /// Takes a flow that was opened.
    pub fn open(&mut self, flow: FlowId, transport: Transport) {
        self.flows.insert(flow, transport);
        // Contacts may be on it before; nothing is proven on it yet.
        for user in self.users_on.get(&flow).cloned().unwrap_or_default() {
            self.update(&user, |place| {
                place.proven_on.remove(&flow);
            });
        }
    }

    /// Takes the end of a flow.
    pub fn close(&mut self, flow: FlowId) {
        self.flows.remove(&flow);
        for user in self.users_on.remove(&flow).unwrap_or_default() {
            self.update(&user, |place| place.leave(flow));
        }
    }

    /// Returns the transport of an open flow.
    pub fn transport(&self, flow: FlowId) -> Option<Transport> {
        self.flows.get(&flow).copied()
    }

    /// Says whether a user has registered on a flow.
    pub fn has_registered(&self, user: &Jid, flow: FlowId) -> bool {
        self.places.get(user).is_some_and(|place| place.proven_on.contains(&flow))
    }

    /// Applies a REGISTER of an authenticated user; returns the bindings it has then and the
    /// writes that keep them.
    ///
    /// # Errors
    /// Fails with the answer; then nothing has changed.
    pub fn register(
        &mut self,
        user: &Jid,
        request: &Request,
        flow: FlowId,
        limits: &RegistrarLimits,
        now: Now,
    ) -> Result<(Vec<Binding>, Vec<Write>), Refusal> {
        let current: Vec<Binding> = self.contacts(user).map(|it| it.binding.clone()).collect();
        let registration = registrar::register(request, &current, limits, now.unix_ms / 1000)?;
        let bindings = registration.bindings;
        let gone =
            current.iter().filter(|old| !bindings.iter().any(|it| it.contact == old.contact));
        let mut writes: Vec<Write> = gone.map(|old| removal(user, &old.contact)).collect();
        let is_refreshed = |it: &&Binding| registration.refreshed.contains(&it.contact);
        let refreshed = bindings.iter().filter(is_refreshed);
        writes.extend(refreshed.map(|it| Write::PutBinding(stored(user, it))));
        let is_open = self.flows.contains_key(&flow);
        self.update(user, |place| {
            place.change_contacts(|contacts| {
                let old = std::mem::take(contacts);
                let known = |it: &Binding| old.iter().find(|old| old.binding.contact == it.contact);
                contacts.extend(bindings.iter().map(|it| Entry::new(it.clone(), known(it))));
                for contact in contacts.iter_mut().filter(|it| is_refreshed(&&it.binding)) {
                    contact.flow = Some(flow);
                }
            });
            if is_open && !registration.refreshed.is_empty() {
                place.proven_on.insert(flow);
            }
        });
        Ok((bindings, writes))
    }

    /// Returns where a user can be reached.
    pub fn reach(&self, user: &Jid, now: Now) -> Vec<Reach> {
        let valid = self.contacts(user).filter(|it| it.is_valid(now));
        valid.filter_map(|it| Some(Reach { uri: it.uri.clone()?, flow: it.flow })).collect()
    }

    /// Remembers a flow that was opened to a contact of a user.
    pub fn reached(&mut self, user: &Jid, uri: &Uri, flow: FlowId) {
        self.update(user, |place| {
            for contact in &mut place.contacts {
                if contact.uri.as_ref().is_some_and(|own| own.is_equivalent(uri)) {
                    contact.flow = Some(flow);
                }
            }
        });
    }

    /// Says whether a user has a binding.
    pub fn is_registered(&self, user: &Jid, now: Now) -> bool {
        self.contacts(user).any(|it| it.is_valid(now))
    }

    /// Returns the users that have bindings.
    pub fn users(&self) -> impl Iterator<Item = &Jid> {
        let with_contacts = self.places.iter().filter(|(_, place)| !place.contacts.is_empty());
        with_contacts.map(|(user, _)| user)
    }

    /// Forgets a user; its flows stay open but are no longer its own.
    pub fn remove_user(&mut self, user: &Jid) {
        self.update(user, |place| *place = Place::default());
    }

    /// Forgets who has proven to be a user; its devices are still reached.
    pub fn forget_proofs(&mut self, user: &Jid) {
        self.update(user, |place| place.proven_on.clear());
    }

    /// Removes what has expired; returns the users that have no binding left, and the writes.
    pub fn expire(&mut self, now: Now) -> (Vec<Jid>, Vec<Write>) {
        let (mut away, mut writes) = (Vec::new(), Vec::new());
        let due: BTreeSet<Jid> = self.expiries.take_due(now.unix_ms).into_iter().collect();
        for user in due {
            self.update(&user, |place| {
                let ended = place.contacts.iter().filter(|it| !it.is_valid(now));
                writes.extend(ended.map(|it| removal(&user, &it.binding.contact)));
                place.change_contacts(|contacts| contacts.retain(|it| it.is_valid(now)));
                if place.contacts.is_empty() {
                    away.push(user.clone());
                }
            });
        }
        (away, writes)
    }

    /// Returns when the next binding expires, in milliseconds of Unix time.
    pub fn next_expiry_ms(&self) -> Option<u64> {
        self.expiries.next()
    }

    fn contacts(&self, user: &Jid) -> impl Iterator<Item = &Entry> {
        self.places.get(user).into_iter().flat_map(|place| &place.contacts)
    }

    /// Changes where a user is.
    fn update(&mut self, user: &Jid, change: impl FnOnce(&mut Place)) {
        let place = self.places.entry(user.clone()).or_default();
        let mut flows = place.flows();
        change(place);
        let after = place.flows();
        self.expiries.set(user, place.next_expiry_ms());
        if place.contacts.is_empty() && after.is_empty() {
            self.places.remove(user);
        }
        flows.extend(&after);
        for flow in flows {
            if after.contains(&flow) {
                self.users_on.entry(flow).or_default().insert(user.clone());
            } else if let Some(users) = self.users_on.get_mut(&flow) {
                users.remove(user);
                if users.is_empty() {
                    self.users_on.remove(&flow);
                }
            }
        }
    }
}

impl Place {
    /// Changes the contacts: a flow that the last one has left is not the user's any more.
    fn change_contacts(&mut self, change: impl FnOnce(&mut Vec<Entry>)) {
        let before = self.contact_flows();
        change(&mut self.contacts);
        let after = self.contact_flows();
        self.proven_on.retain(|flow| after.contains(flow) || !before.contains(flow));
    }

    /// Takes the end of a flow.
    fn leave(&mut self, flow: FlowId) {
        self.proven_on.remove(&flow);
        for contact in self.contacts.iter_mut().filter(|it| it.flow == Some(flow)) {
            contact.flow = None;
        }
    }

    fn contact_flows(&self) -> BTreeSet<FlowId> {
        self.contacts.iter().filter_map(|it| it.flow).collect()
    }

    fn flows(&self) -> BTreeSet<FlowId> {
        &self.contact_flows() | &self.proven_on
    }

    fn next_expiry_ms(&self) -> Option<u64> {
        let all = self.contacts.iter().map(|it| it.binding.expires_at_unix_seconds);
        all.min().map(|seconds| seconds * 1000)
    }
}

impl Entry {
    /// Makes the entry of a binding from what was known of the same contact.
    fn new(binding: Binding, known: Option<&Self>) -> Self {
        let uri = match known {
            Some(known) => known.uri.clone(),
            None => binding.address().ok().map(|address| address.uri().clone()),
        };
        Self { binding, uri, flow: known.and_then(|known| known.flow) }
    }

    fn is_valid(&self, now: Now) -> bool {
        self.binding.expires_at_unix_seconds > now.unix_ms / 1000
    }
}

fn stored(user: &Jid, binding: &Binding) -> record::Binding {
    record::Binding {
        aor: user.to_string(),
        contact: binding.contact.clone(),
        call_id: binding.call_id.clone(),
        cseq: binding.sequence_number,
        expires_ms: binding.expires_at_unix_seconds * 1000,
    }
}

fn removal(user: &Jid, contact: &str) -> Write {
    Write::RemoveBinding { aor: user.to_string(), contact: contact.to_owned() }
}

#[cfg(test)]
mod tests;
