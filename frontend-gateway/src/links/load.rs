//! What waits for a partner, at the front end and at the edges, for administrators.

use std::collections::VecDeque;

use xmpp_proto::jid::Domain;
use xmpp_proto::stream::DomainPair;

use super::{EdgeId, Links};

/// What waits for some domains of partners.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// Stanzas that wait for a link or for credit.
    pub waiting: usize,
    /// What each edge has, where it has something or has set a credit.
    pub at_edges: Vec<EdgeLoad>,
}

/// What one edge has of one pair.
#[derive(Debug, PartialEq, Eq)]
pub struct EdgeLoad {
    /// The edge.
    pub edge: EdgeId,
    /// Between whom the stanzas go.
    pub pair: DomainPair,
    /// Stanzas that it has not settled.
    pub unsettled: u32,
    /// How many it may have.
    pub credit: u32,
}

impl<P> Links<P> {
    /// Returns what waits for the domains that `is_of` picks.
    pub fn load(&self, is_of: impl Fn(&Domain) -> bool) -> Load {
        let waiting = self.waiting.iter().filter(|(pair, _)| is_of(&pair.remote));
        let at_edge = |(id, edge): (&EdgeId, &super::Edge<P>)| {
            let pairs = edge.outbound.iter().filter(|(pair, _)| is_of(&pair.remote));
            let load = pairs.map(|(pair, outstanding)| EdgeLoad {
                edge: *id,
                pair: pair.clone(),
                unsettled: outstanding.count,
                credit: outstanding.credit,
            });
            load.collect::<Vec<_>>()
        };
        Load {
            waiting: waiting.map(|(_, queue)| VecDeque::len(queue)).sum(),
            at_edges: self.edges.iter().flat_map(at_edge).collect(),
        }
    }
}
