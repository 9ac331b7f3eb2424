//! Streams without TLS: with partners whose row of the matrix lets them go so, and with no other.

use super::*;
use crate::stanza::error::StanzaCondition;

const STARTTLS: &str = "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>";
const OFFER: &str = "<stream:features><starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>";
const KEY: &str = "<db:result from='a.example' to='b.example'>key</db:result>";
const VALID: &str = "<db:result from='b.example' to='a.example' type='valid'/>";
const MESSAGE: &str = "<message from='m@a.example/r' to='u@b.example'><body>hi</body></message>";
const DIALBACK: &str = "<dialback xmlns='urn:xmpp:features:dialback'><errors/></dialback>";
const REFUSED: &str = "<failure xmlns='urn:ietf:params:xml:ns:xmpp-tls'/></stream:stream>";
const PROCEED: &str = "<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>";

/// Row 9: everything goes.
const ANY: StreamTerms = terms(TlsTerms::Optional, SaslTerms::Optional, true);
/// Row 10: TLS may be left out and leaves nothing then.
const EXTERNAL_ALONE: StreamTerms = terms(TlsTerms::Optional, SaslTerms::Optional, false);
/// Row 3: with TLS left out, dialback.
const SASL_FIRST: StreamTerms = terms(TlsTerms::Optional, SaslTerms::Required, true);
/// Row 17: what a server of the days of RFC 3920 can do.
const CLEAR_ALONE: StreamTerms = terms(TlsTerms::NotSupported, SaslTerms::NotSupported, true);

/// A receiving machine of b.example, and the peer a.example.
struct Caller {
    stream: ReceivingStream,
    admission: Admission,
    now: Instant,
}

impl Caller {
    fn new(terms: StreamTerms) -> Self {
        let now = origin();
        let stream = ReceivingStream::new(StreamLimits::default(), [7; 32], now);
        let admission = admission(&["b.example"], "a.example", terms, "secret");
        Self { stream, admission, now }
    }

    fn say(&mut self, words: &str) -> String {
        self.stream.handle_bytes(words.as_bytes(), &self.admission, self.now);
        self.hear()
    }

    fn hear(&mut self) -> String {
        let heard = std::iter::from_fn(|| self.stream.poll_transmit());
        heard.map(|bytes| str::from_utf8(&bytes).unwrap().to_owned()).collect()
    }

    fn events(&mut self) -> Vec<ReceivingEvent> {
        std::iter::from_fn(|| self.stream.poll_event()).collect()
    }

    /// Answers the one open question about a key.
    fn verdict(&mut self, verdict: Verdict) -> String {
        let Some(ReceivingEvent::VerifyDialback(request)) = self.events().pop() else {
            panic!("no key is to be verified");
        };
        let (pair, id) = (request.pair, request.stream_id);
        self.stream.handle_verdict(&pair, &id, verdict, &self.admission, self.now);
        self.hear()
    }

    fn end(&mut self) -> Option<CloseCause> {
        self.events().into_iter().find_map(|event| match event {
            ReceivingEvent::Closed(reason) => Some(reason.cause),
            _ => None,
        })
    }
}

/// An initiating machine of a.example, and the peer b.example.
struct Called {
    stream: InitiatingStream,
    admission: Admission,
    now: Instant,
}

impl Called {
    fn new(terms: StreamTerms) -> Self {
        let (now, pair) = (origin(), domain_pair("a.example", "b.example"));
        let stream = InitiatingStream::new(pair, StreamLimits::default(), [7; 32], now);
        let admission = admission(&["a.example"], "b.example", terms, "secret");
        Self { stream, admission, now }
    }

    fn say(&mut self, words: &str) -> String {
        self.stream.handle_bytes(words.as_bytes(), &self.admission, self.now);
        let heard = std::iter::from_fn(|| self.stream.poll_transmit());
        heard.map(|bytes| str::from_utf8(&bytes).unwrap().to_owned()).collect()
    }

    fn events(&mut self) -> Vec<InitiatingEvent> {
        std::iter::from_fn(|| self.stream.poll_event()).collect()
    }

    fn proof(&mut self) -> Option<Proof> {
        self.events().into_iter().find_map(|event| match event {
            InitiatingEvent::Ready { proof, peer_proven, .. } => {
                assert!(!peer_proven, "nothing has proven the peer");
                Some(proof)
            }
            _ => None,
        })
    }

    fn end(&mut self) -> Option<CloseCause> {
        self.events().into_iter().find_map(|event| match event {
            InitiatingEvent::Closed(reason) => Some(reason.cause),
            _ => None,
        })
    }
}

fn response(rest: &str) -> String {
    format!(
        "<stream:stream xmlns='jabber:server' xmlns:stream='http://etherx.jabber.org/streams' \
         xmlns:db='jabber:server:dialback' from='b.example' to='a.example' id='their-id'{rest}"
    )
}

fn without(header: &str, attribute: &str) -> String {
    assert!(header.contains(attribute));
    header.replace(attribute, "")
}

#[test]
fn starttls_is_offered_as_the_terms_of_the_two_domains_say() {
    let offered = |terms, header: &str| {
        let heard = Caller::new(terms).say(header);
        let features = heard.split_once("<stream:features").unwrap().1;
        let starttls = match features.contains("<starttls ") {
            false => "none",
            true if features.contains("<required/>") => "required",
            true => "optional",
        };
        (starttls, features.contains("<dialback "))
    };
    let nameless = without(HEADER, "from='a.example'");
    let stranger = HEADER.replace("a.example", "stranger.example");

    assert_eq!(offered(OPTIONAL, HEADER), ("required", false));
    assert_eq!(offered(ANY, HEADER), ("optional", true));
    assert_eq!(offered(SASL_FIRST, HEADER), ("optional", true));
    assert_eq!(offered(EXTERNAL_ALONE, HEADER), ("required", false));
    assert_eq!(offered(CLEAR_ALONE, HEADER), ("none", true));
    for header in [&nameless, &stranger] {
        assert_eq!(offered(ANY, header), ("required", false));
        assert_eq!(offered(CLEAR_ALONE, header), ("required", false));
    }
}

#[test]
fn a_verified_key_opens_a_stream_in_the_clear_where_the_terms_allow_it() {
    let nameless = without(HEADER, "from='a.example'");
    for (terms, header) in
        [(ANY, HEADER), (SASL_FIRST, HEADER), (CLEAR_ALONE, HEADER), (CLEAR_ALONE, &nameless)]
    {
        let mut caller = Caller::new(terms);
        caller.say(header);
        assert_eq!(caller.say(KEY), "");
        assert!(caller.verdict(Verdict::Valid).contains("type='valid'"));
        caller.say(MESSAGE);
        let events = caller.events();

        let [ReceivingEvent::Authenticated { proof, .. }, ReceivingEvent::Stanza(_)] = &events[..]
        else {
            panic!("{terms}: {events:?}");
        };
        assert_eq!(*proof, Proof::DialbackInClear);
    }
}

#[test]
fn dialback_in_the_clear_ends_the_stream_where_the_terms_ask_for_tls() {
    let verify = "<db:verify from='a.example' to='b.example' id='1'>key</db:verify>";
    let nameless = without(HEADER, "from='a.example'");
    for terms in [OPTIONAL, SASL_ONLY, DIALBACK_ONLY, EXTERNAL_ALONE] {
        for (header, words) in [(HEADER, KEY), (&nameless, KEY), (HEADER, verify)] {
            let mut caller = Caller::new(terms);
            caller.say(header);
            let heard = caller.say(words);

            assert!(heard.contains("type='error'"), "{heard}");
            let (_, end) = heard.split_once("<stream:error>").unwrap();
            assert!(end.starts_with("<policy-violation "), "{heard}");
            assert_eq!(caller.end(), Some(CloseCause::DialbackInClear));
        }
    }
}

#[test]
fn one_pair_that_needs_tls_does_not_harm_another_of_the_stream() {
    let other = KEY.replace("a.example", "stranger.example");
    let mut caller = Caller::new(CLEAR_ALONE);
    caller.say(HEADER);
    caller.say(KEY);

    let heard = caller.say(&other);
    assert!(heard.contains("<policy-violation ") && !heard.contains("stream:error"), "{heard}");
    caller.verdict(Verdict::Valid);
    assert!(caller.say(&other).contains("type='error'"));
    caller.say(MESSAGE);
    assert!(matches!(caller.events()[..], [_, ReceivingEvent::Stanza(_)]));
}

#[test]
fn our_keys_are_confirmed_in_the_clear_where_the_terms_allow_it() {
    let key = DialbackSecret::new(b"secret");
    let secrets = DialbackSecrets { current: Some(key), previous: None };
    let key = secrets.key(&domain("a.example"), &domain("b.example"), "s1").unwrap();
    let question = format!("<db:verify from='a.example' to='b.example' id='s1'>{key}</db:verify>");
    let mut caller = Caller::new(CLEAR_ALONE);
    caller.say(HEADER);

    assert!(caller.say(&question).contains("id='s1' type='valid'"));
}

#[test]
fn tls_that_was_not_offered_is_refused() {
    let mut caller = Caller::new(CLEAR_ALONE);
    caller.say(HEADER);
    assert_eq!(caller.say(STARTTLS), REFUSED);
    assert_eq!(caller.end(), Some(CloseCause::TlsNotSupported));

    let mut direct = Caller::new(CLEAR_ALONE);
    direct.stream = ReceivingStream::direct_tls(StreamLimits::default(), [7; 32], direct.now);
    direct.stream.handle_tls(Box::new(Names(&["a.example"])), direct.now);
    assert!(direct.say(HEADER).contains("<policy-violation "));
    assert_eq!(direct.end(), Some(CloseCause::TlsNotSupported));
}

#[test]
fn a_peer_that_begins_tls_leaves_its_keys_in_the_clear_behind() {
    let mut caller = Caller::new(ANY);
    caller.say(HEADER);
    caller.say(KEY);
    let Some(ReceivingEvent::VerifyDialback(request)) = caller.events().pop() else { panic!() };
    assert_eq!(caller.say(STARTTLS), PROCEED);
    caller.stream.handle_tls(Box::new(Names(&[])), caller.now);
    caller.say(HEADER);
    let (pair, id) = (request.pair, request.stream_id);
    caller.stream.handle_verdict(&pair, &id, Verdict::Valid, &caller.admission, caller.now);

    assert_eq!(caller.hear(), "");
    assert!(caller.say(MESSAGE).contains("<not-authorized "));
}

#[test]
fn a_peer_without_a_version_has_dialback_in_the_clear_or_nothing() {
    let old = without(HEADER, " version='1.0'");
    let nameless = without(&old, "from='a.example'");
    let bare = without(&nameless, "to='b.example'");
    for header in [&old, &nameless, &bare] {
        let mut caller = Caller::new(CLEAR_ALONE);
        let heard = caller.say(header);
        let answered = heard.split_once("<stream:stream ").unwrap().1;
        assert!(!answered.contains("version=") && !heard.contains("features"), "{heard}");
        caller.say(KEY);
        assert!(caller.verdict(Verdict::Valid).contains("type='valid'"));

        let mut caller = Caller::new(OPTIONAL);
        assert!(caller.say(header).contains("<unsupported-version "));
    }
    let mut stranger = Caller::new(CLEAR_ALONE);
    let heard = stranger.say(&old.replace("a.example", "stranger.example"));
    assert!(heard.contains("<unsupported-version "), "{heard}");
}

#[test]
fn a_stream_in_the_clear_ends_with_the_terms_that_allowed_it() {
    let mut caller = Caller::new(CLEAR_ALONE);
    caller.say(HEADER);
    caller.say(KEY);
    caller.admission.partners.insert(domain("a.example"), OPTIONAL);
    assert!(caller.verdict(Verdict::Valid).contains("<forbidden "));

    let mut caller = Caller::new(CLEAR_ALONE);
    caller.say(HEADER);
    caller.say(KEY);
    caller.verdict(Verdict::Valid);
    caller.events();
    caller.admission.partners.insert(domain("a.example"), OPTIONAL);
    assert!(caller.say(MESSAGE).contains("<policy-violation "));
    assert_eq!(caller.end(), Some(CloseCause::NotAdmitted));
}

#[test]
fn keys_in_the_clear_that_nobody_verifies_are_answered_in_time() {
    let mut caller = Caller::new(CLEAR_ALONE);
    let dead_peer_max = Duration::from_secs(20);
    let limits = StreamLimits { dead_peer_max, ..StreamLimits::default() };
    caller.stream = ReceivingStream::new(limits, [7; 32], caller.now);
    caller.say(HEADER);
    caller.say(KEY);
    caller.now += limits.dead_peer_max;
    caller.stream.handle_timeout(&caller.admission, caller.now);
    assert!(caller.hear().contains("<remote-server-timeout "));
    caller.now += limits.negotiation_max;
    caller.stream.handle_timeout(&caller.admission, caller.now);
    assert!(caller.hear().contains("<policy-violation "));
}

#[test]
fn our_stream_goes_without_tls_only_where_the_peer_offers_none_and_the_terms_let_it() {
    let with_dialback = format!("<stream:features>{DIALBACK}</stream:features>");
    for features in [with_dialback.as_str(), "<stream:features/>"] {
        for terms in [ANY, SASL_FIRST, CLEAR_ALONE] {
            let mut called = Called::new(terms);
            called.say(&response(" version='1.0'>"));
            assert!(called.say(features).contains("<db:result "), "{terms}");
            called.say(VALID);
            assert_eq!(called.proof(), Some(Proof::DialbackInClear));
        }
        for terms in [OPTIONAL, SASL_ONLY, DIALBACK_ONLY, EXTERNAL_ALONE] {
            let mut called = Called::new(terms);
            called.say(&response(" version='1.0'>"));
            called.say(features);
            assert_eq!(called.end(), Some(CloseCause::TlsNotOffered), "{terms}");
        }
    }
}

#[test]
fn tls_that_the_peer_offers_is_used_unless_the_terms_support_none() {
    let offer = format!("{OFFER}</stream:features>");
    for terms in [OPTIONAL, ANY, SASL_FIRST, EXTERNAL_ALONE] {
        let mut called = Called::new(terms);
        called.say(&response(" version='1.0'>"));
        assert_eq!(called.say(&offer), STARTTLS, "{terms}");
    }
    let mut called = Called::new(CLEAR_ALONE);
    called.say(&response(" version='1.0'>"));
    assert!(called.say(&offer).contains("<db:result "));

    let mut called = Called::new(CLEAR_ALONE);
    called.say(&response(" version='1.0'>"));
    called.say(&offer.replace("/></stream", "><required/></starttls></stream"));
    assert_eq!(called.end(), Some(CloseCause::TlsNotSupported));
}

#[test]
fn a_peer_that_refused_to_begin_tls_is_not_asked_again_where_the_terms_let_it() {
    let offer = format!("{OFFER}</stream:features>");
    let mut called = Called::new(ANY);
    called.say(&response(" version='1.0'>"));
    called.say(&offer);
    called.say(REFUSED);
    assert_eq!(called.end(), Some(CloseCause::TlsRefused));

    for (terms, asks) in [(ANY, false), (OPTIONAL, true), (EXTERNAL_ALONE, true)] {
        let mut called = Called::new(terms);
        called.stream.forgo_tls();
        called.say(&response(" version='1.0'>"));
        assert_eq!(called.say(&offer).contains("<starttls "), asks, "{terms}");
    }
}

#[test]
fn our_stream_to_a_peer_without_a_version_waits_for_no_features() {
    let mut called = Called::new(CLEAR_ALONE);
    let question = VerifyRequest {
        pair: domain_pair("a.example", "b.example"),
        stream_id: "s1".to_owned(),
        key: "key".to_owned(),
    };
    called.stream.request_verification(question, called.now);
    let heard = called.say(&response(">"));
    assert!(heard.contains("<db:result ") && heard.contains("<db:verify "), "{heard}");
    called.say(VALID);
    assert_eq!(called.proof(), Some(Proof::DialbackInClear));

    let mut called = Called::new(OPTIONAL);
    called.say(&response(">"));
    assert_eq!(called.end(), Some(CloseCause::Header(HeaderError::Version)));

    let mut called = Called::new(CLEAR_ALONE);
    called.say(&without(&response(">"), " xmlns:db='jabber:server:dialback'"));
    assert_eq!(called.end(), Some(CloseCause::NothingOffered));
}

#[test]
fn a_key_that_is_refused_in_the_clear_says_why() {
    let mut called = Called::new(CLEAR_ALONE);
    called.say(&response(">"));
    called.say(
        "<db:result from='b.example' to='a.example' type='error'><error type='cancel'>\
         <policy-violation xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></db:result>",
    );
    let refused = CloseCause::DialbackRefused(StanzaCondition::PolicyViolation);
    assert_eq!(called.end(), Some(refused));
}

#[test]
fn direct_tls_is_not_used_with_a_partner_whose_terms_support_no_tls() {
    let (now, pair) = (origin(), domain_pair("a.example", "b.example"));
    let (limits, peer) = (StreamLimits::default(), Names(&["b.example"]));
    let terms = admission(&["a.example"], "b.example", CLEAR_ALONE, "secret");
    let mut stream = InitiatingStream::direct_tls(pair, &peer, limits, [7; 32], &terms, now);

    assert!(stream.poll_transmit().is_none());
    let Some(InitiatingEvent::Closed(reason)) = stream.poll_event() else { panic!() };
    assert_eq!(reason.cause, CloseCause::TlsNotSupported);
}
