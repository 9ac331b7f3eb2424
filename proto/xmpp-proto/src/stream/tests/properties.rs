//! No sequence of words and verdicts lets a domain in that was not proven.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

/// One thing that happens to a receiving machine.
#[derive(Clone, Debug)]
enum Step {
    /// The peer says something.
    Words(String),
    /// TLS is done, with a certificate of these names.
    Tls(&'static [&'static str]),
    /// The owner answers the last question, or gives an answer that nobody asked for.
    Verdict(&'static str, &'static str, Verdict),
    /// The owner takes responsibility for stanzas.
    Acknowledge(u64),
    /// The owner has a stanza for this remote domain from this local one.
    Carry(&'static str, &'static str),
    /// Time passes.
    Pass(u64),
}

const DOMAINS: &[&str] = &["a.example", "v.example", "b.example", "c.example", "x.example"];
const CERTIFICATES: &[&[&str]] =
    &[&[], &["a.example"], &["v.example"], &["a.example", "v.example"]];

fn steps() -> impl Strategy<Value = Step> {
    let pair = || (proptest::sample::select(DOMAINS), proptest::sample::select(DOMAINS));
    let addressed = |template: &'static str| {
        pair().prop_map(move |(from, to)| {
            Step::Words(template.replace("FROM", from).replace("TO", to))
        })
    };
    let fixed = proptest::sample::select(vec![
        "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>",
        "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='EXTERNAL'>=</auth>",
        "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='EXTERNAL'/>",
        "<response xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>dmV4YW1wbGU=</response>",
        "<response xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>",
        "<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>",
        "<bidi xmlns='urn:xmpp:bidi'/>",
        "<enable xmlns='urn:xmpp:sm:3'/>",
        "<a xmlns='urn:xmpp:sm:3' h='1'/>",
        "<r xmlns='urn:xmpp:sm:3'/>",
        " ",
    ])
    .prop_map(|words| Step::Words(words.to_owned()));
    let verdicts = proptest::sample::select(vec![Verdict::Valid, Verdict::Invalid]);
    prop_oneof![
        4 => addressed(
            "<stream:stream xmlns='jabber:server' xmlns:db='jabber:server:dialback' \
             xmlns:stream='http://etherx.jabber.org/streams' from='FROM' to='TO' version='1.0'>"
        ),
        4 => fixed,
        3 => addressed("<message from='m@FROM' to='u@TO'/>"),
        3 => addressed("<db:result from='FROM' to='TO'>key</db:result>"),
        1 => addressed("<db:result from='FROM' to='TO' type='valid'/>"),
        1 => addressed("<db:verify from='FROM' to='TO' id='1' type='valid'/>"),
        1 => addressed("<db:verify from='FROM' to='TO' id='1'>key</db:verify>"),
        3 => proptest::sample::select(CERTIFICATES).prop_map(Step::Tls),
        3 => (pair(), verdicts).prop_map(|((l, r), verdict)| Step::Verdict(l, r, verdict)),
        2 => pair().prop_map(|(local, remote)| Step::Carry(local, remote)),
        1 => (0..3_u64).prop_map(Step::Acknowledge),
        1 => (0..20_u64).prop_map(Step::Pass),
    ]
}

/// A peer that gets on well enough for the rest to matter.
fn opening() -> Vec<Step> {
    let header = HEADER.to_owned();
    let starttls = "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>".to_owned();
    vec![
        Step::Words(header.clone()),
        Step::Words(starttls),
        Step::Tls(&["a.example"]),
        Step::Words(header),
    ]
}

/// What the owner and the network know to be proven, kept apart from the machine.
#[derive(Default)]
struct Known {
    certificate: &'static [&'static str],
    asked: Vec<VerifyRequest>,
    verified: BTreeSet<DomainPair>,
    authenticated: BTreeSet<DomainPair>,
    asked_for_bidi: bool,
    closed: bool,
}

impl Known {
    fn watch(&mut self, event: ReceivingEvent, admission: &Admission) {
        assert!(!self.closed, "nothing happens behind the end");
        match event {
            ReceivingEvent::StartTls
            | ReceivingEvent::Bounce(_)
            | ReceivingEvent::Delivered { .. } => {}
            ReceivingEvent::VerifyDialback(request) => {
                let (local, remote) = (&request.pair.local, &request.pair.remote);
                assert!(admission.terms(local, remote).is_some(), "only partners are asked");
                self.asked.push(request);
            }
            ReceivingEvent::Authenticated { pair, proof } => {
                let proven = match proof {
                    Proof::Dialback => self.verified.contains(&pair),
                    _ => self.certificate.contains(&pair.remote.as_str()),
                };
                assert!(proven, "{pair:?} by {proof:?}");
                self.authenticated.insert(pair);
            }
            ReceivingEvent::Stanza(stanza) => {
                let pair = DomainPair {
                    local: stanza.to.domain().clone(),
                    remote: stanza.from.domain().clone(),
                };
                assert!(self.authenticated.contains(&pair), "{pair:?}");
            }
            ReceivingEvent::Closed(_) => self.closed = true,
        }
    }
}

fn run(steps: Vec<Step>) {
    let mut now = origin();
    let mut admission = admission(&["b.example", "c.example"], "a.example", BIDI, "secret");
    admission.partners.insert(domain("v.example"), OPTIONAL);
    let mut stream = ReceivingStream::new(StreamLimits::default(), [1; 32], now);
    let mut known = Known::default();
    for step in steps {
        match step {
            Step::Words(words) => {
                known.asked_for_bidi |=
                    words.contains("urn:xmpp:bidi") && known.authenticated.is_empty();
                stream.handle_bytes(words.as_bytes(), &admission, now);
            }
            Step::Carry(local, remote) => {
                let pair = domain_pair(local, remote);
                let bytes = write_stanza(&message(local, remote, "hi"));
                let taken = stream.send_stanza(&pair, 1, &bytes, &admission, now).is_ok();
                let is_proven = known.authenticated.contains(&pair);
                assert!(!taken || is_proven && known.asked_for_bidi && remote == "a.example");
            }
            Step::Tls(names) => {
                if known.certificate.is_empty() {
                    known.certificate = names;
                }
                stream.handle_tls(Box::new(Names(known.certificate)), now);
            }
            Step::Verdict(local, remote, verdict) => {
                let (pair, id) = match known.asked.pop() {
                    Some(request) => (request.pair, request.stream_id),
                    None => (domain_pair(local, remote), "guessed".to_owned()),
                };
                if verdict == Verdict::Valid && id != "guessed" {
                    known.verified.insert(pair.clone());
                }
                stream.handle_verdict(&pair, &id, verdict, &admission, now);
            }
            Step::Acknowledge(count) => stream.acknowledge(count, now),
            Step::Pass(seconds) => {
                now += Duration::from_secs(seconds);
                stream.handle_timeout(&admission, now);
            }
        }
        while stream.poll_transmit().is_some() {}
        while let Some(event) = stream.poll_event() {
            known.watch(event, &admission);
        }
    }
}

/// Failing cases are not kept in files beside the sources.
fn without_files(cases: u32) -> ProptestConfig {
    ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(cases) }
}

proptest! {
    #![proptest_config(without_files(2000))]

    #[test]
    fn a_stanza_comes_out_only_of_a_pair_that_was_proven(
        steps in proptest::collection::vec(steps(), 0..20),
    ) {
        run(opening().into_iter().chain(steps).collect());
    }

    #[test]
    fn any_order_of_steps_is_safe(steps in proptest::collection::vec(steps(), 0..20)) {
        run(steps);
    }
}
