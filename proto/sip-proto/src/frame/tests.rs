//! Tests of stream framing: boundaries, keep-alives, limits, and independence of chunking.

use super::*;

const HEAD: &str = "OPTIONS sip:user@example.com SIP/2.0\r\n\
    Via: SIP/2.0/TLS host.example.com;branch=z9hG4bK1\r\n\
    From: <sip:caller@example.com>;tag=1\r\n\
    To: <sip:user@example.com>\r\n\
    Call-ID: 1@example.com\r\n\
    CSeq: 1 OPTIONS\r\n";

fn with_length(length: &str, body: &str) -> Vec<u8> {
    format!("{HEAD}Content-Length: {length}\r\n\r\n{body}").into_bytes()
}

/// What came out, in words that compare.
fn frames(chunks: impl IntoIterator<Item = Bytes>, limits: Limits) -> Vec<String> {
    let mut framer = Framer::new(limits);
    let mut seen = Vec::new();
    for chunk in chunks {
        framer.handle_bytes(&chunk);
        while let Some(frame) = framer.poll_frame() {
            seen.push(match frame {
                Frame::Ping => "ping".to_owned(),
                Frame::Message(message) => format!("{:?}", message.to_bytes()),
                Frame::Failure(failure) => {
                    let answer = failure.response("t").map(|response| response.to_bytes());
                    format!("{failure} close={} {answer:?}", failure.close)
                }
            });
        }
    }
    seen
}

/// Feeds the bytes whole and one by one, and returns what both ways give.
fn both_ways(bytes: &[u8]) -> Vec<String> {
    let whole = frames([Bytes::copy_from_slice(bytes)], Limits::default());
    let single = bytes.chunks(1).map(Bytes::copy_from_slice);
    assert_eq!(frames(single, Limits::default()), whole);
    whole
}

#[test]
fn messages_follow_each_other_without_gap() {
    let mut bytes = with_length("3", "a\r\n");
    bytes.extend(with_length("0", ""));
    let seen = both_ways(&bytes);
    assert_eq!(seen.len(), 2);
    assert!(seen[0].contains("Content-Length: 3\\r\\n\\r\\na\\r\\n"));
    assert!(seen[1].contains("Content-Length: 0"));
}

#[test]
fn two_line_ends_are_a_ping_and_one_is_nothing() {
    assert_eq!(both_ways(b"\r\n"), Vec::<String>::new());
    assert_eq!(both_ways(b"\r\n\r\n"), ["ping"]);
    assert_eq!(both_ways(b"\r\n\r\n\r\n\r\n\r\n"), ["ping", "ping"]);
    let mut bytes = b"\r\n".to_vec();
    bytes.extend(with_length("0", ""));
    bytes.extend(b"\r\n\r\n");
    let seen = both_ways(&bytes);
    assert_eq!(seen.len(), 2);
    assert_eq!(seen[1], "ping");
}

#[test]
fn a_length_that_is_not_certain_is_answered_and_ends_the_stream() {
    let over_limit = (Limits::default().body_bytes_max + 1).to_string();
    for length in [
        "",
        "-1",
        "-999",
        "+5",
        "0x10",
        "5 5",
        "5,5",
        "2147483648",
        "4294967328",
        "18446744073709551616",
        "18446744073709551600",
        &over_limit,
    ] {
        let mut bytes = with_length(length, "hello");
        bytes.extend(with_length("0", ""));
        let seen = both_ways(&bytes);
        assert_eq!(seen.len(), 1, "{length}");
        assert!(seen[0].starts_with("message refused with 400"), "{}", seen[0]);
        assert!(seen[0].contains("close=true Some(b\"SIP/2.0 400 "), "{}", seen[0]);
    }
}

#[test]
fn a_missing_or_second_length_ends_the_stream() {
    let missing = format!("{HEAD}\r\nMESSAGE sip:evil@example.com SIP/2.0\r\n");
    assert!(both_ways(missing.as_bytes())[0].contains("Missing Content-Length"));
    for second in ["Content-Length: 13", "l: 13", "L :13", "content-length\t: 5"] {
        let bytes = format!("{HEAD}Content-Length: 13\r\n{second}\r\n\r\n");
        assert!(both_ways(bytes.as_bytes())[0].contains("Repeated Content-Length"), "{second}");
    }
}

#[test]
fn the_compact_length_with_spaces_counts() {
    let seen = both_ways(format!("{HEAD}l   : 0005\r\n\r\nhello").as_bytes());
    assert!(seen[0].contains("Content-Length: 5\\r\\n\\r\\nhello"), "{}", seen[0]);
}

#[test]
fn line_ends_other_than_crlf_end_the_stream() {
    for bad in [
        HEAD.replace("To:", "X: a\nTo:"),
        HEAD.replace("To:", "X: a\rTo:"),
        HEAD.replace("\r\nTo:", "\n\rTo:"),
        "\nOPTIONS".to_owned(),
        "\rOPTIONS".to_owned(),
        HEAD.replace("\r\n", "\n"),
    ] {
        let seen = both_ways(format!("{bad}l: 0\r\n\r\n").as_bytes());
        assert_eq!(seen.len(), 1, "{bad:?}");
        assert!(seen[0].contains("close=true"), "{bad:?}");
    }
}

#[test]
fn a_broken_message_with_a_certain_end_does_not_end_the_stream() {
    let mut bytes = HEAD.replace("CSeq: 1", "CSeq: x").into_bytes();
    bytes.extend(b"l: 5\r\n\r\nhello");
    bytes.extend(with_length("0", ""));
    let seen = both_ways(&bytes);
    assert!(seen[0].contains("Malformed CSeq Header Field close=false"), "{}", seen[0]);
    assert!(seen[1].contains("OPTIONS sip:user@example.com"));
}

#[test]
fn what_is_not_sip_ends_the_stream_without_an_answer() {
    for bytes in [
        &b"GET / HTTP/1.1\r\nHost: example.com\r\n\r\n"[..],
        b"<?xml version='1.0'?>\r\n\r\n",
        b"INVITE sip:alan@jasomi.com\r\nTO : alan@jasomi.com\r\n\r\n",
    ] {
        let seen = both_ways(bytes);
        assert_eq!(seen.len(), 1);
        assert!(seen[0].ends_with("close=true None"), "{}", seen[0]);
    }
}

#[test]
fn a_head_is_bounded_while_it_comes() {
    let limits = Limits { head_bytes_max: 1000, ..Limits::default() };
    let head = |length: usize| {
        let fixed = HEAD.len() + "l: 0\r\nX: \r\n\r\n".len();
        format!("{HEAD}l: 0\r\nX: {}\r\n\r\n", "x".repeat(length - fixed))
    };
    let fits = frames([Bytes::from(head(1000))], limits);
    assert!(fits[0].contains("OPTIONS"), "{}", fits[0]);
    let whole = frames([Bytes::from(head(1001))], limits);
    assert!(whole[0].contains("513") && whole[0].contains("Call-ID: 1@example.com"));
    let endless = Bytes::from(head(5000)).slice(..1001);
    let single: Vec<Bytes> = endless.chunks(1).map(Bytes::copy_from_slice).collect();
    assert_eq!(frames(single, limits)[0].split(' ').nth(3), Some("513:"));
}

#[test]
fn a_body_waits_for_all_of_its_bytes() {
    let bytes = with_length("9999", "only this");
    assert_eq!(both_ways(&bytes), Vec::<String>::new());
    let mut framer = Framer::new(Limits::default());
    assert!(!framer.is_inside_message());
    framer.handle_bytes(&bytes);
    assert!(framer.poll_frame().is_none());
    assert!(framer.is_inside_message());
}

#[test]
fn a_message_that_stays_incomplete_is_answered_and_never_processed() {
    let end = |bytes: &[u8]| {
        let mut framer = Framer::new(Limits::default());
        framer.handle_bytes(bytes);
        assert!(framer.poll_frame().is_none());
        let failure = framer.handle_end();
        framer.handle_bytes(&with_length("0", ""));
        assert!(framer.poll_frame().is_none() && framer.handle_end().is_none());
        failure.map(|failure| {
            assert!(failure.close);
            let answer = failure.response("t").map(|response| response.to_bytes());
            (failure.reason_phrase, answer.is_some())
        })
    };
    assert_eq!(end(b""), None);
    assert_eq!(end(b"\r\n"), None);
    let head = Some(("Incomplete Header Fields".to_owned(), true));
    assert_eq!(end(HEAD.as_bytes()), head);
    assert_eq!(end(b"OPTIONS sip:a"), Some(("Incomplete Header Fields".to_owned(), false)));
    let body = with_length("9", "x");
    assert_eq!(end(&body), Some(("Incomplete Body".to_owned(), true)));
    let broken = String::from_utf8(body).unwrap().replace("CSeq: 1", "CSeq: x");
    assert_eq!(end(broken.as_bytes()), Some(("Malformed CSeq Header Field".to_owned(), true)));
}

#[test]
fn nothing_is_read_after_the_end() {
    let mut framer = Framer::new(Limits::default());
    framer.handle_bytes(b"\n");
    assert!(matches!(framer.poll_frame(), Some(Frame::Failure(_))));
    framer.handle_bytes(&with_length("0", ""));
    assert!(framer.poll_frame().is_none());
    assert_eq!(framer.buffer.len(), 0);
}
