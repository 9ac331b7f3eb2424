//! Our two machines against each other, with a virtual clock, and each against words of a peer.

mod bidi;
mod delivery;
mod direct_tls;
mod initiating;
mod pair;
mod properties;
mod receiving;
mod without_tls;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::*;
use crate::jid::Domain;
use crate::limits::StreamLimits;
use crate::ns;
use crate::xml::{Element, write_stanza};

const HEADER: &str = "<stream:stream xmlns='jabber:server' \
    xmlns:stream='http://etherx.jabber.org/streams' xmlns:db='jabber:server:dialback' \
    from='a.example' to='b.example' version='1.0' xml:lang='de'>";

const OPTIONAL: StreamTerms = terms(TlsTerms::Required, SaslTerms::Optional, true);
const BIDI: StreamTerms = OPTIONAL.with_bidi(true);
const SASL_ONLY: StreamTerms = terms(TlsTerms::Required, SaslTerms::Required, false);
const DIALBACK_ONLY: StreamTerms = terms(TlsTerms::Required, SaslTerms::NotSupported, true);

const fn terms(tls: TlsTerms, sasl: SaslTerms, dialback: bool) -> StreamTerms {
    match StreamTerms::new(tls, sasl, dialback) {
        Ok(terms) => terms,
        Err(_) => panic!("the row is invalid"),
    }
}

#[expect(clippy::disallowed_methods, reason = "a virtual clock starts somewhere")]
fn origin() -> Instant {
    Instant::now()
}

fn domain(name: &str) -> Domain {
    Domain::parse(name).unwrap()
}

fn domain_pair(local: &str, remote: &str) -> DomainPair {
    DomainPair { local: domain(local), remote: domain(remote) }
}

/// A server of these domains that admits one partner domain.
fn admission(locals: &[&str], partner: &str, terms: StreamTerms, secret: &str) -> Admission {
    Admission {
        local_domains: locals.iter().map(|name| domain(name)).collect(),
        partners: BTreeMap::from([(domain(partner), terms)]),
        dialback_secrets: DialbackSecrets {
            current: Some(DialbackSecret::new(secret.as_bytes())),
            previous: None,
        },
    }
}

/// A certificate that proves these domains.
#[derive(Clone)]
struct Names(&'static [&'static str]);

impl PeerCertificate for Names {
    fn proves(&self, domain: &Domain) -> bool {
        self.0.contains(&domain.as_str())
    }
}

fn message(from: &str, to: &str, body: &str) -> Element {
    Element::new(ns::SERVER, "message")
        .with_attribute("from", from)
        .with_attribute("to", to)
        .with_child(Element::new(ns::SERVER, "body").with_text(body))
}
