//! Servers that break the rules, and strangers who play one: nothing is lost, nobody is believed.

use std::net::{Ipv4Addr, SocketAddrV4};

use tests::appliance::{INSIDE_TCP, INSIDE_TLS, Setup};
use tests::contoso::{JULIET_JID, JULIET_URI, ROMEO, ROMEO_JID, next_hop_policy, start};
use tests::kamailio::{self, Digest};
use tests::namespace::in_namespace;
use tests::prosody::Situation;
use tests::sip_user::{self, SipUser, Transport};
use tests::test_ca::{Leaf, TestCa};
use tests::wait::{Deadline, until};
use tests::xmpp_user::Event;

use super::false_next_hop::{Deed, FalseNextHop};
use super::wire::{Wire, client_config};

const FALSE: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 5);
const TRUE: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 6);

fn soon() -> Deadline {
    Deadline::after_s(30)
}

#[test]
fn whatever_a_server_does_with_a_message_it_has_one_outcome() {
    let test = "hostile::next_hop::whatever_a_server_does_with_a_message_it_has_one_outcome";
    in_namespace(test, |place| {
        let policy = next_hop_policy("tcp", &[FALSE, TRUE]);
        let setup = Setup { policy: &policy, has_next_hops: true, ..Setup::default() };
        let false_server = FalseNextHop::start(SocketAddrV4::new(FALSE, 5060));
        let mut world = start(place, &setup, Situation::Certified, |prosody| prosody);
        let identity = &world.ca.issue(&Leaf::server("sip.contoso.example"), "kamailio");
        let _true_server = kamailio::Setup {
            domain: "contoso.example",
            address: TRUE,
            accounts: &[ROMEO],
            digest: Digest::Md5,
            identity,
            gateway: None,
        }
        .start(place);
        let mut romeo = SipUser::start(place, &ROMEO);
        romeo.connect(SocketAddrV4::new(TRUE, 5060), Transport::Tcp);
        assert_eq!(romeo.register(600).status, 200);
        let mut juliet = world.juliet(place);
        let resident = world.appliance.frontend().resident_bytes();
        for deed in [Deed::Nothing, Deed::CloseInTheMiddle, Deed::Babble, Deed::Flood] {
            until("the false server in service", soon(), || {
                let (_, text) = world.appliance.explain(JULIET_JID, ROMEO_JID);
                let both = "127.0.0.5:5060 in service, 127.0.0.6:5060 in service";
                if text.contains(both) { Ok(()) } else { Err(text) }
            });
            false_server.tell(deed);
            let text = format!("{deed:?}");
            juliet.say(ROMEO_JID, &text);
            false_server.wait_for(&text, soon());
            romeo.expect_text(&text, soon());
        }
        let grown = world.appliance.frontend().resident_bytes().saturating_sub(resident);
        assert!(grown < 32 * 1024 * 1024, "{grown} bytes more");

        false_server.tell(Deed::AnswerThrice);
        until("the false server in service", soon(), || {
            let (_, text) = world.appliance.explain(JULIET_JID, ROMEO_JID);
            if text.contains("127.0.0.5:5060 in service") { Ok(()) } else { Err(text) }
        });
        for text in ["it has this one", "and this one"] {
            juliet.say(ROMEO_JID, text);
            false_server.wait_for(text, soon());
        }
        until("outcomes of all", soon(), || {
            let delivered = world.appliance.frontend_counter("gateway_messages_total", "delivered");
            if delivered == 6.0 { Ok(()) } else { Err(format!("{delivered} were delivered")) }
        });
        let events = juliet.waiting_events().into_iter();
        let messages: Vec<_> = events.filter(|it| matches!(it, Event::Message(_))).collect();
        assert_eq!(messages.len(), 0, "{messages:?}");
        let events = romeo.waiting_events().into_iter();
        let requests: Vec<_> =
            events.filter(|it| matches!(it, sip_user::Event::Request(_))).collect();
        assert_eq!(requests.len(), 0, "{requests:?}");
    });
}

/// Sends a MESSAGE in Romeo's name and returns all that comes back until the end.
fn forge(wire: &mut Wire) -> String {
    let text = format!(
        "MESSAGE {JULIET_URI} SIP/2.0\r\nVia: SIP/2.0/TCP 127.0.0.9;branch=z9hG4bKforged\r\n\
         Max-Forwards: 70\r\nFrom: <sip:{ROMEO_JID}>;tag=1\r\nTo: <{JULIET_URI}>\r\n\
         Call-ID: forged\r\nCSeq: 1 MESSAGE\r\nContent-Type: text/plain\r\n\
         Content-Length: 6\r\n\r\nforged"
    );
    wire.send(&[text.as_bytes()]);
    let answer = wire.read_to_end().expect("the connection is ended");
    String::from_utf8_lossy(answer).into_owned()
}

fn strangers_are_refused(name: &str, transport: &str, port: u16) {
    in_namespace(&format!("hostile::next_hop::{name}"), |place| {
        let policy = next_hop_policy(transport, &[FALSE]);
        let setup = Setup { policy: &policy, has_next_hops: true, ..Setup::default() };
        let mut world = start(place, &setup, Situation::Certified, |prosody| prosody);
        let other_ca = TestCa::new(place.directory(), "other-ca");
        let leaf = Leaf::server("sip.contoso.example");
        let identities = [
            Some(world.ca.issue(&Leaf::server("eve.example"), "eve")),
            Some(world.ca.issue(&leaf.clone().expired(), "expired")),
            Some(other_ca.issue(&leaf, "foreign")),
            None,
        ];
        for identity in &identities {
            let mut wire = Wire::connect(SocketAddrV4::new(*world.appliance.sip().ip(), port));
            if port == INSIDE_TLS {
                let config = client_config(world.ca.certificate(), identity.as_ref());
                wire = wire.connect_tls(config, "contoso.example");
            }
            let answer = forge(&mut wire);
            assert!(answer.starts_with("SIP/2.0 403 Not A Next Hop Here"), "{answer:?}");
        }
        let refused = world.appliance.frontend_counter("gateway_next_hop_refused_total", "403");
        assert_eq!(refused, 4.0);
        world.appliance.frontend().wait_for_line("a request of nobody's next hop", soon());
    });
}

#[test]
fn an_address_that_is_not_listed_is_refused() {
    strangers_are_refused("an_address_that_is_not_listed_is_refused", "tcp", INSIDE_TCP);
}

#[test]
fn a_certificate_of_another_name_or_authority_is_refused() {
    let name = "a_certificate_of_another_name_or_authority_is_refused";
    strangers_are_refused(name, "tls", INSIDE_TLS);
}
