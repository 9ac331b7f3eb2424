//! The engine against another implementation: what sipx refuses of the corpus, we refuse.

use std::collections::BTreeSet;
use std::path::PathBuf;

use bytes::Bytes;
use proptest::prelude::*;
use sip_proto::inspect::{Capabilities, MethodRules, inspect};
use sip_proto::limits::Limits;
use sip_proto::message::Message;
use sip_proto::uri::Scheme;
use sip_proto::{Method, parse};

/// What we accept although the oracle refuses it, with the reason.
const ACCEPTED_BY_US: &[(&str, &str)] =
    &[("inv2543.dat", "Max-Forwards is missing, which RFC 3261 s.16.3 lets pass")];

const ANY: Capabilities = Capabilities {
    methods: &[
        supporting(Method::Register),
        supporting(Method::Message),
        supporting(Method::Options),
        supporting(Method::Invite),
    ],
    schemes: &[Scheme::Sip, Scheme::Sips],
    extensions: &[],
};

const fn supporting(method: Method) -> MethodRules {
    let understood = &["application/sdp", "multipart/mixed", "text/plain"];
    MethodRules { method, understood, generated: &[] }
}

fn we_accept(bytes: &Bytes) -> bool {
    match parse::datagram(bytes, &Limits::default()) {
        Ok(Message::Request(request)) => inspect(&request, &ANY).is_ok(),
        Ok(Message::Response(_)) => true,
        Err(_) => false,
    }
}

fn oracle_accepts(bytes: &Bytes) -> bool {
    sipx_sip::parse_datagram(bytes.clone(), &sipx_sip::Limits::datagram())
        .is_ok_and(|message| sipx_sip::validate(&message).is_empty())
}

fn corpus() -> Vec<(String, Bytes)> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/torture/rfc4475");
    let entries = std::fs::read_dir(folder).expect("the corpus");
    let mut files: Vec<(String, Bytes)> = entries
        .map(|entry| {
            let path = entry.expect("a file").path();
            let name = path.file_name().expect("a name").to_string_lossy().into_owned();
            (name, Bytes::from(std::fs::read(path).expect("a file")))
        })
        .collect();
    files.sort();
    files
}

#[test]
fn what_the_oracle_refuses_of_the_corpus_we_refuse() {
    let disagreements: BTreeSet<String> = corpus()
        .into_iter()
        .filter(|(_, bytes)| we_accept(bytes) && !oracle_accepts(bytes))
        .map(|(name, _)| name)
        .collect();
    let known: BTreeSet<String> =
        ACCEPTED_BY_US.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(disagreements, known);
}

proptest! {
    /// Both must see the same message in bytes of the corpus that were changed in one place, as
    /// far as the answer goes: method, number of header fields, and body.
    #[test]
    fn both_see_the_same_message_where_both_see_one(
        file in 0..50_usize,
        position in any::<prop::sample::Index>(),
        byte in any::<u8>(),
    ) {
        let corpus = corpus();
        let (name, bytes) = &corpus[file % corpus.len()];
        let mut changed = bytes.to_vec();
        let position = position.index(changed.len());
        changed[position] = byte;
        let changed = Bytes::from(changed);
        let ours = parse::datagram(&changed, &Limits::default());
        let theirs = sipx_sip::parse_datagram(changed.clone(), &sipx_sip::Limits::datagram());
        let both = (ours, theirs);
        if let (Ok(Message::Request(ours)), Ok(sipx_sip::Message::Request(theirs))) = both {
            let methods = (ours.method().as_str().as_bytes(), theirs.method.as_bytes());
            prop_assert_eq!(methods.0, methods.1, "{}", name);
            prop_assert_eq!(ours.body(), theirs.body(), "{}", name);
            let with_length = usize::from(
                theirs.headers.get(&sipx_sip::HeaderName::ContentLength).is_some(),
            );
            prop_assert_eq!(ours.headers().iter().count() + with_length, theirs.headers.len());
        }
    }
}
