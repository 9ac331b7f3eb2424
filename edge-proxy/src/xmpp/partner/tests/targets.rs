//! One attempt over several servers: all are tried before anybody waits, and who fails is told.

use super::*;
use crate::xmpp::attempt::{AttemptRecord, ClosedBy};
use xmpp_proto::stream::{Proof, StreamCondition};

const HOST_UNKNOWN: &str = "<stream:error><host-unknown xmlns='urn:ietf:params:xml:ns:xmpp-streams'/>\
    </stream:error></stream:stream>";
const SHUTDOWN: &str = "<stream:error><system-shutdown xmlns='urn:ietf:params:xml:ns:xmpp-streams'/>\
    </stream:error></stream:stream>";

/// A certificate that proves nothing.
struct ProvesNothing;

impl PeerCertificate for ProvesNothing {
    fn proves(&self, _: &Domain) -> bool {
        false
    }
}

/// A partner that something waits for, with these servers; the first is being connected to.
fn trying(hosts: &[&str]) -> Rig {
    let mut rig = Rig::new(LIMITS);
    rig.send(1, 1);
    rig.effects();
    assert_eq!(rig.locate(hosts), hosts[..1]);
    rig
}

impl Rig {
    /// Lets the connection be made, and the server say something in the clear.
    fn connect_to_hear(&mut self, words: &[&str]) {
        self.partner.handle_connected([7; 32], &self.admitted, self.now);
        for words in words {
            self.hear(words);
        }
    }

    fn record(&mut self) -> AttemptRecord {
        let mut records = self.effects().into_iter().filter_map(|effect| match effect {
            PartnerEffect::Attempted(record) => Some(*record),
            _ => None,
        });
        let record = records.next().expect("an attempt is over");
        assert_eq!(records.next(), None, "only one");
        record
    }
}

#[test]
fn every_server_is_tried_before_anybody_waits() {
    let mut rig = trying(&["a", "b", "c"]);
    rig.fail(no_answer());
    assert_eq!(rig.tried(), ["b"]);
    rig.fail(no_address());
    assert_eq!(rig.tried(), ["c"]);
    assert_eq!(rig.partner.poll_timeout(), Some(rig.now + LIMITS.age_max));
    rig.fail(no_answer());
    assert_eq!(rig.tried(), [""; 0]);
    assert_eq!(rig.partner.poll_timeout(), Some(rig.now + SECOND));
}

#[test]
fn a_stream_that_fails_leads_on_to_the_next_server() {
    let failures: [(&str, &[&str]); 4] = [
        ("no XMPP", &["HTTP/1.1 400 Bad Request\r\n"]),
        ("another domain", &[HEADER, HOST_UNKNOWN]),
        ("a server that goes", &[HEADER, SHUTDOWN]),
        ("no TLS", &[HEADER, "<stream:features/>"]),
    ];
    for (what, words) in failures {
        let mut rig = trying(&["a", "b"]);
        rig.connect_to_hear(words);
        let effects = rig.effects();
        let [PartnerEffect::Disconnect, PartnerEffect::Connect(target, _)] = effects.as_slice()
        else {
            panic!("{what}: {effects:?}");
        };
        assert_eq!(target.host, "b", "{what}");
        rig.transmitted();
        rig.negotiate();
        rig.transmitted();
        rig.acknowledge(1);
        assert_eq!(rig.outcomes(), [(1, Ok(()))], "{what}");
    }
}

#[test]
fn a_handshake_that_fails_and_a_server_that_is_silent_lead_on() {
    let mut rig = trying(&["a", "b", "c"]);
    rig.connect_to_hear(&[HEADER, STARTTLS, PROCEED]);
    rig.partner.handle_disconnect(Disconnect::TlsFailed, rig.now);
    assert_eq!(rig.tried(), ["b"]);
    rig.connect_to_hear(&[]);
    rig.transmitted();
    rig.pass(rig.admitted.limits.negotiation_max);
    assert_eq!(rig.tried(), ["c"]);
    rig.negotiate();
    assert!(rig.partner.has_stream());
}

#[test]
fn what_waits_is_refused_only_where_no_server_can_be_hoped_for() {
    let unproven = |rig: &mut Rig| {
        let remote = rig.admitted.streams.partners.values_mut();
        let terms = StreamTerms::new(TlsTerms::Required, SaslTerms::Optional, false).unwrap();
        remote.for_each(|it| *it = terms);
        rig.connect_to_hear(&[HEADER, STARTTLS, PROCEED]);
        rig.partner.handle_tls(&ProvesNothing, &rig.admitted, rig.now);
    };
    let told = "the certificate of fabrikam.example does not prove who it is, which its \
        administrator must mend";

    let mut rig = trying(&["a", "b"]);
    unproven(&mut rig);
    rig.fail(no_address());
    assert_eq!(rig.bounce_text(), told, "it tells more than the address that is missing");

    let mut rig = trying(&["a", "b"]);
    unproven(&mut rig);
    rig.fail(no_answer());
    assert_eq!(rig.outcomes(), [], "the second may answer later");
    rig.pass(LIMITS.age_max);
    assert_eq!(rig.bounce_text(), told);
}

#[test]
fn a_server_that_does_not_serve_the_domain_is_no_server_of_it() {
    let mut rig = trying(&["a"]);
    rig.connect_to_hear(&[HEADER, HOST_UNKNOWN]);
    assert_eq!(rig.outcomes(), [(1, bounced(StanzaCondition::RemoteServerNotFound))]);
    rig.send(2, 1);
    let told = "the server of fabrikam.example says that it does not serve fabrikam.example";
    assert_eq!(rig.bounce_text(), told);
}

#[test]
fn servers_beyond_the_lookups_of_an_attempt_come_first_in_the_next() {
    let mut rig = trying(&["a", "b", "c", "d", "e", "f", "g"]);
    for next in ["b", "c"] {
        rig.fail(no_address());
        assert_eq!(rig.tried(), [next]);
    }
    rig.fail(no_address());
    assert_eq!(rig.record().left_count, 4);
    assert_eq!(rig.outcomes(), [], "not all were tried");
    for (wait, expected) in [(SECOND, ["d", "e", "f", "g"].as_slice()), (2 * SECOND, &[])] {
        rig.pass(wait);
        for host in expected {
            assert_eq!(rig.tried(), [*host]);
            rig.fail(no_address());
        }
    }
    assert_eq!(rig.record().left_count, 0);
}

#[test]
fn servers_that_need_no_lookup_are_all_tried_at_once() {
    let by_address = ["11.0.0.1", "11.0.0.2", "11.0.0.3", "2a00::1", "11.0.0.5", "11.0.0.6"];
    let same_host = ["a", "a", "a", "a", "a", "a", "a"];
    for hosts in [by_address.as_slice(), &same_host] {
        let mut rig = trying(hosts);
        for host in &hosts[1..] {
            rig.fail(no_answer());
            assert_eq!(rig.tried(), [*host]);
        }
    }
    let mut rig = Rig::new(LIMITS);
    rig.send(1, 1);
    let targets = ["a", "b", "c", "d", "e"].map(target).to_vec();
    rig.partner.handle_located(Ok(Located { targets, by_policy: true }), rig.now);
    for host in ["a", "b", "c", "d", "e"] {
        assert_eq!(rig.tried(), [host], "policy may name as many as it likes");
        rig.fail(no_answer());
    }
}

#[test]
fn a_server_has_the_time_to_establish_a_stream_and_its_connection_counts() {
    let mut rig = Rig::new(LIMITS);
    let establishment_max = rig.admitted.limits.establishment_max;
    rig.send(1, 1);
    rig.partner
        .handle_located(Ok(Located { targets: vec![target("a")], by_policy: false }), rig.now);
    let until = rig.effects().into_iter().find_map(|effect| match effect {
        PartnerEffect::Connect(_, until) => Some(until),
        _ => None,
    });
    assert_eq!(until, Some(rig.now + establishment_max));
    rig.now += establishment_max - SECOND;
    rig.connect_to_hear(&[]);
    assert_eq!(rig.partner.poll_timeout(), Some(rig.now + SECOND));
}

#[test]
fn no_server_is_begun_with_once_the_attempt_has_lasted_twice_that() {
    let mut rig = trying(&["a", "b", "c"]);
    let establishment_max = rig.admitted.limits.establishment_max;
    rig.now += establishment_max;
    rig.fail(no_answer());
    assert_eq!(rig.tried(), ["b"]);
    rig.now += establishment_max;
    rig.fail(no_answer());
    assert_eq!(rig.tried(), [""; 0]);
    rig.pass(SECOND);
    assert_eq!(rig.tried(), ["c"], "the next attempt begins with what was left");
}

#[test]
fn a_key_is_asked_about_at_the_next_server_too() {
    let mut rig = Rig::new(LIMITS);
    let request = VerifyRequest { pair: pair(), stream_id: "s9".to_owned(), key: "k".to_owned() };
    rig.partner.verify(request, rig.now);
    rig.effects();
    rig.locate(&["a", "b"]);
    rig.connect_to_hear(&[HEADER, SHUTDOWN]);
    let is_verdict = |effect: &PartnerEffect| matches!(effect, PartnerEffect::Verdict(..));
    assert!(!rig.effects().iter().any(is_verdict), "the second is still to be asked");
    rig.transmitted();
    rig.negotiate();
    assert!(rig.transmitted().contains("<db:verify"), "it is asked");
    rig.lose();
    assert_eq!(rig.effects().iter().filter(|effect| is_verdict(effect)).count(), 1);
}

#[test]
fn a_policy_that_leaves_the_partner_out_ends_the_attempt() {
    let mut rig = trying(&["a", "b"]);
    rig.connect_to_hear(&[HEADER]);
    rig.admit(Admitted::default());
    assert_eq!(rig.tried(), [""; 0]);
    assert!(!rig.partner.has_stream());
}

#[test]
fn the_record_tells_what_was_tried_how_long_it_took_and_who_ended_it() {
    let mut rig = Rig::new(LIMITS);
    rig.send(1, 1);
    rig.effects();
    let started = rig.now;
    rig.now += SECOND;
    rig.locate(&["a", "b"]);
    rig.connect_to_hear(&[HEADER]);
    rig.now += SECOND;
    rig.hear(SHUTDOWN);
    rig.tried();
    rig.connect_to_hear(&[HEADER, STARTTLS]);
    rig.now += SECOND;
    rig.hear(PROCEED);
    rig.now += 2 * SECOND;
    rig.partner.handle_tls(&Proves, &rig.admitted, rig.now);
    rig.now += 3 * SECOND;
    for words in [HEADER, EXTERNAL, SUCCESS, HEADER, MANAGEMENT, ENABLED] {
        rig.hear(words);
    }

    let record = rig.record();
    assert_eq!((record.started, record.pair, record.left_count), (started, pair(), 0));
    assert_eq!(record.proof, Some(Proof::External));
    let [found, first, second] = record.steps.as_slice() else { panic!("{:?}", record.steps) };
    assert_eq!((&found.target, &found.failure), (&None, &None));
    assert_eq!(found.phases, [(Phase::Lookup, SECOND)]);
    assert_eq!(first.target, Some(target("a")));
    assert_eq!(first.phases, [(Phase::Stream, SECOND)]);
    let failure = first.failure.as_ref().map(|failure| (failure.phase, failure.kind));
    let condition = StreamCondition::SystemShutdown;
    assert_eq!(failure, Some((Phase::Stream, FailureKind::PeerError(condition))));
    let Some(ClosedBy::Peer(Some(error))) = &first.closed else { panic!("{:?}", first.closed) };
    assert_eq!(error.condition, condition);
    assert_eq!((&second.failure, &second.closed), (&None, &None));
    let phases =
        [(Phase::Stream, SECOND), (Phase::Tls, 2 * SECOND), (Phase::Authentication, 3 * SECOND)];
    assert_eq!(second.phases, phases);
}
