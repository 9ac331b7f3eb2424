//! What the front ends are told of a stream: that it is established, has ended, or failed.

use link::wire::stream_report::{Direction, State};
use link::wire::{Proof as WireProof, StreamReport};
use xmpp_proto::stream::{DomainPair, Proof};

/// How many streams are open without TLS.
const STREAMS_WITHOUT_TLS: &str = "edge_xmpp_streams_without_tls";

/// The TLS of a stream.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct StreamTls {
    /// The ProtocolVersion; `None` without TLS.
    pub(super) version: Option<u16>,
    /// Whether the connection began with it (XEP-0368).
    pub(super) direct: bool,
}

/// Reports that a stream is established; `number` is ours, of this direction and pair.
pub(super) fn established(
    pair: &DomainPair,
    direction: Direction,
    number: u64,
    proof: Proof,
    tls: StreamTls,
) -> StreamReport {
    StreamReport {
        number,
        proof: wire_proof(Some(proof)).into(),
        tls_version: tls.version.unwrap_or_default().into(),
        direct_tls: tls.direct,
        ..of(pair, direction, State::Established)
    }
}

/// Counts a stream that is established.
pub(super) fn count_established(direction: Direction, tls: StreamTls) {
    let direction = direction_label(direction);
    let tls = match tls {
        StreamTls { version: None, .. } => "none",
        StreamTls { direct: true, .. } => "direct",
        StreamTls { direct: false, .. } => "starttls",
    };
    metrics::counter!("edge_xmpp_established_total", "direction" => direction, "tls" => tls)
        .increment(1);
}

/// A stream that is established without TLS; the alarm lasts for as long as this does.
#[derive(Debug)]
pub(super) struct WithoutTls(());

impl WithoutTls {
    /// Raises the alarm.
    pub(super) fn raise(pair: &DomainPair, direction: Direction) -> Self {
        let direction = direction_label(direction);
        tracing::warn!(
            partner = %pair.remote, local = %pair.local, direction,
            "a stream without TLS is open, as the partner's row allows"
        );
        metrics::gauge!(STREAMS_WITHOUT_TLS).increment(1.0);
        Self(())
    }
}

impl Drop for WithoutTls {
    fn drop(&mut self) {
        metrics::gauge!(STREAMS_WITHOUT_TLS).decrement(1.0);
    }
}

const fn direction_label(direction: Direction) -> &'static str {
    match direction {
        Direction::Inbound => "inbound",
        Direction::Outbound => "outbound",
        Direction::Unknown => "unknown",
    }
}

/// Reports the end of an established stream; a `reason` is for a person.
pub(super) fn closed(
    pair: &DomainPair,
    direction: Direction,
    number: u64,
    reason: String,
) -> StreamReport {
    StreamReport { number, reason, ..of(pair, direction, State::Closed) }
}

/// Reports that a stream to a partner could not be established, and why, for a person.
pub(super) fn failed(pair: &DomainPair, reason: String) -> StreamReport {
    StreamReport { reason, ..of(pair, Direction::Outbound, State::Failed) }
}

/// Returns how the front ends are told of a proof, or of none.
pub(super) const fn wire_proof(proof: Option<Proof>) -> WireProof {
    match proof {
        Some(Proof::External) => WireProof::SaslExternal,
        Some(Proof::Certificate | Proof::Dialback | Proof::DialbackInClear) => WireProof::Dialback,
        None => WireProof::None,
    }
}

fn of(pair: &DomainPair, direction: Direction, state: State) -> StreamReport {
    StreamReport {
        local_domain: pair.local.as_str().to_owned(),
        remote_domain: pair.remote.as_str().to_owned(),
        direction: direction.into(),
        state: state.into(),
        ..StreamReport::default()
    }
}
