//! A cell of the matrix: who connects, how the stream is protected and proven, what goes over it.

use std::fmt::Write;
use std::net::Ipv4Addr;

use tests::dns::Records;
use tests::test_ca::Usage;

/// The domain whose servers are found at the port for STARTTLS.
pub(super) const STARTTLS_LOCAL: &str = "contoso.example";
/// The domain whose servers are found at the port for direct TLS.
pub(super) const DIRECT_LOCAL: &str = "direct.contoso.example";

/// Every way to authenticate, with a certificate such as public authorities issue.
pub(super) const METHODS: &[Method] = &[
    Method(Proof::External(Usage::Server), Security::StartTls),
    Method(Proof::External(Usage::Server), Security::Direct),
    Method(Proof::Dialback, Security::StartTls),
    Method(Proof::Dialback, Security::Direct),
    Method(Proof::Dialback, Security::Clear),
];

/// Who opens the stream, and sends the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Opener {
    We,
    They,
}

/// How the side that connects proves its domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Proof {
    /// SASL EXTERNAL, where our certificate has these usages.
    External(Usage),
    Dialback,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Security {
    Clear,
    StartTls,
    Direct,
}

/// A line of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Method(pub(super) Proof, pub(super) Security);

/// One cell of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cell {
    pub(super) method: Method,
    pub(super) opener: Opener,
    /// Whether the stream goes both ways (XEP-0288).
    pub(super) has_bidi: bool,
    /// Whether stanzas are acknowledged (XEP-0198).
    pub(super) has_acks: bool,
}

/// A server of partners.
pub(super) struct Server {
    /// What its table says that it is.
    pub(super) title: &'static str,
    /// What the domains of its cells end with.
    pub(super) domain: &'static str,
    /// The lines of its table.
    pub(super) methods: &'static [Method],
    /// Why there is no such cell, where there is none.
    pub(super) why_impossible: fn(&Cell) -> Option<Impossible>,
}

/// Why there is no such cell with a server.
#[derive(Clone, Copy, Debug)]
pub(super) struct Impossible {
    pub(super) reason: &'static str,
    /// What comes of it where both sides would have it, if that is worth a trial.
    pub(super) instead: Option<Cell>,
}

/// A message that crosses.
#[derive(Clone, Copy, Debug)]
pub(super) struct Trial {
    /// What both sides would have.
    pub(super) wanted: Cell,
    /// What there is to be.
    pub(super) outcome: Cell,
}

impl Method {
    pub(super) fn cells(self) -> impl Iterator<Item = Cell> {
        let columns = [Opener::We, Opener::They].into_iter().flat_map(|opener| {
            [(false, false), (false, true), (true, false), (true, true)].map(|it| (opener, it))
        });
        columns.map(move |(opener, (has_bidi, has_acks))| Cell {
            method: self,
            opener,
            has_bidi,
            has_acks,
        })
    }
}

impl Server {
    /// What is to be tried, in the order of the table.
    pub(super) fn trials(&self) -> Vec<Trial> {
        let cells = self.methods.iter().flat_map(|method| method.cells());
        let trial = |wanted: Cell| {
            let impossible = self.impossible(&wanted);
            let outcome = impossible.map_or(Some(wanted), |impossible| impossible.instead);
            outcome.map(|outcome| Trial { wanted, outcome })
        };
        cells.filter_map(trial).collect()
    }

    /// Why there is no such cell, where there is none.
    pub(super) fn impossible(&self, cell: &Cell) -> Option<Impossible> {
        // XEP-0288 s.2.1: the feature comes after TLS.
        if cell.has_bidi && cell.method.1 == Security::Clear {
            return Some(Impossible { reason: "bidi is negotiated after TLS", instead: None });
        }
        (self.why_impossible)(cell)
    }

    /// The partner's domain of a cell: each has its own, and so its own streams.
    pub(super) fn domain_of(&self, cell: &Cell) -> String {
        let Method(proof, tls) = cell.method;
        let opener = match cell.opener {
            Opener::We => "we",
            Opener::They => "they",
        };
        let proof = match proof {
            Proof::External(Usage::Both) => "external-both",
            Proof::External(_) => "external",
            Proof::Dialback => "dialback",
        };
        let tls = match tls {
            Security::Clear => "clear",
            Security::StartTls => "starttls",
            Security::Direct => "direct",
        };
        let bidi = if cell.has_bidi { "-bidi" } else { "" };
        let acks = if cell.has_acks { "-acks" } else { "" };
        format!("{opener}-{proof}-{tls}{bidi}{acks}.{}", self.domain)
    }

    /// The policy's partners: each may prove itself only as its cell says, unless that is tried in
    /// vain.
    pub(super) fn partners(&self) -> String {
        let mut rows = String::new();
        for Trial { wanted: cell, outcome } in self.trials() {
            let sasl = match (cell.method.0, outcome.method.0) {
                (Proof::External(_), Proof::External(_)) => {
                    "\"required\"\ndialback_negotiation = false"
                }
                (Proof::External(_), Proof::Dialback) => "\"optional\"",
                (Proof::Dialback, _) => "\"not-supported\"",
            };
            let tls = if cell.method.1 == Security::Clear { "not-supported" } else { "required" };
            write!(
                rows,
                "[[xmpp_partner]]\ndomain = \"{}\"\npartner_type = \"federated\"\n\
                 allow_private_addresses = true\ntls_negotiation = \"{tls}\"\n\
                 sasl_negotiation = {sasl}\n",
                self.domain_of(&cell)
            )
            .expect("a text takes every line");
        }
        rows
    }

    /// Publishes the domain of a cell at an address of the server's.
    pub(super) fn publish(&self, records: Records, cell: &Cell, address: Ipv4Addr) -> Records {
        let domain = self.domain_of(cell);
        match cell.method.1 {
            Security::Direct => records.direct_tls_server(&domain, address),
            Security::Clear | Security::StartTls => records.xmpp_server(&domain, address),
        }
    }
}

impl Cell {
    /// Our domain, which is reached like the partner's.
    pub(super) fn local(&self) -> &'static str {
        if self.method.1 == Security::Direct { DIRECT_LOCAL } else { STARTTLS_LOCAL }
    }
}
