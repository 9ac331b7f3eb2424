//! Requests that come to us: of servers, for their own users alone, and of nobody's server.

use sip_proto::header::HeaderName;
use sip_proto::transaction::{FlowId, Transport};

use super::{INCOMING, Stage, message, subscribe};
use crate::testing::{answered, said};

const ROMEO: &str = "sip:romeo@example.net";
const JULIET: &str = "sip:juliet@example.com";

/// Opens a connection to us from an address of the pool.
fn incoming(stage: &mut Stage) -> FlowId {
    stage.open(INCOMING, Transport::Tcp, "192.0.2.2:41000".parse().unwrap(), &[]);
    INCOMING
}

#[test]
fn a_request_of_a_user_goes_to_the_gateway_and_its_answer_back() {
    let mut stage = Stage::in_service();
    let flow = incoming(&mut stage);
    let text =
        message(ROMEO, JULIET).replace("Content-Type", "Authorization: Digest a=b\nContent-Type");
    stage.send(flow, &text);
    let (id, request) = stage.asked.pop().unwrap();
    assert_eq!(request.headers().first(HeaderName::Authorization), None);
    assert_eq!(request.headers().first(HeaderName::RecordRoute), None, "no dialog begins");
    let response = answered(&request, 202, &[]);
    stage.next_hops.handle_gateway_response(id, &response, stage.clock.now);
    stage.collect();
    assert_eq!(said(&stage.response(flow)), "202 Accepted");
    stage.next_hops.handle_gateway_response(id, &response, stage.clock.now);
    stage.collect();
    assert!(stage.is_silent());
}

#[test]
fn the_requests_of_a_dialog_come_to_us() {
    let mut stage = Stage::in_service();
    let flow = incoming(&mut stage);
    stage.send(flow, &subscribe(ROMEO, JULIET));
    let (_, request) = stage.asked.pop().unwrap();
    let own = "<sip:isthmus@gateway.example.net:5070;transport=tcp;lr>";
    assert_eq!(request.headers().first(HeaderName::RecordRoute), Some(own));
    let routed = subscribe(ROMEO, JULIET).replace("Event", &format!("Route: {own}\nEvent"));
    stage.send(flow, &routed);
    assert!(stage.asked.pop().is_some(), "we are on the route");
    stage.send(flow, &routed.replace("Route: ", "Route: <sip:192.0.2.50;lr>,"));
    assert_eq!(said(&stage.response(flow)), "403 Route Not Followed");
}

#[test]
fn a_server_speaks_for_its_own_users_alone() {
    let mut stage = Stage::in_service();
    let flow = incoming(&mut stage);
    for from in [
        "sip:eve@tls.example.net",
        "sip:eve@example.com",
        "sip:eve@sub.example.net",
        "sip:eve@192.0.2.2",
        "tel:+15551234",
    ] {
        stage.send(flow, &message(from, JULIET));
        assert_eq!(said(&stage.response(flow)), "403 Sender Is Not A User There", "{from}");
    }
    assert!(stage.asked.is_empty() && stage.closed.is_empty());
    // The other next hop is known by its certificate, wherever it is.
    let other = FlowId(INCOMING.0 + 1);
    stage.open(other, Transport::Tls, "203.0.113.5:41000".parse().unwrap(), &["sip.example.net"]);
    stage.send(other, &message("sip:eve@tls.example.net", JULIET));
    assert_eq!(stage.asked.len(), 1);
    stage.send(other, &message(ROMEO, JULIET));
    assert_eq!(said(&stage.response(other)), "403 Sender Is Not A User There");
}

#[test]
fn nobodys_server_is_told_so_and_its_connection_closed() {
    for (transport, peer, names) in [
        (Transport::Tcp, "192.0.2.8:5060", &[][..]),
        (Transport::Tcp, "[2001:db8::1]:5060", &[]),
        (Transport::Tls, "192.0.2.8:5060", &[]),
        (Transport::Tls, "192.0.2.8:5060", &["example.net"]),
    ] {
        for request in [
            message(ROMEO, JULIET),
            message(ROMEO, JULIET).replace("MESSAGE", "OPTIONS"),
            "REGISTER sip:example.net SIP/2.0\nFrom: <sip:romeo@example.net>;tag=1\n\
             To: <sip:romeo@example.net>\nCall-ID: r\nCSeq: 1 REGISTER\n"
                .to_owned(),
        ] {
            let mut stage = Stage::in_service();
            stage.open(INCOMING, transport, peer.parse().unwrap(), names);
            stage.send(INCOMING, &request);
            assert_eq!(said(&stage.response(INCOMING)), "403 Not A Next Hop Here");
            assert_eq!((stage.closed.as_slice(), stage.asked.len()), (&[INCOMING][..], 0));
        }
    }
}

#[test]
fn what_is_not_offered_is_refused_with_its_reason() {
    let mut stage = Stage::in_service();
    let flow = incoming(&mut stage);
    let with = |method: &str| {
        message(ROMEO, JULIET).replace("MESSAGE", method).replace("text/plain", "application/sdp")
    };
    let options = message(ROMEO, JULIET).replace("MESSAGE", "OPTIONS");
    stage.send(flow, options.split("Content").next().unwrap());
    let response = stage.response(flow);
    assert_eq!(said(&response), "200 OK");
    assert!(response.headers().first(HeaderName::Allow).unwrap().contains("MESSAGE"));
    for (method, expected) in [
        ("INVITE", "488 Not Acceptable Here"),
        ("REGISTER", "405 Method Not Allowed"),
        ("PUBLISH", "405 Method Not Allowed"),
    ] {
        stage.send(flow, &with(method));
        assert_eq!(said(&stage.response(flow)), expected, "{method}");
    }
    assert!(stage.asked.is_empty());
}

#[test]
fn half_a_message_is_waited_for_only_so_long() {
    let mut stage = Stage::in_service();
    let flow = incoming(&mut stage);
    stage.bytes(flow, b"MESSAGE sip:juliet@example.com SIP/2.0\r\nVia: ");
    stage.advance_with(9, &[super::A, super::B]);
    assert!(stage.closed.is_empty());
    stage.advance_with(1, &[super::A, super::B]);
    assert_eq!(stage.closed, [flow]);
}

#[test]
fn a_stranger_who_says_nothing_does_not_keep_its_place_and_a_server_does() {
    let mut stage = Stage::in_service();
    incoming(&mut stage);
    let stranger = FlowId(INCOMING.0 + 1);
    stage.open(stranger, Transport::Tcp, "192.0.2.8:5060".parse().unwrap(), &[]);
    stage.advance_with(9, &[super::A, super::B]);
    assert!(stage.closed.is_empty());
    stage.advance_with(60, &[super::A, super::B]);
    assert_eq!(stage.closed, [stranger]);
}
