//! What administrators are shown of a partner: its record as it is in force, and how it is reached.

use std::fmt::Write;

use link::wire::stream_report::Direction;
use xmpp_proto::jid::Domain;

use super::Core;
use super::administration::{Refused, refused};
use crate::clock::Now;
use crate::edges::{EdgeAttempt, Outcome};
use crate::policy::XmppPartner;
use crate::policy::partner::Route;

impl Core {
    /// Lists the partners, each with its streams.
    pub(super) fn list_partners(&self) -> String {
        let line = |partner: &XmppPartner| {
            let domains: Vec<&str> = partner.domains().map(Domain::as_str).collect();
            let is_of = |domain: &Domain| partner.domains().any(|own| own == domain);
            let count = self.gateway.edges().count_streams(is_of);
            format!("{}\t{}\t{count} streams", domains.join(" "), partner.partner_type.word())
        };
        self.policy.partners.iter().map(line).collect::<Vec<_>>().join("\n")
    }

    /// Shows a partner: its record, its streams, what waits for it, and how it was last reached.
    pub(super) fn show_partner(&self, domain: &str, now: Now) -> Result<Option<String>, Refused> {
        let domain = read_domain(domain)?;
        let partner = self.policy.partner(&domain).ok_or_else(|| {
            refused(format!(
                "{domain} is no partner of the policy; what it has tried is shown by: \
                 frontend-gateway partner attempts {domain}"
            ))
        })?;
        let is_of = |domain: &Domain| partner.domains().any(|own| own == domain);
        let mut text = record(partner);
        text.push_str("\nstreams:");
        match self.gateway.edges().describe_streams(is_of, now.instant).as_str() {
            "" => text.push_str("\n  none"),
            streams => text.extend(streams.lines().map(|line| format!("\n  {line}"))),
        }
        text.push_str(&self.describe_load(is_of));
        let is_of = |domain: &str| partner.domains().any(|own| own.as_str() == domain);
        let attempts = self.gateway.edges().attempts(is_of, None);
        text.push_str("\nlast attempts:");
        for direction in [Direction::Outbound, Direction::Inbound] {
            for outcome in [Outcome::Succeeded, Outcome::Failed] {
                text.push_str(&last(&attempts, direction, outcome, now));
            }
        }
        Ok(Some(text))
    }

    /// Shows the last attempts to open streams with a domain, whether it is a partner's or not.
    pub(super) fn show_attempts(
        &self,
        domain: &str,
        edge: Option<&str>,
        last: usize,
        now: Now,
    ) -> Result<Option<String>, Refused> {
        let domain = read_domain(domain)?;
        if let Some(edge) = edge.filter(|name| !self.gateway.edges().is_attached(name)) {
            return Err(refused(format!("no edge {edge:?} is attached")));
        }
        let is_partners = self.policy.partner(&domain);
        let is_of = |remote: &str| match is_partners {
            Some(partner) => partner.domains().any(|own| own.as_str() == remote),
            None => domain.as_str() == remote,
        };
        let attempts = self.gateway.edges().attempts(is_of, edge);
        let shown = &attempts[attempts.len().saturating_sub(last)..];
        let blocks: Vec<String> = shown.iter().map(|it| it.describe(now)).collect();
        if blocks.is_empty() {
            return Ok(Some(format!("no attached edge remembers an attempt with {domain}")));
        }
        Ok(Some(blocks.join("\n\n")))
    }

    fn describe_load(&self, is_of: impl Fn(&Domain) -> bool) -> String {
        let load = self.gateway.load(is_of);
        let mut text =
            format!("\nqueue:\n  {} stanzas wait for an edge or its credit", load.waiting);
        for at in load.at_edges {
            let (edge, pair) = (self.gateway.edges().place(at.edge), at.pair);
            // A text takes every line.
            let _ = write!(
                text,
                "\n  edge {edge}: {} to {}: {} unsettled of a credit of {}",
                pair.local, pair.remote, at.unsettled, at.credit
            );
        }
        text
    }
}

/// Shows the last attempt of a direction that ended so.
fn last(attempts: &[EdgeAttempt<'_>], direction: Direction, outcome: Outcome, now: Now) -> String {
    let mut newest_first = attempts.iter().rev();
    match newest_first.find(|it| it.direction() == direction && it.outcome() == outcome) {
        Some(attempt) => format!("\n  {}", attempt.summary(now)),
        None => {
            let which = if direction == Direction::Inbound { "inbound" } else { "outbound" };
            let how = if outcome == Outcome::Failed { "failed" } else { "succeeded" };
            format!("\n  {which}: none that {how} is remembered")
        }
    }
}

/// Shows the record that is in force.
fn record(partner: &XmppPartner) -> String {
    let mut lines = vec![format!("partner {}", partner.domain)];
    let domains: Vec<&str> = partner.additional_domains.iter().map(Domain::as_str).collect();
    if !domains.is_empty() {
        lines.push(format!("  additional domains: {}", domains.join(" ")));
    }
    if !partner.description.is_empty() {
        lines.push(format!("  description: {}", printable(&partner.description)));
    }
    lines.push(format!("  type: {}", partner.partner_type.word()));
    lines.extend(negotiation(partner));
    lines.push(format!("  keep-alive: {}", yes(partner.keep_alive)));
    lines.push(format!("  streams to each edge: at most {}", partner.connections_max));
    let queue = partner.queue;
    lines.push(format!(
        "  queue at an edge: at most {} stanzas, {} bytes, {} s",
        queue.items_max, queue.bytes_max, queue.age_s_max
    ));
    lines.push(format!("  private addresses: {}", yes(partner.allow_private_addresses)));
    lines.push(format!("  ports of other services: {}", yes(partner.allow_any_port)));
    if partner.routes.is_empty() {
        lines.push("  servers: as DNS says, by _xmpps-server._tcp and _xmpp-server._tcp".into());
    }
    lines.extend(partner.routes.iter().map(route));
    let authority = |subject: &str| format!("  own authority: {}", printable(subject));
    lines.extend(partner.trust.iter().map(|it| authority(&it.subject)));
    lines.extend(partner.pinned_keys.iter().map(|key| format!("  pinned key: {key}")));
    lines.join("\n")
}

/// Shows how streams are secured and authenticated, and what may surprise.
fn negotiation(partner: &XmppPartner) -> Vec<String> {
    let mut lines = vec![
        format!("  profile: {}", partner.profile.word()),
        format!("  {}", partner.terms),
        format!("  both directions on one stream: {}", yes(partner.bidi)),
    ];
    lines.extend(partner.terms.warnings().map(|warning| format!("  warning: {warning}")));
    lines
}

fn route(route: &Route) -> String {
    let way = if route.direct_tls { "direct TLS" } else { "STARTTLS" };
    let Route { host, port, priority, weight, .. } = route;
    format!("  route: {host} port {port}, {way}, priority {priority}, weight {weight}")
}

const fn yes(allowed: bool) -> &'static str {
    if allowed { "yes" } else { "no" }
}

fn printable(text: &str) -> String {
    link::printable::printable(text, usize::MAX)
}

fn read_domain(text: &str) -> Result<Domain, Refused> {
    Domain::parse(text).map_err(|error| refused(format!("{text:?}: {error}")))
}
