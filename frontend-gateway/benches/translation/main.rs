//! Messages a second: translation alone, and one message through the whole front end without IO.

mod stage;

use divan::counter::ItemsCount;
use divan::{Bencher, black_box};
use frontend_gateway::clock::Now;
use frontend_gateway::pidf;
use frontend_gateway::translate::message::{Identifiers, s2x_message, x2s_message, x2s_text};
use frontend_gateway::translate::presence::{
    s2x_presence, s2x_stanza, x2s_available, x2s_document, x2s_tuple,
};
use sip_proto::header::{CallId, TypedHeader};
use sip_proto::message::Message;
use xmpp_proto::jid::Jid;
use xmpp_proto::limits::Limits;
use xmpp_proto::xml::{Element, parse_document};

use stage::{JULIET, ROMEO, Stage};

const PRESENCE: &str = "<presence xmlns='jabber:server' \
    from='juliet@capulet.example/balcony' to='romeo@montague.example' xml:lang='en'>\
    <show>away</show><status>on the balcony &amp; waiting</status><priority>5</priority>\
    </presence>";

fn main() {
    divan::main();
}

fn jid(text: &str) -> Jid {
    Jid::parse(text).expect("the address is valid")
}

fn element(text: &str) -> Element {
    parse_document(text.as_bytes(), &Limits::AFTER_AUTHENTICATION).expect("the stanza is valid")
}

#[divan::bench(sample_size = 100)]
fn stanza_to_message(bencher: Bencher<'_, '_>) {
    let stanza = element(&stage::stanza());
    let (from, to) = (jid(JULIET), jid(ROMEO));
    let call_id = CallId::parse("9E97FB43-85F4-4A00-8751-1124FD4C7B2E").expect("it is a Call-ID");
    let identifiers =
        Identifiers { call_id: &call_id, from_tag: "a73kszlfl", sequence_number: 4711 };
    bencher.counter(ItemsCount::new(1_usize)).bench_local(|| {
        let text = x2s_text(black_box(&stanza), None).expect("the stanza has a body");
        x2s_message(&from, &to, &text, identifiers)
    });
}

#[divan::bench(sample_size = 100)]
fn message_to_stanza(bencher: Bencher<'_, '_>) {
    let Message::Request(request) = stage::message(&stage::request(1)) else {
        unreachable!("a MESSAGE is a request")
    };
    let (from, to, now) = (jid(ROMEO), jid(JULIET), Now::read());
    bencher
        .counter(ItemsCount::new(1_usize))
        .bench_local(|| s2x_message(black_box(&request), &from, &to, "id", "thread", now));
}

#[divan::bench(sample_size = 100)]
fn presence_to_document(bencher: Bencher<'_, '_>) {
    let stanza = element(PRESENCE);
    let juliet = jid(JULIET);
    bencher.counter(ItemsCount::new(1_usize)).bench_local(|| {
        let available = x2s_available(black_box(&stanza), None);
        let tuple = x2s_tuple(&juliet, Some(&available)).expect("Juliet has a SIP address");
        pidf::write(&x2s_document(&juliet, vec![tuple]).expect("Juliet has a SIP address"))
    });
}

#[divan::bench(sample_size = 100)]
fn document_to_presence(bencher: Bencher<'_, '_>) {
    let (juliet, romeo) = (jid(JULIET), jid(ROMEO));
    let available = x2s_available(&element(PRESENCE), None);
    let tuple = x2s_tuple(&juliet, Some(&available)).expect("Juliet has a SIP address");
    let document = x2s_document(&juliet, vec![tuple]).expect("Juliet has a SIP address");
    let document = pidf::write(&document);
    bencher.counter(ItemsCount::new(1_usize)).bench_local(|| {
        let document = pidf::parse(black_box(&document)).expect("we wrote it");
        let states = s2x_presence(&document);
        states.iter().map(|state| s2x_stanza(state, &juliet, &romeo)).collect::<Vec<_>>()
    });
}

/// From the envelope of an edge to its settlement and the outcome: policy, journal, home, device.
#[divan::bench(sample_size = 100)]
fn whole_message_x2s(bencher: Bencher<'_, '_>) {
    let mut stage = Stage::new();
    bencher.counter(ItemsCount::new(1_usize)).bench_local(|| stage.carry_x2s());
}

/// From the MESSAGE of a device to its answer: home, policy, journal, envelope, settlement.
#[divan::bench(sample_size = 100)]
fn whole_message_s2x(bencher: Bencher<'_, '_>) {
    let mut stage = Stage::new();
    bencher.counter(ItemsCount::new(1_usize)).bench_local(|| stage.carry_s2x());
}
