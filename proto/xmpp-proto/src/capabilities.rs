//! Entity capabilities (XEP-0115): the verification string of an answer to a disco#info request.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha1::{Digest, Sha1};

use crate::ns;
use crate::xml::Element;

/// The name of the hash function of [`verification_string`], for the attribute `hash`.
pub const HASH: &str = "sha-1";

/// The verification string of `info`, the `<query/>` of an answer: the attribute `ver`
/// (XEP-0115 s.5.1).
///
/// `info` is what we write ourselves: whether one of a peer is well-formed (s.5.4) is not looked
/// at.
pub fn verification_string(info: &Element) -> String {
    let mut parts = identities(info);
    parts.extend(features(info));
    parts.extend(forms(info));
    let text: String = parts.iter().flat_map(|part| [part.as_str(), "<"]).collect();
    STANDARD.encode(Sha1::digest(text))
}

fn identities(info: &Element) -> Vec<String> {
    let identities = info.children().filter(|it| it.is(ns::DISCO_INFO, "identity"));
    let mut keys: Vec<_> = identities
        .map(|it| {
            let value = |name| it.attribute(name).unwrap_or_default();
            (value("category"), value("type"), it.lang().unwrap_or_default(), value("name"))
        })
        .collect();
    // s.5.1: by i;octet, which is how strings compare here.
    keys.sort_unstable();
    keys.iter()
        .map(|(category, kind, lang, name)| format!("{category}/{kind}/{lang}/{name}"))
        .collect()
}

fn features(info: &Element) -> Vec<String> {
    let features = info.children().filter(|it| it.is(ns::DISCO_INFO, "feature"));
    let mut names: Vec<String> =
        features.filter_map(|it| it.attribute("var")).map(str::to_owned).collect();
    names.sort_unstable();
    names
}

/// The parts of the forms of XEP-0128: of each its type, then each field with its values.
fn forms(info: &Element) -> Vec<String> {
    let forms = info.children().filter(|it| it.is(ns::DATA_FORM, "x"));
    let mut all: Vec<Vec<String>> = forms
        .filter_map(|form| {
            let mut fields: Vec<(&str, Vec<String>)> = form
                .children()
                .filter(|it| it.is(ns::DATA_FORM, "field"))
                .map(|it| (it.attribute("var").unwrap_or_default(), values(it)))
                .collect();
            fields.sort_unstable();
            let at = fields.iter().position(|(name, _)| *name == "FORM_TYPE")?;
            let (_, mut parts) = fields.remove(at);
            for (name, values) in fields {
                parts.push(name.to_owned());
                parts.extend(values);
            }
            Some(parts)
        })
        .collect();
    all.sort_unstable();
    all.concat()
}

fn values(field: &Element) -> Vec<String> {
    let values = field.children().filter(|it| it.is(ns::DATA_FORM, "value"));
    let mut values: Vec<String> = values.map(|it| it.text().into_owned()).collect();
    values.sort_unstable();
    values
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::Limits;
    use crate::xml::parse_document;

    fn verified(info: &str) -> String {
        let limits = Limits::AFTER_AUTHENTICATION;
        verification_string(&parse_document(info.as_bytes(), &limits).unwrap())
    }

    #[test]
    fn the_simple_example_of_the_specification_has_its_string() {
        // XEP-0115 s.5.2.
        let exodus = "<query xmlns='http://jabber.org/protocol/disco#info'>\
            <identity category='client' name='Exodus 0.9.1' type='pc'/>\
            <feature var='http://jabber.org/protocol/caps'/>\
            <feature var='http://jabber.org/protocol/disco#info'/>\
            <feature var='http://jabber.org/protocol/disco#items'/>\
            <feature var='http://jabber.org/protocol/muc'/></query>";
        assert_eq!(verified(exodus), "QgayPKawpkPSDYmwT/WM94uAlu0=");
        let shuffled =
            exodus.replace("#items", "#x").replace("#info'/>", "#items'/>").replace("#x", "#info");
        assert_eq!(verified(&shuffled), "QgayPKawpkPSDYmwT/WM94uAlu0=");
    }

    #[test]
    fn the_complex_example_of_the_specification_has_its_string() {
        // XEP-0115 s.5.3.
        let psi = "<query xmlns='http://jabber.org/protocol/disco#info'>\
            <identity xml:lang='en' category='client' name='Psi 0.11' type='pc'/>\
            <identity xml:lang='el' category='client' name='Ψ 0.11' type='pc'/>\
            <feature var='http://jabber.org/protocol/caps'/>\
            <feature var='http://jabber.org/protocol/disco#info'/>\
            <feature var='http://jabber.org/protocol/disco#items'/>\
            <feature var='http://jabber.org/protocol/muc'/>\
            <x xmlns='jabber:x:data' type='result'>\
            <field var='FORM_TYPE' type='hidden'><value>urn:xmpp:dataforms:softwareinfo</value>\
            </field>\
            <field var='ip_version'><value>ipv4</value><value>ipv6</value></field>\
            <field var='os'><value>Mac</value></field>\
            <field var='os_version'><value>10.5.1</value></field>\
            <field var='software'><value>Psi</value></field>\
            <field var='software_version'><value>0.11</value></field></x></query>";
        assert_eq!(verified(psi), "q07IKJEyjvHSyhy//CH0CxmKi8w=");
    }
}
