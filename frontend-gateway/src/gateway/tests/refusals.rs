//! What does not cross: policy, addresses, methods, and what an edge must not send.

use link::wire::{Attempt, FromEdge};

use super::{A, Stage};
use crate::edges::{AddressState, EdgeAddress};
use crate::testing::{header, jid, said, stanza};

fn x2s(from: &str, to: &str) -> String {
    format!("<message from='{from}' to='{to}'><body>x</body></message>")
}

fn s2x(from: &str, to: &str) -> String {
    format!(
        "MESSAGE sip:{to} SIP/2.0\nFrom: <sip:{from}>;tag=1\nTo: <sip:{to}>\nCall-ID: c\n\
         CSeq: 1 MESSAGE\nContent-Type: text/plain\n\nx"
    )
}

#[test]
fn policy_refuses_a_partners_message_with_its_rule() {
    for (from, to, words) in [
        ("juliet@example.com", "hermit@example.net", "may not communicate"),
        ("someone@public.example", "romeo@example.net", "must add this contact"),
        ("enemy@example.com", "romeo@example.net", "does not accept this contact"),
    ] {
        let mut stage = Stage::new();
        stage.contacts.decide(&jid("romeo@example.net"), &jid("enemy@example.com"), false);
        let sequence = stage.stanza(&x2s(&format!("{from}/r"), to));
        assert_eq!(stage.refusal(sequence), "forbidden", "{from}");
        let text = &stage.outcome(sequence).unwrap().as_ref().unwrap_err().text;
        assert!(text.contains(words), "{text}");
        assert!(stage.requests.is_empty());
    }
}

#[test]
fn a_contact_of_an_unverified_partner_may_write_once_it_was_added() {
    let mut stage = Stage::new();
    stage.contacts.decide(&jid("romeo@example.net"), &jid("someone@public.example"), true);
    stage.stanza(&x2s("someone@public.example/r", "romeo@example.net"));
    assert_eq!(stage.requests.len(), 1);
}

#[test]
fn policy_refuses_a_local_users_message_with_its_rule() {
    for (from, to, expected) in [
        ("hermit@example.net", "juliet@example.com", "403 hermit@example.net may not"),
        ("romeo@example.net", "juliet@nowhere.example", "404 nowhere.example is not"),
        ("romeo@evil.example", "juliet@example.com", "403 evil.example is not served here"),
        ("romeo@example.net", "paris@example.net", "404 example.net is not"),
    ] {
        let mut stage = Stage::new();
        stage.sip(&s2x(from, to));
        let response = said(&stage.only_response());
        assert!(response.starts_with(expected), "{response}");
        assert!(stage.stanzas.is_empty());
    }
}

#[test]
fn a_user_who_denied_a_contact_may_still_write_to_it() {
    let mut stage = Stage::new();
    stage.contacts.decide(&jid("romeo@example.net"), &jid("enemy@example.com"), false);
    stage.sip(&s2x("romeo@example.net", "enemy@example.com"));
    assert_eq!(stage.stanzas.len(), 1);
}

#[test]
fn a_sips_address_anywhere_is_refused_with_the_warning() {
    let plain = s2x("romeo@example.net", "juliet@example.com");
    for text in [
        plain.replace("MESSAGE sip:", "MESSAGE sips:"),
        plain.replace("To: <sip:", "To: <sips:"),
        plain.replace("From: <sip:", "From: <sips:"),
    ] {
        let mut stage = Stage::new();
        stage.sip(&text);
        let response = stage.only_response();
        assert_eq!(response.status().code(), 480, "{text}");
        let warning = header(response.headers(), "Warning");
        assert_eq!(warning, "380 front.example.net \"SIPS Not Allowed\"");
        assert!(stage.stanzas.is_empty());
    }
}

#[test]
fn what_no_uas_takes_is_refused_with_what_would_be_taken() {
    let plain = s2x("romeo@example.net", "juliet@example.com");
    let cases: [(String, u16, &str, &str); 11] = [
        (plain.replace("Call-ID", "Max-Forwards: 0\nCall-ID"), 483, "", ""),
        (plain.replace("MESSAGE", "INVITE"), 405, "Allow", "MESSAGE"),
        (plain.replace("MESSAGE", "REFER"), 405, "Allow", "SUBSCRIBE"),
        (plain.replace("MESSAGE", "FROBNICATE"), 501, "Allow", "MESSAGE"),
        (plain.replace("Call-ID", "Require: 100rel\nCall-ID"), 420, "Unsupported", "100rel"),
        (plain.replace("text/plain", "image/png"), 415, "Accept", "text/plain"),
        (
            plain.replace("Call-ID", "Content-Encoding: gzip\nCall-ID"),
            415,
            "Accept-Encoding",
            "identity",
        ),
        (plain.replace("MESSAGE sip:juliet@", "MESSAGE tel:+1"), 416, "", ""),
        (plain.replace("sip:juliet@", "sip:"), 404, "", ""),
        (plain.replace("sip:juliet@", "sip:%C3%28@"), 404, "", ""),
        (plain.replace("CSeq: 1 MESSAGE", "CSeq: 1 NOTIFY"), 400, "", ""),
    ];
    for (text, code, name, value) in cases {
        let mut stage = Stage::new();
        stage.sip(&text);
        let response = stage.only_response();
        assert_eq!(response.status().code(), code, "{text}\n{}", said(&response));
        assert!(header(response.headers(), name).contains(value), "{text}");
        assert!(stage.stanzas.is_empty(), "{text}");
    }
}

#[test]
fn a_message_without_text_is_refused() {
    let message = s2x("romeo@example.net", "juliet@example.com");
    for (kind, content) in [("text/plain", ""), ("text/html", "<p></p>")] {
        let mut stage = Stage::new();
        let with_content = message.replace("\n\nx", &format!("\n\n{content}"));
        stage.sip(&with_content.replace("text/plain", kind));
        assert_eq!(said(&stage.only_response()), "400 The Message Has No Text", "{kind}");
        assert!(stage.stanzas.is_empty(), "{kind}");
    }
}

#[test]
fn an_envelope_is_opened_once_and_one_around_no_text_is_refused_with_what_would_be_taken() {
    let message =
        s2x("romeo@example.net", "juliet@example.com").replace("text/plain", "message/cpim");
    let with_content = |content: &str| message.replace("\n\nx", &format!("\n\n{content}"));
    let around = |kind: &str| {
        format!("From: <im:romeo@example.net>\r\n\r\nContent-Type: {kind}\r\n\r\nNeither")
    };
    let mut stage = Stage::new();
    stage.sip(&with_content(&around("text/plain;charset=utf-8")));
    assert_eq!(stage.only_stanza().text("body"), "Neither");
    for kind in ["message/cpim", "image/png"] {
        let mut stage = Stage::new();
        stage.sip(&with_content(&around(kind)));
        let response = stage.only_response();
        assert_eq!(response.status().code(), 415, "{kind}");
        assert!(header(response.headers(), "Accept").contains("text/html"), "{kind}");
        assert!(stage.stanzas.is_empty(), "{kind}");
    }
}

#[test]
fn options_are_answered_with_the_methods() {
    let mut stage = Stage::new();
    stage.sip(
        "OPTIONS sip:example.com SIP/2.0\nFrom: <sip:romeo@example.net>;tag=1\n\
         To: <sip:example.com>\nCall-ID: c\nCSeq: 1 OPTIONS",
    );
    let response = stage.only_response();
    assert_eq!(response.status().code(), 200);
    assert!(header(response.headers(), "Allow").contains("SUBSCRIBE"));
}

#[test]
fn a_request_inside_of_a_dialog_that_does_not_exist_gets_481() {
    let message = s2x("romeo@example.net", "juliet@example.com");
    let message =
        message.replace("To: <sip:juliet@example.com>", "To: <sip:juliet@example.com>;tag=9");
    let subscribe = message.replace("MESSAGE", "SUBSCRIBE").replace(
        "Content-Type: text/plain\n\nx",
        "Event: presence\nContact: <sip:romeo@192.0.2.1>",
    );
    let ending = format!("{}\nExpires: 0", subscribe.trim_end());
    for text in [message, subscribe, ending] {
        let mut stage = Stage::new();
        stage.sip(&text);
        assert_eq!(stage.only_response().status().code(), 481, "{text}");
    }
}

#[test]
fn an_edge_that_sends_what_it_must_not_gets_it_back_and_nothing_comes_of_it() {
    let good = x2s("juliet@example.com/r", "romeo@example.net");
    let envelope = |text: &str| link::wire::Envelope {
        sequence: 1,
        id: bytes::Bytes::copy_from_slice(&[1; 16]),
        local_domain: "example.net".into(),
        remote_domain: "example.com".into(),
        stanza: xmpp_proto::xml::write_document(&stanza(text)),
        correlation_id: "c".into(),
        facts: None,
    };
    let of_domains = |local: &str, remote: &str, text: &str| {
        let (local_domain, remote_domain) = (local.to_owned(), remote.to_owned());
        link::wire::Envelope { local_domain, remote_domain, ..envelope(text) }
    };
    for envelope in [
        envelope(&good.replace("@example.com", "@public.example")),
        envelope(&good.replace("@example.net", "@other.example")),
        envelope(&good.replace(" from='juliet@example.com/r'", "")),
        envelope(&good.replace(" to='romeo@example.net'", "")),
        envelope(&good.replace("message", "missive")),
        of_domains("other.example", "example.com", &good.replace("@example.net", "@other.example")),
        of_domains("example.net", "evil.example", &good.replace("@example.com", "@evil.example")),
        link::wire::Envelope { stanza: bytes::Bytes::from_static(b"<x"), ..envelope(&good) },
    ] {
        let mut stage = Stage::new();
        stage.envelope(A, envelope);
        assert_eq!(stage.refusal(1), "forbidden");
        assert!(stage.requests.is_empty());
    }
}

#[test]
fn an_envelope_with_an_id_of_the_wrong_length_is_refused() {
    let mut stage = Stage::new();
    let text = x2s("juliet@example.com/r", "romeo@example.net");
    let envelope = link::wire::Envelope {
        sequence: 1,
        id: bytes::Bytes::from_static(b"short"),
        local_domain: "example.net".into(),
        remote_domain: "example.com".into(),
        stanza: xmpp_proto::xml::write_document(&stanza(&text)),
        correlation_id: "c".into(),
        facts: None,
    };
    stage.envelope(A, envelope);
    assert_eq!(stage.refusal(1), "bad-request");
}

#[test]
fn presence_of_an_unknown_type_is_refused_and_that_of_the_domain_ignored() {
    let mut stage = Stage::new();
    let presence = |kind: &str, to: &str| {
        format!("<presence type='{kind}' from='juliet@example.com' to='{to}'/>")
    };
    let sequence = stage.stanza(&presence("frobnicate", "romeo@example.net"));
    assert_eq!(stage.refusal(sequence), "bad-request");
    for kind in ["subscribe", "probe", "unavailable"] {
        let sequence = stage.stanza(&presence(kind, "example.net"));
        assert_eq!(stage.outcome(sequence), Some(&Ok(())));
    }
    assert!(stage.requests.is_empty() && stage.stanzas.is_empty());
}

#[test]
fn what_an_edge_says_of_streams_counts_only_between_domains_that_the_policy_names() {
    use link::wire::stream_report::State;
    let mut stage = Stage::new();
    let address = ([127, 0, 0, 3], 23456).into();
    let at = EdgeAddress { behind: "edge".into(), address };
    stage.gateway.handle_edge_address(at, AddressState::Attached(A), stage.clock.now);
    for (domain, state, streams) in [
        ("evil.example", State::Established, 0),
        ("evil.example", State::Open, 0),
        ("not a domain", State::Open, 0),
        ("example.com", State::Open, 1),
        ("example.com", State::Established, 1),
        ("example.com", State::Failed, 1),
        ("example.com", State::Closed, 0),
    ] {
        stage.report(domain, state);
        let shown = stage.gateway.describe_edges(stage.clock.now);
        assert_eq!(shown.lines().count() - 1, streams, "{domain} {state:?}: {shown}");
    }
}

#[test]
fn what_an_edge_says_of_attempts_is_kept_cut_and_only_with_domains() {
    let attempt = |remote: &str, local: &str| Attempt {
        remote_domain: remote.into(),
        local_domain: local.into(),
        failure: "x".repeat(100_000),
        details: "y\n".repeat(100_000),
        ..Attempt::default()
    };
    let mut stage = Stage::new();
    let attempts = vec![
        attempt("not a domain", "example.net"),
        attempt("evil.example", "not a domain"),
        attempt("", ""),
        attempt("EVIL.example", ""),
        attempt("example.com", "example.net"),
    ];
    stage.frame(A, FromEdge { attempts, ..FromEdge::default() });
    let kept = stage.gateway.edges().attempts(|_| true, None);
    assert_eq!(kept.len(), 2);
    let of_stranger = stage.gateway.edges().attempts(|domain| domain == "evil.example", None);
    let told = of_stranger[0].describe(stage.clock.now);
    assert!(told.contains("from no domain of ours to evil.example"), "{}", &told[..200]);
    assert!(told.len() < 10_000, "{}", told.len());
}
