//! A partner whose row lets streams go without TLS, and one whose row changes.

use xmpp_proto::stream::DialbackSecret;

use super::*;

const REFUSED: &str = "<failure xmlns='urn:ietf:params:xml:ns:xmpp-tls'/></stream:stream>";
const CLEAR: &str = "<stream:features><starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>\
    <dialback xmlns='urn:xmpp:features:dialback'/></stream:features>";
const VALID: &str = "<db:result xmlns:db='jabber:server:dialback' from='fabrikam.example' \
    to='contoso.example' type='valid'/>";

fn with_terms(tls: TlsTerms, sasl: SaslTerms) -> Admitted {
    let mut admitted = admitted(LIMITS);
    let terms = StreamTerms::new(tls, sasl, true).unwrap();
    admitted.streams.partners.insert(domain("fabrikam.example"), terms);
    admitted.streams.dialback_secrets.current = Some(DialbackSecret::new(b"secret"));
    admitted
}

fn connected(rig: &mut Rig) -> String {
    rig.partner.handle_connected([7; 32], &rig.admitted, rig.now);
    rig.hear(HEADER);
    rig.hear(CLEAR);
    rig.transmitted()
}

#[test]
fn the_attempt_after_a_refusal_of_tls_goes_without_it_where_the_row_allows_that() {
    let mut rig = Rig::new(LIMITS);
    rig.admit(with_terms(TlsTerms::Optional, SaslTerms::Optional));
    rig.send(1, 1);
    rig.effects();
    assert_eq!(rig.locate(&["one", "other"]), ["one"]);
    assert!(connected(&mut rig).contains("<starttls "));
    rig.hear(REFUSED);
    assert_eq!(rig.tried(), ["one"], "the same server is tried at once");
    assert!(connected(&mut rig).contains("<db:result "));
    rig.lose();
    assert_eq!(rig.tried(), ["other"]);
    assert!(connected(&mut rig).contains("<starttls "), "another server has refused nothing");
    rig.hear(REFUSED);
    assert_eq!(rig.tried(), ["other"]);
    assert!(connected(&mut rig).contains("<db:result "));
    rig.hear(VALID);
    assert!(rig.transmitted().starts_with('1'), "the stanza goes out");

    rig.lose();
    rig.pass(SECOND);
    rig.send(2, 1);
    assert_eq!(rig.connects(), 1);
    assert!(connected(&mut rig).contains("<starttls "), "TLS is tried again");
}

#[test]
fn neither_a_handshake_that_fails_nor_a_row_without_dialback_leads_away_from_tls() {
    let mut rig = Rig::new(LIMITS);
    rig.admit(with_terms(TlsTerms::Optional, SaslTerms::Optional));
    rig.send(1, 1);
    assert_eq!(rig.connects(), 1);
    connected(&mut rig);
    rig.hear(PROCEED);
    rig.partner.handle_disconnect(Disconnect::TlsFailed, rig.now);
    rig.pass(SECOND);
    assert_eq!(rig.connects(), 1);
    assert!(connected(&mut rig).contains("<starttls "));

    let mut rig = Rig::new(LIMITS);
    rig.admit(with_terms(TlsTerms::Required, SaslTerms::Optional));
    rig.send(1, 1);
    assert_eq!(rig.connects(), 1);
    connected(&mut rig);
    rig.hear(REFUSED);
    assert_eq!(rig.outcomes(), [(1, bounced(StanzaCondition::RemoteServerTimeout))]);
}

#[test]
fn a_stream_that_another_row_does_not_accept_is_closed_at_once() {
    let mut rig = Rig::open(LIMITS);
    rig.admit(with_terms(TlsTerms::Optional, SaslTerms::Required));
    assert_eq!(rig.transmitted(), "", "EXTERNAL is accepted there too");
    rig.admit(with_terms(TlsTerms::Required, SaslTerms::NotSupported));
    let farewell = rig.transmitted();
    assert!(farewell.contains("<reset "), "{farewell}");
}
