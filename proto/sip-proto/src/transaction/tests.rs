//! Tests of the transaction layer with a client and a server side joined by a wire.

use std::time::Duration;

use super::*;
use crate::header::{HeaderName, TypedHeader};
use crate::testing::{epoch, outgoing, request, response};
use crate::uri::Host;

const FLOW: Flow = Flow { id: FlowId(1), transport: Transport::Tls };
const OTHER: FlowId = FlowId(2);

fn layer(limit: usize) -> TransactionLayer {
    let sent_by = SentBy { host: Host::parse("edge.example.com").unwrap(), port: None };
    let limits = TransactionLimits {
        client_transactions_max: limit,
        server_transactions_max: limit,
        ..Default::default()
    };
    TransactionLayer::new(sent_by, IdSource::new([3; 32]), limits)
}

/// A request as it stands on the wire, with a Via of the given branch.
fn incoming(method: Method, branch: Option<&str>) -> Request {
    let sent_by = SentBy { host: Host::parse("sip.example.net").unwrap(), port: None };
    let mut via = Via::new("TLS", sent_by, branch.unwrap_or("z9hG4bKx"));
    if branch.is_none() {
        via.parameters.remove("branch");
    }
    request(&outgoing(method).to_bytes(&via))
}

fn fresh(arrival: Arrival) -> ServerId {
    match arrival {
        Arrival::Fresh(id) => id,
        other => panic!("a fresh request expected: {other:?}"),
    }
}

#[test]
fn a_request_and_its_response_meet() {
    let now = epoch();
    let (mut client, mut server) = (layer(9), layer(9));
    let sent = client.send_request(&outgoing(Method::Message), FLOW, now).unwrap();
    let request = request(&client.poll_transmit().unwrap().bytes);
    assert!(request.via().branch().unwrap().starts_with("z9hG4bK"));
    let id = fresh(server.handle_request(&request, OTHER, now));
    let answer = OutgoingResponse::to(&request, StatusCode::OK, Some("t"));
    server.respond(id, &answer, now).unwrap();
    let transmit = server.poll_transmit().unwrap();
    assert_eq!(transmit.flow, OTHER);
    client.handle_response(Box::new(response(&transmit.bytes)), FLOW.id);
    match client.poll_event() {
        Some(TransactionEvent::Response(id, response)) => {
            assert_eq!((id, response.status()), (sent, StatusCode::OK));
        }
        other => panic!("a response expected: {other:?}"),
    }
    assert_eq!((client.poll_timeout(), server.poll_timeout()), (None, None));
    client.handle_response(Box::new(response(&transmit.bytes)), FLOW.id);
    assert!(client.poll_event().is_none());
}

#[test]
fn a_response_must_fit_branch_method_flow_and_have_one_via() {
    let now = epoch();
    let mut client = layer(9);
    client.send_request(&outgoing(Method::Message), FLOW, now).unwrap();
    let request = request(&client.poll_transmit().unwrap().bytes);
    let good = OutgoingResponse::to(&request, StatusCode::OK, Some("t")).to_bytes();
    let text = String::from_utf8(good.to_vec()).unwrap();
    for (from, to) in [
        ("branch=z9hG4bK", "branch=z9hG4bKx"),
        ("7 MESSAGE", "7 NOTIFY"),
        ("From:", "Via: SIP/2.0/UDP 255.255.255.255;branch=z9hG4bK1saber23\r\nFrom:"),
        ("200 OK", "100 Trying"),
    ] {
        client.handle_response(Box::new(response(text.replacen(from, to, 1).as_bytes())), FLOW.id);
        assert!(client.poll_event().is_none(), "{to}");
    }
    client.handle_response(Box::new(response(&good)), OTHER);
    assert!(client.poll_event().is_none());
    client.handle_response(Box::new(response(&good)), FLOW.id);
    assert!(client.poll_event().is_some());
}

#[test]
fn timer_f_ends_a_request_without_answer_once() {
    let now = epoch();
    let mut client = layer(9);
    let id = client.send_request(&outgoing(Method::Notify), FLOW, now).unwrap();
    assert_eq!(client.poll_timeout(), Some(now + Duration::from_secs(32)));
    client.handle_timeout(now + Duration::from_millis(31_999));
    assert!(client.poll_event().is_none());
    client.handle_timeout(now + Duration::from_secs(32));
    assert!(matches!(client.poll_event(), Some(TransactionEvent::Timeout(ended)) if ended == id));
    client.handle_timeout(now + Duration::from_secs(64));
    assert!(client.poll_event().is_none());
}

#[test]
fn a_lost_flow_ends_what_was_on_it_and_nothing_else() {
    let now = epoch();
    let mut client = layer(9);
    let lost = client.send_request(&outgoing(Method::Notify), FLOW, now).unwrap();
    let other = Flow { id: OTHER, ..FLOW };
    client.send_request(&outgoing(Method::Notify), other, now).unwrap();
    let served =
        fresh(client.handle_request(&incoming(Method::Message, Some("z9hG4bK1")), FLOW.id, now));
    client.handle_flow_closed(FLOW.id);
    assert!(matches!(client.poll_event(), Some(TransactionEvent::FlowClosed(id)) if id == lost));
    assert!(client.poll_event().is_none());
    let answer =
        OutgoingResponse::to(&incoming(Method::Message, Some("z9hG4bK1")), StatusCode::OK, None);
    assert_eq!(client.respond(served, &answer, now), Err(TransactionError::Gone));
    assert!(client.poll_timeout().is_some());
}

#[test]
fn a_request_that_has_ended_is_not_ended_by_its_flow() {
    let now = epoch();
    let mut client = layer(9);
    client.send_request(&outgoing(Method::Message), FLOW, now).unwrap();
    let answered = request(&client.poll_transmit().unwrap().bytes);
    let late = client.send_request(&outgoing(Method::Message), FLOW, now + TIMER_F / 2).unwrap();
    assert_eq!(client.poll_timeout(), Some(now + TIMER_F));
    let answer = OutgoingResponse::to(&answered, StatusCode::OK, Some("t")).to_bytes();
    client.handle_response(Box::new(response(&answer)), FLOW.id);
    assert!(matches!(client.poll_event(), Some(TransactionEvent::Response(..))));
    assert_eq!(client.poll_timeout(), Some(now + TIMER_F + TIMER_F / 2));
    client.handle_flow_closed(FLOW.id);
    assert!(matches!(client.poll_event(), Some(TransactionEvent::FlowClosed(id)) if id == late));
    assert!(client.poll_event().is_none());
    assert_eq!(client.poll_timeout(), None);
}

#[test]
fn a_repeated_request_is_absorbed_and_gets_the_last_response() {
    let now = epoch();
    let mut server = layer(9);
    for branch in [Some("z9hG4bK1"), Some("old-branch"), None] {
        let request = incoming(Method::Message, branch);
        let id = fresh(server.handle_request(&request, FLOW.id, now));
        assert_eq!(server.handle_request(&request, FLOW.id, now), Arrival::Absorbed);
        assert!(server.poll_transmit().is_none());
        let trying = OutgoingResponse::to(&request, StatusCode::TRYING, None);
        server.respond(id, &trying, now).unwrap();
        let first = server.poll_transmit();
        assert_eq!(server.handle_request(&request, FLOW.id, now), Arrival::Absorbed);
        assert_eq!(server.poll_transmit(), first);
        fresh(server.handle_request(&request, OTHER, now));
        server.handle_flow_closed(OTHER);
        let ok = OutgoingResponse::to(&request, StatusCode::OK, Some("t"));
        server.respond(id, &ok, now).unwrap();
        assert_eq!(server.respond(id, &ok, now), Err(TransactionError::Gone));
        assert!(server.poll_transmit().is_some() && server.poll_timeout().is_none());
    }
}

#[test]
fn a_refused_invite_waits_for_its_ack() {
    let now = epoch();
    let mut server = layer(9);
    let invite = incoming(Method::Invite, Some("z9hG4bK1"));
    let id = fresh(server.handle_request(&invite, FLOW.id, now));
    let accepted = OutgoingResponse::to(&invite, StatusCode::OK, Some("t"));
    assert_eq!(server.respond(id, &accepted, now), Err(TransactionError::InviteAccepted));
    let refusal = OutgoingResponse::to(&invite, StatusCode::NOT_ACCEPTABLE_HERE, Some("t"));
    server.respond(id, &refusal, now).unwrap();
    let first = server.poll_transmit();
    assert_eq!(server.handle_request(&invite, FLOW.id, now), Arrival::Absorbed);
    assert_eq!(server.poll_transmit(), first);
    let ack = incoming(Method::Ack, Some("z9hG4bK1"));
    assert_eq!(server.handle_request(&ack, FLOW.id, now), Arrival::Absorbed);
    assert_eq!((server.poll_transmit(), server.poll_timeout()), (None, None));
    assert_eq!(server.handle_request(&ack, FLOW.id, now), Arrival::Absorbed);
    assert!(server.poll_transmit().is_none());
}

#[test]
fn timer_h_ends_a_refused_invite_without_ack() {
    let now = epoch();
    let mut server = layer(9);
    let invite = incoming(Method::Invite, None);
    let id = fresh(server.handle_request(&invite, FLOW.id, now));
    let refusal = OutgoingResponse::to(&invite, StatusCode::NOT_ACCEPTABLE_HERE, Some("t"));
    server.respond(id, &refusal, now + Duration::from_secs(1)).unwrap();
    assert_eq!(server.poll_timeout(), Some(now + Duration::from_secs(33)));
    server.handle_timeout(now + Duration::from_secs(33));
    assert_eq!(server.poll_timeout(), None);
}

#[test]
fn a_cancel_is_answered_by_the_layer() {
    let now = epoch();
    let mut server = layer(9);
    let cancel = incoming(Method::Cancel, Some("z9hG4bK1"));
    server.handle_request(&cancel, FLOW.id, now);
    let unmatched = response(&server.poll_transmit().unwrap().bytes);
    assert_eq!(unmatched.status(), StatusCode::DOES_NOT_EXIST);
    fresh(server.handle_request(&incoming(Method::Invite, Some("z9hG4bK1")), FLOW.id, now));
    server.handle_request(&cancel, FLOW.id, now);
    let matched = response(&server.poll_transmit().unwrap().bytes);
    assert_eq!((matched.status(), &matched.cseq().method), (StatusCode::OK, &Method::Cancel));
    assert!(matched.to().tag().is_some());
}

#[test]
fn both_tables_are_bounded() {
    let now = epoch();
    let mut layer = layer(1);
    layer.send_request(&outgoing(Method::Message), FLOW, now).unwrap();
    let full = layer.send_request(&outgoing(Method::Message), FLOW, now);
    assert_eq!(full, Err(TransactionError::Full));
    fresh(layer.handle_request(&incoming(Method::Message, Some("z9hG4bK1")), FLOW.id, now));
    let second = incoming(Method::Message, Some("z9hG4bK2"));
    assert_eq!(layer.handle_request(&second, FLOW.id, now), Arrival::Overloaded);
    layer.handle_timeout(now + ANSWER_WAIT);
    fresh(layer.handle_request(&second, FLOW.id, now));
}

#[test]
fn methods_with_other_machines_are_not_sent() {
    let mut client = layer(9);
    for method in [Method::Invite, Method::Ack, Method::Cancel] {
        let refused = client.send_request(&outgoing(method), FLOW, epoch());
        assert_eq!(refused, Err(TransactionError::UnsupportedMethod));
    }
    assert!(client.poll_transmit().is_none());
}

#[test]
fn the_via_names_the_transport_and_nothing_of_the_peer() {
    let mut client = layer(9);
    let flow = Flow { id: FlowId(9), transport: Transport::Tcp };
    client.send_request(&outgoing(Method::Options), flow, epoch()).unwrap();
    let request = request(&client.poll_transmit().unwrap().bytes);
    let mut via = String::new();
    request.via().write(&mut via);
    assert!(via.starts_with("SIP/2.0/TCP edge.example.com;branch=z9hG4bK"), "{via}");
    assert_eq!(request.headers().rows(HeaderName::Via).count(), 1);
}

#[test]
fn a_flow_that_is_full_leaves_the_others_their_room() {
    let now = epoch();
    let mut layer = layer(4);
    let ask = |layer: &mut TransactionLayer, flow, number: u32| {
        let request = incoming(Method::Message, Some(&format!("z9hG4bK{number}")));
        layer.handle_request(&request, flow, now)
    };
    layer.limit_flow(FLOW.id, 2);
    fresh(ask(&mut layer, FLOW.id, 1));
    fresh(ask(&mut layer, FLOW.id, 2));
    assert_eq!(ask(&mut layer, FLOW.id, 3), Arrival::Overloaded);
    assert_eq!(ask(&mut layer, FLOW.id, 2), Arrival::Absorbed, "it has its place already");

    fresh(ask(&mut layer, OTHER, 1));
    fresh(ask(&mut layer, OTHER, 2));
    assert_eq!(ask(&mut layer, OTHER, 3), Arrival::Overloaded, "all together are four");
    layer.handle_flow_closed(FLOW.id);
    fresh(ask(&mut layer, OTHER, 3));
}
