//! What is found by flow and by time stays true to where users are.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use sip_proto::header::NameAddr;
use sip_proto::message::{Message, Request};
use sip_proto::registrar::RegistrarLimits;
use sip_proto::transaction::{FlowId, Transport};
use sip_proto::uri::Uri;
use xmpp_proto::jid::Jid;

use super::Location;
use crate::home::tests::Numbers;
use crate::testing::{self, BEGIN_MS, Clock, jid};

const DESK: FlowId = FlowId(1);
const CELL: FlowId = FlowId(2);
const OWN: FlowId = FlowId(99);

struct Stage {
    location: Location,
    clock: Clock,
    serial: u64,
}

impl Stage {
    fn new() -> Self {
        let mut location = Location::default();
        location.open(DESK, Transport::Tcp);
        location.open(CELL, Transport::Tls);
        Self { location, clock: Clock::new(), serial: 0 }
    }

    /// Registers a contact of a user, or removes it with `expires` 0.
    fn register(&mut self, user: &Jid, contact: &str, flow: FlowId, expires: u64) {
        self.serial += 1;
        let text = format!(
            "REGISTER sip:example.net SIP/2.0\nFrom: <sip:{user}>;tag=1\nTo: <sip:{user}>\n\
             Call-ID: r\nCSeq: {} REGISTER\nContact: <{contact}>\nExpires: {expires}",
            self.serial
        );
        let request = request(&text, self.serial);
        let limits = RegistrarLimits::default();
        self.location.register(user, &request, flow, &limits, self.clock.now).unwrap();
    }

    fn pass(&mut self, seconds: u64) {
        self.clock.set(self.clock.now.instant + Duration::from_secs(seconds));
    }

    /// Removes what has expired; returns the users that have no binding left.
    fn expire(&mut self) -> Vec<Jid> {
        self.location.expire(self.clock.now).0
    }

    /// Returns where a user can be reached: each contact with its flow.
    fn reach(&self, user: &Jid) -> Vec<(String, Option<FlowId>)> {
        let reaches = self.location.reach(user, self.clock.now).into_iter();
        reaches.map(|reach| (reach.uri.to_wire(), reach.flow)).collect()
    }

    /// Looks at every user, and compares with what is found without.
    fn assert_consistent(&self) {
        let location = &self.location;
        let mut users_on: BTreeMap<FlowId, BTreeSet<Jid>> = BTreeMap::new();
        let mut expiries = BTreeMap::new();
        for (user, place) in &location.places {
            assert!(!place.contacts.is_empty() || !place.proven_on.is_empty(), "{user} is nowhere");
            let contact_flows = place.contacts.iter().filter_map(|contact| contact.flow);
            for flow in contact_flows.chain(place.proven_on.iter().copied()) {
                users_on.entry(flow).or_default().insert(user.clone());
            }
            for contact in &place.contacts {
                let address = contact.binding.address().ok();
                assert_eq!(contact.uri.as_ref(), address.as_ref().map(NameAddr::uri));
            }
            let all = place.contacts.iter().map(|it| it.binding.expires_at_unix_seconds * 1000);
            expiries.extend(all.min().map(|first| (user, first)));
        }
        assert_eq!(location.users_on, users_on);
        assert_eq!(location.next_expiry_ms(), expiries.values().min().copied());
        assert_eq!(
            location.expiries.keys().collect::<Vec<_>>(),
            expiries.into_keys().collect::<Vec<_>>()
        );
    }
}

fn request(text: &str, serial: u64) -> Request {
    match testing::messages(&testing::sip(text, serial)).remove(0) {
        Message::Request(request) => *request,
        Message::Response(response) => panic!("{response:?}"),
    }
}

#[test]
fn a_binding_that_is_refreshed_expires_at_its_new_time_only() {
    let mut stage = Stage::new();
    let romeo = jid("romeo@example.net");
    stage.register(&romeo, "sip:romeo@192.0.2.1", DESK, 600);
    stage.register(&romeo, "sip:romeo@192.0.2.2", CELL, 900);
    assert_eq!(stage.location.next_expiry_ms(), Some(BEGIN_MS + 600_000));
    stage.pass(599);
    stage.register(&romeo, "sip:romeo@192.0.2.1", DESK, 600);
    assert_eq!(stage.location.next_expiry_ms(), Some(BEGIN_MS + 900_000));
    stage.pass(1);
    assert!(stage.expire().is_empty());
    assert_eq!(stage.reach(&romeo).len(), 2);
    stage.pass(300);
    assert!(stage.expire().is_empty());
    assert_eq!(stage.reach(&romeo), [("sip:romeo@192.0.2.1".to_owned(), Some(DESK))]);
    assert_eq!(stage.location.next_expiry_ms(), Some(BEGIN_MS + 1_199_000));
    // A shorter time counts as well as a longer one.
    stage.register(&romeo, "sip:romeo@192.0.2.1", DESK, 60);
    assert_eq!(stage.location.next_expiry_ms(), Some(BEGIN_MS + 960_000));
    stage.pass(60);
    assert_eq!(stage.expire(), [romeo]);
    assert_eq!(stage.location.next_expiry_ms(), None);
}

#[test]
fn closing_a_flow_forgets_exactly_its_contacts() {
    let mut stage = Stage::new();
    let [romeo, paris] = ["romeo", "paris"].map(|user| jid(&format!("{user}@example.net")));
    stage.register(&romeo, "sip:romeo@192.0.2.1", DESK, 600);
    stage.register(&romeo, "sip:romeo@192.0.2.2", CELL, 600);
    stage.register(&romeo, "sip:romeo@192.0.2.3", DESK, 600);
    stage.register(&paris, "sip:paris@192.0.2.1", DESK, 600);
    stage.register(&paris, "sip:paris@192.0.2.4", CELL, 600);
    let flows =
        |stage: &Stage, user| stage.reach(user).into_iter().map(|it| it.1).collect::<Vec<_>>();
    // A contact that moved is not on the flow that it left.
    stage.register(&paris, "sip:paris@192.0.2.4", DESK, 600);
    stage.location.close(CELL);
    assert_eq!(flows(&stage, &romeo), [Some(DESK), None, Some(DESK)]);
    assert_eq!(flows(&stage, &paris), [Some(DESK), Some(DESK)]);
    // One that is being opened holds contacts already, and may fail.
    let contact = Uri::parse("sip:romeo@192.0.2.2").unwrap();
    stage.location.reached(&romeo, &contact, OWN);
    assert_eq!(flows(&stage, &romeo), [Some(DESK), Some(OWN), Some(DESK)]);
    assert!(!stage.location.has_registered(&romeo, OWN));
    stage.location.close(OWN);
    assert!(stage.location.has_registered(&romeo, DESK));
    stage.location.close(DESK);
    assert_eq!(flows(&stage, &romeo), [None, None, None]);
    assert_eq!(flows(&stage, &paris), [None, None]);
    assert!(!stage.location.has_registered(&romeo, DESK));
    assert!(stage.location.users_on.is_empty() && stage.location.flows.is_empty());
}

#[test]
fn a_user_who_is_removed_leaves_nothing_behind_and_others_stay() {
    let mut stage = Stage::new();
    let [romeo, paris] = ["romeo", "paris"].map(|user| jid(&format!("{user}@example.net")));
    stage.register(&romeo, "sip:romeo@192.0.2.1", DESK, 600);
    stage.register(&romeo, "sip:romeo@192.0.2.2", CELL, 300);
    stage.register(&paris, "sip:paris@192.0.2.1", DESK, 900);
    stage.location.remove_user(&romeo);
    assert_eq!(stage.location.users().collect::<Vec<_>>(), [&paris]);
    assert_eq!(stage.location.next_expiry_ms(), Some(BEGIN_MS + 900_000));
    assert!(!stage.location.has_registered(&romeo, DESK));
    assert!(stage.location.has_registered(&paris, DESK));
    stage.assert_consistent();
    assert_eq!(stage.location.users_on.len(), 1);
}

#[test]
fn whatever_happens_the_indexes_hold_what_a_look_at_every_user_would_find() {
    let users = ["romeo", "paris", "old", "nurse"].map(|user| jid(&format!("{user}@example.net")));
    // The second is equivalent to the third and to the fourth, which are not to each other.
    let contacts =
        ["sip:a@192.0.2.1", "sip:b@h.example", "sip:b@h.example;x=1", "sip:b@h.example;x=2"];
    let flows = [DESK, CELL, FlowId(3), OWN];
    for seed in 0..8 {
        let mut numbers = Numbers(seed);
        let mut stage = Stage::new();
        for _ in 0..400 {
            let user = &users[numbers.below(users.len() as u64) as usize];
            let (contact, flow) = (numbers.one_of(&contacts), numbers.one_of(&flows));
            let location = &mut stage.location;
            match numbers.below(16) {
                0..6 => stage.register(user, contact, flow, numbers.one_of(&[60, 90, 300, 600])),
                6 => stage.register(user, contact, flow, 0),
                7 | 8 => location.open(flow, Transport::Tcp),
                9 => location.close(flow),
                10 => location.reached(user, &Uri::parse(contact).unwrap(), flow),
                11 => location.forget_proofs(user),
                12 if numbers.below(4) == 0 => location.remove_user(user),
                12 | 13 => stage.pass(numbers.below(120)),
                _ => {
                    for user in stage.expire() {
                        assert!(stage.reach(&user).is_empty());
                    }
                    let now_ms = stage.clock.now.unix_ms;
                    assert!(stage.location.next_expiry_ms().is_none_or(|next| next > now_ms));
                }
            }
            stage.assert_consistent();
        }
    }
}

#[test]
fn a_flow_that_is_opened_anew_keeps_its_contacts_and_proves_nothing() {
    let mut stage = Stage::new();
    let romeo = jid("romeo@example.net");
    stage.register(&romeo, "sip:romeo@192.0.2.1", DESK, 600);
    stage.location.open(DESK, Transport::Tls);
    assert!(!stage.location.has_registered(&romeo, DESK));
    assert_eq!(stage.reach(&romeo), [("sip:romeo@192.0.2.1".to_owned(), Some(DESK))]);
    stage.assert_consistent();
}
