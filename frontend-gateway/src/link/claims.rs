//! Which edge processes the links go to, so that none is attached to by two addresses.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;

/// The edges that are attached, each by the name in its certificate and the instance in its hello:
/// edges that share a certificate are told apart. The tasks of all links share them.
#[derive(Clone, Debug, Default)]
pub(super) struct EdgeClaims(Arc<Mutex<BTreeSet<(String, Bytes)>>>);

impl EdgeClaims {
    /// Claims an edge for one link until the claim is dropped; none while another link has it.
    pub(super) fn claim(&self, name: &str, instance: Bytes) -> Option<Claim> {
        let edge = (name.to_owned(), instance);
        let is_free = self.0.lock().insert(edge.clone());
        is_free.then(|| Claim { claims: self.clone(), edge })
    }
}

/// The right to attach to an edge.
#[derive(Debug)]
pub(super) struct Claim {
    claims: EdgeClaims,
    edge: (String, Bytes),
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.claims.0.lock().remove(&self.edge);
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::EdgeClaims;

    const ONE: Bytes = Bytes::from_static(b"1");
    const TWO: Bytes = Bytes::from_static(b"2");

    #[test]
    fn an_edge_is_claimed_once_until_the_claim_is_dropped() {
        let claims = EdgeClaims::default();
        let first = claims.claim("edge1", ONE);
        assert!(first.is_some());
        assert!(claims.clone().claim("edge1", ONE).is_none(), "the tasks share the claims");
        assert!(claims.claim("edge1", ONE).is_none(), "a claim that failed frees nothing");
        drop(first);
        assert!(claims.claim("edge1", ONE).is_some());
    }

    #[test]
    fn edges_of_other_names_or_instances_do_not_disturb_each_other() {
        let claims = EdgeClaims::default();
        let first = claims.claim("edge1", ONE);
        let replica = claims.claim("edge1", TWO);
        let other = claims.claim("edge2", ONE);
        assert!(first.is_some() && replica.is_some() && other.is_some());
        drop((replica, other));
        assert!(claims.claim("edge1", ONE).is_none());
    }
}
