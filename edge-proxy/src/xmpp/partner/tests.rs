//! A partner that fails, refuses, confirms nothing or goes, under a virtual clock.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use host::tls::PartnerTrust;
use link::wire::{Bounced, stream_report};
use xmpp_proto::jid::Domain;
use xmpp_proto::limits::StreamLimits;
use xmpp_proto::locate::Target;
use xmpp_proto::stanza::error::StanzaCondition;
use xmpp_proto::stream::{
    Admission, DialbackSecrets, Disconnect, DomainPair, PeerCertificate, SaslTerms, StreamTerms,
    TlsTerms, Verdict, VerifyRequest,
};

use super::{Located, Partner, PartnerEffect};
use crate::admission::{self, Admitted, PartnerRates, QueueLimits, Routes};
use crate::xmpp::failure::{Failure, FailureKind, Phase};
use crate::xmpp::queue::Ticket;

mod bidi;
mod ending;
mod targets;
mod without_tls;

const HEADER: &str = "<?xml version='1.0'?><stream:stream xmlns='jabber:server' \
    xmlns:stream='http://etherx.jabber.org/streams' from='fabrikam.example' to='contoso.example' \
    id='s1' version='1.0'>";
const STARTTLS: &str =
    "<stream:features><starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/></stream:features>";
const PROCEED: &str = "<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>";
const EXTERNAL: &str = "<stream:features><mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>\
    <mechanism>EXTERNAL</mechanism></mechanisms></stream:features>";
const SUCCESS: &str = "<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>";
const MANAGEMENT: &str = "<stream:features><sm xmlns='urn:xmpp:sm:3'/></stream:features>";
const ENABLED: &str = "<enabled xmlns='urn:xmpp:sm:3'/>";

const SECOND: Duration = Duration::from_secs(1);
const LIMITS: QueueLimits =
    QueueLimits { items_max: 3, bytes_max: 100, age_max: Duration::from_secs(3600) };

/// The outcome of a stanza: delivered, or the condition and whether it may have arrived.
type Outcome = Result<(), (String, bool)>;

/// A partner with its driver and its peer, both of which the test plays.
struct Rig {
    partner: Partner,
    admitted: Admitted,
    now: Instant,
}

struct Proves;

impl PeerCertificate for Proves {
    fn proves(&self, domain: &Domain) -> bool {
        domain.as_str() == "fabrikam.example"
    }
}

fn domain(name: &str) -> Domain {
    Domain::parse(name).unwrap()
}

fn pair() -> DomainPair {
    DomainPair { local: domain("contoso.example"), remote: domain("fabrikam.example") }
}

fn admitted(queue: QueueLimits) -> Admitted {
    let remote = domain("fabrikam.example");
    let terms =
        StreamTerms::new(TlsTerms::Required, SaslTerms::Optional, true).unwrap().with_bidi(true);
    let partner = admission::Partner {
        name: remote.clone(),
        connections_max: 20,
        routes: Routes::default(),
        allow_private_addresses: false,
        allow_any_port: false,
        keep_alive: true,
        rates: PartnerRates::default(),
        queue,
        trust: PartnerTrust::default(),
    };
    Admitted {
        streams: Admission {
            local_domains: [domain("contoso.example")].into(),
            partners: BTreeMap::from([(remote.clone(), terms)]),
            dialback_secrets: DialbackSecrets::default(),
        },
        partners: BTreeMap::from([(remote, Arc::new(partner))]),
        limits: StreamLimits::default(),
        connections_max: 20,
    }
}

fn no_answer() -> Failure {
    Failure::new(Phase::Connect, FailureKind::Unreachable, "nobody answers")
}

fn no_address() -> Failure {
    Failure::new(Phase::Lookup, FailureKind::NoAddress, "it has no address")
}

/// A server of the partner's.
fn target(host: &str) -> Target {
    Target { host: host.to_owned(), port: 5269, direct_tls: false }
}

impl Rig {
    fn new(queue: QueueLimits) -> Self {
        let admitted = admitted(queue);
        Self { partner: Partner::new(pair(), &admitted, |_| 0), admitted, now: Instant::now() }
    }

    /// A partner whose stream is open, with acknowledgements.
    fn open(queue: QueueLimits) -> Self {
        let mut rig = Self::new(queue);
        rig.send(0, 1);
        assert_eq!(rig.connects(), 1);
        rig.negotiate();
        rig.transmitted();
        rig.acknowledge(1);
        assert_eq!(rig.outcomes(), [(0, Ok(()))]);
        rig
    }

    fn negotiate(&mut self) {
        self.partner.handle_connected([7; 32], &self.admitted, self.now);
        for words in [HEADER, STARTTLS, PROCEED] {
            self.hear(words);
        }
        self.partner.handle_tls(&Proves, &self.admitted, self.now);
        for words in [HEADER, EXTERNAL, SUCCESS, HEADER, MANAGEMENT, ENABLED] {
            self.hear(words);
        }
    }

    fn hear(&mut self, words: &str) {
        self.partner.handle_bytes(words.as_bytes(), &self.admitted, self.now);
    }

    fn acknowledge(&mut self, count: u32) {
        self.hear(&format!("<a xmlns='urn:xmpp:sm:3' h='{count}'/>"));
    }

    /// Hands over a stanza of this number and of so many bytes.
    fn send(&mut self, number: u8, bytes: usize) {
        let stanza = Bytes::from(vec![b'0' + number; bytes]);
        self.partner.send(Ticket::Hub([number; 16]), stanza, self.now);
    }

    fn fail(&mut self, failure: Failure) {
        self.partner.handle_connect_failed(failure, self.now);
    }

    fn lose(&mut self) {
        self.partner.handle_disconnect(Disconnect::Lost, self.now);
    }

    fn admit(&mut self, admitted: Admitted) {
        self.admitted = admitted;
        self.partner.handle_admission(&self.admitted, self.now);
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        self.partner.handle_timeout(self.now);
    }

    fn transmitted(&mut self) -> String {
        let mut transmitted = String::new();
        while let Some(bytes) = self.partner.poll_transmit() {
            transmitted.push_str(str::from_utf8(&bytes).unwrap());
        }
        transmitted
    }

    fn effects(&mut self) -> Vec<PartnerEffect> {
        std::iter::from_fn(|| self.partner.poll_effect()).collect()
    }

    /// How often the partner began an attempt since the effects were taken last; it is told of one
    /// server.
    fn connects(&mut self) -> usize {
        let is_locate = |effect: &PartnerEffect| matches!(effect, PartnerEffect::Locate);
        let count = self.effects().iter().filter(|effect| is_locate(effect)).count();
        for _ in 0..count {
            assert_eq!(self.locate(&["xmpp.fabrikam.example"]), ["xmpp.fabrikam.example"]);
        }
        count
    }

    /// Tells the partner of its servers; gives those that it asks to be connected to.
    fn locate(&mut self, hosts: &[&str]) -> Vec<String> {
        let targets = hosts.iter().map(|host| target(host)).collect();
        let located = Located { targets, by_policy: false };
        self.partner.handle_located(Ok(located), self.now);
        self.tried()
    }

    /// The servers that the partner asked to be connected to since the effects were taken last.
    fn tried(&mut self) -> Vec<String> {
        let hosts = self.effects().into_iter().filter_map(|effect| match effect {
            PartnerEffect::Connect(target, _) => Some(target.host),
            _ => None,
        });
        hosts.collect()
    }

    fn outcomes(&mut self) -> Vec<(u8, Outcome)> {
        let outcomes = self.effects().into_iter().filter_map(|effect| match effect {
            PartnerEffect::Outcome(id, outcome) => Some((id[0], outcome)),
            _ => None,
        });
        let terse = |bounced: Bounced| (bounced.condition, bounced.possibly_delivered);
        outcomes.map(|(number, outcome)| (number, outcome.map_err(terse))).collect()
    }

    /// The text of the one stanza that came back.
    fn bounce_text(&mut self) -> String {
        let mut texts = self.effects().into_iter().filter_map(|effect| match effect {
            PartnerEffect::Outcome(_, Err(bounced)) => Some(bounced.text),
            _ => None,
        });
        let text = texts.next().expect("a stanza came back");
        assert_eq!(texts.next(), None, "only one");
        text
    }
}

fn bounced(condition: StanzaCondition) -> Outcome {
    Err((condition.name().to_owned(), false))
}

fn in_doubt() -> Outcome {
    Err((StanzaCondition::RemoteServerTimeout.name().to_owned(), true))
}

#[test]
fn attempts_to_connect_wait_twice_as_long_each_time_up_to_a_minute() {
    let mut rig = Rig::new(LIMITS);
    rig.send(1, 1);
    assert_eq!(rig.connects(), 1);
    for seconds in [1, 2, 4, 8, 16, 32, 60, 60] {
        rig.fail(no_answer());
        let wait = Duration::from_secs(seconds);
        assert_eq!(rig.partner.poll_timeout(), Some(rig.now + wait));
        rig.pass(wait - Duration::from_millis(1));
        assert_eq!(rig.connects(), 0, "before {seconds} s");
        rig.pass(Duration::from_millis(1));
        assert_eq!(rig.connects(), 1, "after {seconds} s");
    }
    assert_eq!(rig.outcomes(), []);
}

#[test]
fn a_stream_that_opens_ends_the_doubling() {
    let mut rig = Rig::new(LIMITS);
    rig.send(1, 1);
    rig.fail(no_answer());
    rig.pass(SECOND);
    rig.fail(no_answer());
    rig.pass(2 * SECOND);
    rig.negotiate();
    rig.transmitted();
    rig.acknowledge(1);
    rig.lose();
    rig.effects();
    rig.send(2, 1);
    assert_eq!(rig.connects(), 1);
    rig.fail(no_answer());
    assert_eq!(rig.partner.poll_timeout(), Some(rig.now + SECOND));
}

#[test]
fn nothing_that_waits_means_no_attempt() {
    let mut rig = Rig::open(LIMITS);
    rig.lose();
    rig.pass(SECOND * 120);
    assert_eq!((rig.connects(), rig.partner.poll_timeout()), (0, None));
    rig.send(1, 1);
    assert_eq!(rig.connects(), 1, "what comes next connects at once");
}

#[test]
fn a_stream_that_ends_while_something_waits_is_not_opened_again_at_once() {
    let mut rig = Rig::open(LIMITS);
    rig.send(1, 1);
    rig.lose();
    assert_eq!(rig.connects(), 0);
    rig.pass(SECOND);
    assert_eq!(rig.connects(), 1);
}

#[test]
fn what_has_no_service_is_refused_until_the_next_attempt() {
    let mut rig = Rig::new(LIMITS);
    rig.send(1, 1);
    rig.send(2, 1);
    rig.fail(no_address());
    let refused = bounced(StanzaCondition::RemoteServerNotFound);
    assert_eq!(rig.outcomes(), [(1, refused.clone()), (2, refused.clone())]);

    rig.pass(SECOND - Duration::from_millis(1));
    rig.send(3, 1);
    assert_eq!(rig.bounce_text(), "the server of fabrikam.example has no address in DNS");

    rig.pass(Duration::from_millis(1));
    rig.send(4, 1);
    assert_eq!(rig.connects(), 1);
    rig.fail(no_address());
    rig.pass(SECOND);
    rig.send(5, 1);
    assert_eq!(rig.outcomes(), [(4, refused.clone()), (5, refused)], "the second wait is longer");
}

#[test]
fn a_peer_without_tls_is_told_why_and_refused_until_the_next_attempt() {
    let mut rig = Rig::new(LIMITS);
    rig.send(1, 1);
    rig.effects();
    rig.partner.handle_connected([7; 32], &rig.admitted, rig.now);
    rig.hear(HEADER);
    rig.transmitted();
    rig.hear("<stream:features/>");

    let farewell = rig.transmitted();
    assert!(farewell.contains("<policy-violation"), "{farewell}");
    assert!(farewell.ends_with("</stream:stream>"), "{farewell}");
    assert_eq!(rig.transmitted(), "", "said once");
    let effects = rig.effects();
    assert!(effects.iter().any(|effect| matches!(effect, PartnerEffect::Disconnect)));
    rig.send(2, 1);
    assert_eq!(rig.outcomes(), [(2, bounced(StanzaCondition::RemoteServerTimeout))]);
}

#[test]
fn nothing_is_said_on_a_connection_that_is_lost() {
    let mut rig = Rig::open(LIMITS);
    rig.send(1, 1);
    rig.lose();
    assert_eq!(rig.transmitted(), "");
}

#[test]
fn a_stanza_that_waits_too_long_comes_back_with_what_failed() {
    let mut rig = Rig::new(QueueLimits { age_max: 5 * SECOND, ..LIMITS });
    rig.send(1, 1);
    rig.fail(no_answer());
    rig.pass(SECOND);
    rig.send(2, 1);
    rig.fail(no_answer());
    rig.pass(2 * SECOND);
    assert_eq!(rig.partner.poll_timeout(), Some(rig.now + 2 * SECOND), "the age of the oldest");
    rig.effects();
    rig.pass(2 * SECOND - Duration::from_millis(1));
    assert_eq!(rig.outcomes(), []);
    rig.pass(Duration::from_millis(1));
    assert_eq!(rig.bounce_text(), "no server of fabrikam.example can be reached");
    rig.pass(SECOND);
    assert_eq!(rig.outcomes(), [(2, bounced(StanzaCondition::RemoteServerTimeout))]);
}

#[test]
fn what_waits_is_bounded_in_items_and_in_bytes() {
    let mut rig = Rig::new(LIMITS);
    for number in 1..=4 {
        rig.send(number, 1);
    }
    assert_eq!(rig.outcomes(), [(4, bounced(StanzaCondition::ResourceConstraint))]);

    let mut rig = Rig::new(LIMITS);
    rig.send(1, 60);
    rig.send(2, 41);
    rig.send(3, 40);
    assert_eq!(rig.outcomes(), [(2, bounced(StanzaCondition::ResourceConstraint))]);
}

#[test]
fn a_peer_that_confirms_nothing_holds_no_more_bytes_than_may_wait() {
    let mut rig = Rig::open(LIMITS);
    rig.send(1, 60);
    rig.send(2, 60);
    let sent = rig.transmitted();
    assert!(sent.contains("111") && !sent.contains("222"), "{sent}");
    rig.send(3, 41);
    assert_eq!(rig.outcomes(), [(3, bounced(StanzaCondition::ResourceConstraint))]);

    rig.acknowledge(2);
    assert_eq!(rig.outcomes(), [(1, Ok(()))]);
    assert!(rig.transmitted().contains("222"));
    rig.acknowledge(3);
    assert_eq!(rig.outcomes(), [(2, Ok(()))]);
}

#[test]
fn what_the_peer_has_announced_to_be_too_large_comes_back_and_the_rest_goes_out() {
    let limited = MANAGEMENT.replace(
        "</stream:features>",
        "<limits xmlns='urn:xmpp:stream-limits:0'><max-bytes>10000</max-bytes></limits>\
         </stream:features>",
    );
    assert_ne!(limited, MANAGEMENT);
    let mut rig = Rig::new(QueueLimits { bytes_max: 100_000, ..LIMITS });
    // The first two wait for the stream.
    rig.send(1, 10_001);
    rig.send(2, 10_000);
    assert_eq!(rig.connects(), 1);
    rig.partner.handle_connected([7; 32], &rig.admitted, rig.now);
    for words in [HEADER, STARTTLS, PROCEED] {
        rig.hear(words);
    }
    rig.partner.handle_tls(&Proves, &rig.admitted, rig.now);
    for words in [HEADER, EXTERNAL, SUCCESS, HEADER, &limited, ENABLED] {
        rig.hear(words);
    }
    rig.send(3, 10_001);
    rig.send(4, 1);
    let too_large = bounced(StanzaCondition::PolicyViolation);
    assert_eq!(rig.outcomes(), [(1, too_large.clone()), (3, too_large)]);
    let transmitted = rig.transmitted();
    assert!(transmitted.contains(&"2".repeat(10_000)) && transmitted.contains('4'));
    assert!(!transmitted.contains("11") && !transmitted.contains("33"));
    rig.acknowledge(2);
    assert_eq!(rig.outcomes(), [(2, Ok(())), (4, Ok(()))]);
}

#[test]
fn what_was_written_is_in_doubt_and_what_was_not_goes_out_again() {
    let mut rig = Rig::open(LIMITS);
    rig.send(1, 40);
    assert!(rig.transmitted().contains("111"));
    rig.send(2, 40);
    rig.send(3, 10);
    rig.lose();
    assert_eq!(rig.outcomes(), [(1, in_doubt())]);

    rig.pass(SECOND);
    assert_eq!(rig.connects(), 1);
    rig.negotiate();
    rig.send(4, 50);
    let sent = rig.transmitted();
    let (second, third, fourth) = (sent.find("222"), sent.find("333"), sent.find("444"));
    assert!(second.is_some() && second < third && third < fourth, "in order, and all: {sent}");
    assert!(!sent.contains("111"), "what may have arrived is not sent twice: {sent}");
    rig.acknowledge(3);
    assert_eq!(rig.outcomes(), [(2, Ok(())), (3, Ok(())), (4, Ok(()))]);
}

#[test]
fn what_is_put_back_by_a_lost_stream_keeps_its_age() {
    let mut rig = Rig::open(QueueLimits { age_max: 5 * SECOND, ..LIMITS });
    rig.send(1, 1);
    rig.now += 4 * SECOND;
    rig.lose();
    rig.pass(SECOND);
    assert_eq!(rig.outcomes(), [(1, bounced(StanzaCondition::RemoteServerTimeout))]);
}

#[test]
fn a_policy_that_leaves_the_partner_out_gives_back_what_waits_and_what_comes() {
    let mut rig = Rig::new(LIMITS);
    rig.send(1, 1);
    rig.fail(no_answer());
    rig.admit(Admitted::default());
    rig.send(2, 1);
    let forbidden = bounced(StanzaCondition::Forbidden);
    assert_eq!(rig.outcomes(), [(1, forbidden.clone()), (2, forbidden)]);
    rig.effects();
    rig.pass(SECOND * 120);
    assert_eq!(rig.connects(), 0);
}

#[test]
fn a_policy_that_leaves_the_partner_out_ends_its_stream() {
    let mut rig = Rig::open(LIMITS);
    rig.send(1, 1);
    rig.transmitted();
    rig.admit(Admitted::default());
    let farewell = rig.transmitted();
    assert!(farewell.contains("<policy-violation "), "{farewell}");
    assert!(farewell.ends_with("</stream:stream>"), "{farewell}");
    rig.acknowledge(2);
    assert_eq!(rig.outcomes(), [(1, Ok(()))], "what is on its way may still be confirmed");
}

#[test]
fn a_policy_that_asks_for_another_proof_ends_the_stream_and_opens_one_anew() {
    let mut rig = Rig::open(LIMITS);
    rig.admit(admitted(QueueLimits { items_max: 1, ..LIMITS }));
    assert_eq!(rig.transmitted(), "", "the proof of the stream still counts");
    let mut other = admitted(LIMITS);
    for terms in other.streams.partners.values_mut() {
        *terms = StreamTerms::new(TlsTerms::Required, SaslTerms::NotSupported, true).unwrap();
    }
    rig.admit(other);
    let farewell = rig.transmitted();
    assert!(farewell.contains("<reset ") && farewell.ends_with("</stream:stream>"), "{farewell}");
    rig.hear("</stream:stream>");
    rig.effects();
    rig.send(1, 1);
    assert_eq!(rig.connects(), 1);
}

#[test]
fn another_policy_is_tried_at_once_and_from_the_first_wait() {
    let mut rig = Rig::new(LIMITS);
    rig.send(1, 1);
    for wait in [1, 2] {
        rig.fail(no_answer());
        rig.pass(wait * SECOND);
    }
    rig.fail(no_answer());
    rig.effects();
    rig.admit(admitted(LIMITS));
    assert_eq!(rig.connects(), 1);
    rig.fail(no_answer());
    assert_eq!(rig.partner.poll_timeout(), Some(rig.now + SECOND));
}

#[test]
fn front_ends_are_granted_what_may_wait_with_a_stream_and_without() {
    let granted = |rig: &mut Rig| {
        let grants = rig.effects().into_iter().filter_map(|effect| match effect {
            PartnerEffect::Grant(credit) => Some(credit),
            _ => None,
        });
        grants.collect::<Vec<u32>>()
    };
    let mut rig = Rig::new(LIMITS);
    assert_eq!(granted(&mut rig), [3]);
    rig.send(1, 1);
    rig.negotiate();
    rig.admit(admitted(QueueLimits { items_max: 5, ..LIMITS }));
    assert_eq!(granted(&mut rig), [5]);
    rig.lose();
    assert_eq!(granted(&mut rig), Vec::<u32>::new());
}

#[test]
fn a_key_that_cannot_be_verified_gets_an_error_and_the_next_asks_again_after_a_pause() {
    let mut rig = Rig::new(LIMITS);
    let request = VerifyRequest { pair: pair(), stream_id: "s9".to_owned(), key: "k".to_owned() };
    for (failure, condition) in [
        (no_answer(), StanzaCondition::RemoteServerTimeout),
        (no_address(), StanzaCondition::RemoteServerNotFound),
    ] {
        rig.partner.verify(request.clone(), rig.now);
        assert_eq!(rig.connects(), 1);
        rig.fail(failure);
        let effects = rig.effects();
        let [PartnerEffect::Verdict(about, stream_id, verdict), PartnerEffect::Report(_), _] =
            effects.as_slice()
        else {
            panic!("{effects:?}");
        };
        assert_eq!((about, stream_id.as_str()), (&pair(), "s9"));
        assert_eq!(*verdict, Verdict::Error(condition));

        // One more at once gets the same answer, and nobody is asked.
        rig.partner.verify(request.clone(), rig.now);
        let effects = rig.effects();
        let [PartnerEffect::Verdict(_, _, again)] = effects.as_slice() else {
            panic!("{effects:?}");
        };
        assert_eq!(again, verdict);
        rig.now += SECOND;
    }
}

#[test]
fn a_partner_that_cannot_be_connected_to_is_reported_each_time() {
    let mut rig = Rig::new(LIMITS);
    let cases = [
        (no_answer(), "no server of fabrikam.example can be reached: nobody answers"),
        (no_address(), "the server of fabrikam.example has no address in DNS: it has no address"),
    ];
    for (failure, reason) in cases {
        rig.send(1, 1);
        rig.fail(failure);
        let effects = rig.effects();
        let reports: Vec<_> = effects
            .iter()
            .filter_map(|effect| match effect {
                PartnerEffect::Report(report) => Some((report.state(), report.reason.as_str())),
                _ => None,
            })
            .collect();
        assert_eq!(reports, [(stream_report::State::Failed, reason)]);
        rig.pass(SECOND);
    }
}
