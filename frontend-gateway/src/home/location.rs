//! Where home users are: their bindings, and the flows that they registered on.

use std::collections::{BTreeMap, BTreeSet};

use sip_proto::Refusal;
use sip_proto::header::NameAddr;
use sip_proto::message::Request;
use sip_proto::registrar::{self, Binding, RegistrarLimits};
use sip_proto::transaction::{FlowId, Transport};
use sip_proto::uri::Uri;
use xmpp_proto::jid::Jid;

use crate::clock::Now;
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
#[derive(Debug, Default)]
pub struct Location {
    bindings: BTreeMap<Jid, Vec<Binding>>,
    flows: BTreeMap<FlowId, OpenFlow>,
    contact_flows: BTreeMap<(Jid, String), FlowId>,
}

#[derive(Debug)]
struct OpenFlow {
    transport: Transport,
    users: BTreeSet<Jid>,
}

impl Location {
    /// Restores the bindings that the store holds; their flows are gone.
    pub fn restore(records: Vec<record::Binding>) -> Self {
        let mut bindings: BTreeMap<Jid, Vec<Binding>> = BTreeMap::new();
        for record in records {
            let Ok(user) = Jid::parse(&record.aor) else { continue };
            bindings.entry(user).or_default().push(Binding {
                contact: record.contact,
                call_id: record.call_id,
                sequence_number: record.cseq,
                expires_at_unix_seconds: record.expires_ms / 1000,
            });
        }
        Self { bindings, ..Self::default() }
    }

    /// Takes a flow that was opened.
    pub fn open(&mut self, flow: FlowId, transport: Transport) {
        self.flows.insert(flow, OpenFlow { transport, users: BTreeSet::new() });
    }

    /// Takes the end of a flow; returns whose it was.
    pub fn close(&mut self, flow: FlowId) -> BTreeSet<Jid> {
        self.contact_flows.retain(|_, open| *open != flow);
        self.flows.remove(&flow).map(|open| open.users).unwrap_or_default()
    }

    /// Returns the transport of an open flow.
    pub fn transport(&self, flow: FlowId) -> Option<Transport> {
        self.flows.get(&flow).map(|open| open.transport)
    }

    /// Says whether a user has registered on a flow.
    pub fn has_registered(&self, user: &Jid, flow: FlowId) -> bool {
        self.flows.get(&flow).is_some_and(|open| open.users.contains(user))
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
        let seconds = now.unix_ms / 1000;
        let current = self.bindings.get(user).map(Vec::as_slice).unwrap_or_default();
        let registration = registrar::register(request, current, limits, seconds)?;
        let bindings = registration.bindings;
        let gone =
            current.iter().filter(|old| !bindings.iter().any(|it| it.contact == old.contact));
        let gone: Vec<String> = gone.map(|old| old.contact.clone()).collect();
        let mut writes: Vec<Write> = gone.iter().map(|contact| removal(user, contact)).collect();
        let refreshed = bindings.iter().filter(|it| registration.refreshed.contains(&it.contact));
        for binding in refreshed {
            writes.push(Write::PutBinding(stored(user, binding)));
            let before = self.contact_flows.insert((user.clone(), binding.contact.clone()), flow);
            if let Some(before) = before.filter(|before| *before != flow) {
                self.forget_proof(user, before);
            }
        }
        if let Some(open) = self.flows.get_mut(&flow).filter(|_| !registration.refreshed.is_empty())
        {
            open.users.insert(user.clone());
        }
        for contact in gone {
            self.end_binding(user, &contact);
        }
        self.bindings.insert(user.clone(), bindings.clone());
        Ok((bindings, writes))
    }

    /// Returns where a user can be reached.
    pub fn reach(&self, user: &Jid, now: Now) -> Vec<Reach> {
        let bindings = self.bindings.get(user).into_iter().flatten();
        let valid = bindings.filter(|it| it.expires_at_unix_seconds > now.unix_ms / 1000);
        valid
            .filter_map(|binding| {
                let address: NameAddr = binding.address().ok()?;
                let flow = self.contact_flows.get(&(user.clone(), binding.contact.clone()));
                Some(Reach { uri: address.uri().clone(), flow: flow.copied() })
            })
            .collect()
    }

    /// Remembers a flow that was opened to a contact of a user.
    pub fn reached(&mut self, user: &Jid, uri: &Uri, flow: FlowId) {
        let bindings = self.bindings.get(user).into_iter().flatten();
        let contact = bindings.filter(|binding| {
            binding.address().is_ok_and(|address| address.uri().is_equivalent(uri))
        });
        let contacts: Vec<String> = contact.map(|binding| binding.contact.clone()).collect();
        for contact in contacts {
            self.contact_flows.insert((user.clone(), contact), flow);
        }
    }

    /// Says whether a user has a binding.
    pub fn is_registered(&self, user: &Jid, now: Now) -> bool {
        let bindings = self.bindings.get(user).into_iter().flatten();
        let mut valid = bindings.filter(|it| it.expires_at_unix_seconds > now.unix_ms / 1000);
        valid.next().is_some()
    }

    /// Returns the users that have bindings.
    pub fn users(&self) -> impl Iterator<Item = &Jid> {
        self.bindings.keys()
    }

    /// Forgets a user; its flows stay open but are no longer its own.
    pub fn remove_user(&mut self, user: &Jid) {
        self.bindings.remove(user);
        self.contact_flows.retain(|(owner, _), _| owner != user);
        self.forget_proofs(user);
    }

    /// Forgets who has proven to be a user; its devices are still reached.
    pub fn forget_proofs(&mut self, user: &Jid) {
        for open in self.flows.values_mut() {
            open.users.remove(user);
        }
    }

    fn end_binding(&mut self, user: &Jid, contact: &str) {
        if let Some(flow) = self.contact_flows.remove(&(user.clone(), contact.to_owned())) {
            self.forget_proof(user, flow);
        }
    }

    /// Lets a flow be a user's no longer when no binding of the user is on it.
    fn forget_proof(&mut self, user: &Jid, flow: FlowId) {
        let of_user = self.contact_flows.range((user.clone(), String::new())..);
        let mut of_user = of_user.take_while(|((owner, _), _)| owner == user);
        if !of_user.any(|(_, other)| *other == flow)
            && let Some(open) = self.flows.get_mut(&flow)
        {
            open.users.remove(user);
        }
    }

    /// Removes what has expired; returns the users that have no binding left, and the writes.
    pub fn expire(&mut self, now: Now) -> (Vec<Jid>, Vec<Write>) {
        let (mut away, mut ended) = (Vec::new(), Vec::new());
        let seconds = now.unix_ms / 1000;
        self.bindings.retain(|user, bindings| {
            bindings.retain(|binding| {
                let valid = binding.expires_at_unix_seconds > seconds;
                if !valid {
                    ended.push((user.clone(), binding.contact.clone()));
                }
                valid
            });
            if bindings.is_empty() {
                away.push(user.clone());
            }
            !bindings.is_empty()
        });
        let mut writes = Vec::with_capacity(ended.len());
        for (user, contact) in ended {
            writes.push(removal(&user, &contact));
            self.end_binding(&user, &contact);
        }
        (away, writes)
    }

    /// Returns when the next binding expires, in milliseconds of Unix time.
    pub fn next_expiry_ms(&self) -> Option<u64> {
        let all = self.bindings.values().flatten();
        all.map(|binding| binding.expires_at_unix_seconds).min().map(|seconds| seconds * 1000)
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
