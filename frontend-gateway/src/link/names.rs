//! Which edges the links go to, by name, so that no edge is attached to by two addresses.

use std::collections::BTreeSet;
use std::sync::Arc;

use parking_lot::Mutex;

/// The names of the edges that are attached. The tasks of all links share them.
#[derive(Clone, Debug, Default)]
pub struct EdgeNames(Arc<Mutex<BTreeSet<String>>>);

impl EdgeNames {
    /// Claims an edge for one link until the claim is dropped; none while another link has it.
    pub(super) fn claim(&self, name: &str) -> Option<Claim> {
        let is_free = self.0.lock().insert(name.to_owned());
        is_free.then(|| Claim { names: self.clone(), name: name.to_owned() })
    }
}

/// The right to attach to an edge.
#[derive(Debug)]
pub(super) struct Claim {
    names: EdgeNames,
    name: String,
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.names.0.lock().remove(&self.name);
    }
}

#[cfg(test)]
mod tests {
    use super::EdgeNames;

    #[test]
    fn an_edge_is_claimed_once_until_the_claim_is_dropped() {
        let names = EdgeNames::default();
        let first = names.claim("edge1");
        assert!(first.is_some());
        assert!(names.clone().claim("edge1").is_none(), "the tasks share the names");
        assert!(names.claim("edge1").is_none(), "a claim that failed frees nothing");
        drop(first);
        assert!(names.claim("edge1").is_some());
    }

    #[test]
    fn edges_of_other_names_do_not_disturb_each_other() {
        let names = EdgeNames::default();
        let first = names.claim("edge1");
        let second = names.claim("edge2");
        assert!(first.is_some() && second.is_some());
        drop(second);
        assert!(names.claim("edge1").is_none());
    }
}
