//! What the gateway says that it, its users and their devices are and can do (XEP-0030, XEP-0115).

use xmpp_proto::capabilities::{HASH, verification_string};
use xmpp_proto::ns;
use xmpp_proto::stanza::error::StanzaCondition;
use xmpp_proto::xml::Element;

/// What identifies our software in entity capabilities.
const NODE: &str = "https://isthmus.invalid";

/// Localparts are escaped (XEP-0106 s.5).
const ESCAPING: &str = "jid\\20escaping";

/// What answers for an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Entity {
    /// The gateway itself, at the address of a domain.
    Gateway {
        /// Whether it says which version it is.
        tells_version: bool,
    },
    /// A SIP user's account, at the bare address.
    Account,
    /// A SIP user's device, at an address with a resource.
    Device,
}

impl Entity {
    /// Returns the answer to a request for what the entity is, without a node (XEP-0030 s.3).
    pub(super) fn info(self) -> Element {
        let [category, kind] = match self {
            Self::Gateway { .. } => ["gateway", "simple"],
            Self::Account => ["account", "registered"],
            Self::Device => ["client", "pc"],
        };
        let mut identity = Element::new(ns::DISCO_INFO, "identity")
            .with_attribute("category", category)
            .with_attribute("type", kind);
        if self != Self::Account {
            identity.set_attribute("name", "Isthmus");
        }
        let query = Element::new(ns::DISCO_INFO, "query").with_child(identity);
        self.features().iter().fold(query, |query, feature| {
            query.with_child(Element::new(ns::DISCO_INFO, "feature").with_attribute("var", feature))
        })
    }

    fn features(self) -> Vec<&'static str> {
        let mut features = vec![ns::DISCO_INFO, ns::DISCO_ITEMS, ns::PING];
        match self {
            Self::Gateway { tells_version } => {
                features.extend([ESCAPING, ns::LAST_ACTIVITY]);
                features.extend(tells_version.then_some(ns::VERSION));
            }
            Self::Account => features.push(ns::LAST_ACTIVITY),
            Self::Device => features.push(ns::CAPABILITIES),
        }
        features
    }
}

/// The capabilities of the devices of SIP users, as what the gateway makes of them.
#[derive(Debug)]
pub(super) struct Capabilities {
    version: String,
}

impl Capabilities {
    pub(super) fn new() -> Self {
        Self { version: verification_string(&Entity::Device.info()) }
    }

    /// Returns what presence of a device carries (XEP-0115 s.4).
    pub(super) fn element(&self) -> Element {
        Element::new(ns::CAPABILITIES, "c")
            .with_attribute("hash", HASH)
            .with_attribute("node", NODE)
            .with_attribute("ver", &self.version)
    }

    /// Answers a request for what an entity is (XEP-0030 s.3), where `asked` is the payload of the
    /// request.
    ///
    /// # Errors
    /// Fails for a node that the entity does not have. Of a user, the node of its devices'
    /// capabilities is known at every address: presence may show it without a resource.
    pub(super) fn info(&self, asked: &Element, entity: Entity) -> Result<Element, StanzaCondition> {
        let Some(node) = node(asked) else { return Ok(entity.info()) };
        let is_gateway = matches!(entity, Entity::Gateway { .. });
        let is_ours = node.strip_prefix(NODE).and_then(|rest| rest.strip_prefix('#'))
            == Some(self.version.as_str());
        match is_ours && !is_gateway {
            true => Ok(Entity::Device.info().with_attribute("node", node)),
            false => Err(StanzaCondition::ItemNotFound),
        }
    }
}

/// Answers a request for the items of any entity: there are none (XEP-0030 s.4).
///
/// # Errors
/// Fails for every node.
pub(super) fn items(asked: &Element) -> Result<Element, StanzaCondition> {
    match node(asked) {
        None => Ok(Element::new(ns::DISCO_ITEMS, "query")),
        Some(_) => Err(StanzaCondition::ItemNotFound),
    }
}

fn node(asked: &Element) -> Option<&str> {
    asked.attribute("node").filter(|node| !node.is_empty())
}
