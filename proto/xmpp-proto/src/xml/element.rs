//! The tree of one element: a representation that can always be written.

use std::borrow::Cow;
use std::fmt;

use crate::ns;
use crate::xml::names;
use crate::xml::namespace::Namespace;

/// An XML element with its attributes and its content in order.
///
/// It holds only what XML 1.0 can carry: names come from literals of the program or from the
/// parser, and a character of a value or a text that no document can contain becomes U+FFFD when
/// it is put in. Neighbouring texts are one text, and there is no empty text.
///
/// `Debug` shows the name alone, so that no content reaches a log by accident.
#[derive(Clone, PartialEq, Eq)]
pub struct Element {
    namespace: Namespace,
    local: Cow<'static, str>,
    attributes: Vec<Attribute>,
    content: Vec<Node>,
}

/// An attribute: a name, in a namespace or (as most are) in none, and its value.
#[derive(Clone, PartialEq, Eq)]
pub struct Attribute {
    pub(crate) namespace: Namespace,
    pub(crate) local: Cow<'static, str>,
    pub(crate) value: String,
}

/// A piece of the content of an element.
#[derive(Clone, PartialEq, Eq)]
pub enum Node {
    /// An element.
    Element(Element),
    /// Character data, never empty and never next to another text.
    Text(String),
}

impl Element {
    /// An element without attributes and content.
    ///
    /// `local` must be an NCName.
    pub fn new(namespace: impl Into<Namespace>, local: &'static str) -> Self {
        debug_assert!(names::is_ncname(local), "{local} is not an NCName");
        Self::with_name(namespace.into(), Cow::Borrowed(local))
    }

    /// An element of a name that the parser has checked.
    pub(crate) const fn with_name(namespace: Namespace, local: Cow<'static, str>) -> Self {
        Self { namespace, local, attributes: Vec::new(), content: Vec::new() }
    }

    /// Adds or replaces an attribute without a namespace.
    #[must_use]
    pub fn with_attribute(mut self, name: &'static str, value: impl AsRef<str>) -> Self {
        self.set_attribute(name, value);
        self
    }

    /// Adds or replaces `xml:lang`.
    #[must_use]
    pub fn with_lang(mut self, language: impl AsRef<str>) -> Self {
        self.set(Namespace::from(ns::XML), "lang", language.as_ref());
        self
    }

    /// Adds or replaces an attribute in a namespace.
    #[must_use]
    pub fn with_namespaced_attribute(
        mut self,
        namespace: impl Into<Namespace>,
        name: &'static str,
        value: impl AsRef<str>,
    ) -> Self {
        self.set(namespace.into(), name, value.as_ref());
        self
    }

    /// Appends a child element.
    #[must_use]
    pub fn with_child(mut self, child: Self) -> Self {
        self.push_child(child);
        self
    }

    /// Appends text.
    #[must_use]
    pub fn with_text(mut self, text: impl AsRef<str>) -> Self {
        self.push_text(text.as_ref());
        self
    }

    /// Appends a child element.
    pub fn push_child(&mut self, child: Self) {
        self.content.push(Node::Element(child));
    }

    /// Appends text.
    pub fn push_text(&mut self, text: &str) {
        if text.is_empty() {
            return;
        }
        let text = names::carried(text);
        match self.content.last_mut() {
            Some(Node::Text(last)) => last.push_str(&text),
            _ => self.content.push(Node::Text(text.into_owned())),
        }
    }

    /// Adds or replaces an attribute without a namespace.
    pub fn set_attribute(&mut self, name: &'static str, value: impl AsRef<str>) {
        self.set(Namespace::NONE, name, value.as_ref());
    }

    /// Removes an attribute without a namespace, if it is there.
    pub fn remove_attribute(&mut self, name: &str) {
        self.attributes
            .retain(|attribute| attribute.namespace != Namespace::NONE || attribute.local != name);
    }

    /// Removes the content, and every attribute but those of `kept` without a namespace.
    pub fn reduce_to_attributes(&mut self, kept: &[&str]) {
        self.content.clear();
        self.attributes.retain(|attribute| {
            attribute.namespace == Namespace::NONE && kept.contains(&attribute.local())
        });
    }

    /// Removes every child element that `unwanted` picks; texts around it become one.
    pub fn remove_children(&mut self, mut unwanted: impl FnMut(&Self) -> bool) {
        for node in std::mem::take(&mut self.content) {
            match node {
                Node::Element(child) if unwanted(&child) => {}
                Node::Element(child) => self.push_child(child),
                Node::Text(text) => self.push_text(&text),
            }
        }
    }

    /// Whether the element has this name.
    pub fn is(&self, namespace: &str, local: &str) -> bool {
        self.local == local && self.namespace == *namespace
    }

    /// The namespace name, empty for none.
    pub fn namespace(&self) -> &str {
        self.namespace.as_str()
    }

    /// The local part of the name.
    pub fn local(&self) -> &str {
        &self.local
    }

    /// The value of an attribute without a namespace.
    pub fn attribute(&self, name: &str) -> Option<&str> {
        self.namespaced_attribute("", name)
    }

    /// The value of an attribute in a namespace.
    pub fn namespaced_attribute(&self, namespace: &str, name: &str) -> Option<&str> {
        self.attributes
            .iter()
            .find(|attribute| attribute.local == name && attribute.namespace == *namespace)
            .map(|attribute| attribute.value.as_str())
    }

    /// The value of `xml:lang` on this very element.
    pub fn lang(&self) -> Option<&str> {
        self.namespaced_attribute(ns::XML, "lang")
    }

    /// The first child element of this name.
    pub fn child(&self, namespace: &str, local: &str) -> Option<&Self> {
        self.children().find(|child| child.is(namespace, local))
    }

    /// The child elements in order.
    pub fn children(&self) -> impl Iterator<Item = &Self> {
        self.content.iter().filter_map(|node| match node {
            Node::Element(child) => Some(child),
            Node::Text(_) => None,
        })
    }

    /// The text of this very element: what stands between its children, joined.
    pub fn text(&self) -> Cow<'_, str> {
        let mut texts = self.content.iter().filter_map(|node| match node {
            Node::Text(text) => Some(text.as_str()),
            Node::Element(_) => None,
        });
        let first = Cow::Borrowed(texts.next().unwrap_or_default());
        texts.fold(first, |joined, text| joined + text)
    }

    /// The content in order.
    pub fn nodes(&self) -> &[Node] {
        &self.content
    }

    /// The attributes in order.
    pub fn attributes(&self) -> &[Attribute] {
        &self.attributes
    }

    /// Makes room for attributes to come.
    pub(crate) fn reserve_attributes(&mut self, count: usize) {
        self.attributes.reserve_exact(count);
    }

    /// Appends an attribute that the parser has checked and knows to be the first of its name.
    pub(crate) fn push_attribute(&mut self, attribute: Attribute) {
        self.attributes.push(attribute);
    }

    /// Appends text that the parser has checked.
    pub(crate) fn push_read_text(&mut self, text: Cow<'_, str>) {
        match self.content.last_mut() {
            _ if text.is_empty() => {}
            Some(Node::Text(last)) => last.push_str(&text),
            _ => self.content.push(Node::Text(text.into_owned())),
        }
    }

    fn set(&mut self, namespace: Namespace, name: &'static str, value: &str) {
        debug_assert!(names::is_ncname(name), "{name} is not an NCName");
        let value = names::carried(value);
        let known = self
            .attributes
            .iter_mut()
            .find(|attribute| attribute.local == name && attribute.namespace == namespace);
        match known {
            Some(attribute) => (*value).clone_into(&mut attribute.value),
            None => {
                let value = value.into_owned();
                self.attributes.push(Attribute { namespace, local: Cow::Borrowed(name), value });
            }
        }
    }
}

impl Attribute {
    /// The namespace name, empty for none.
    pub fn namespace(&self) -> &str {
        self.namespace.as_str()
    }

    /// The local part of the name.
    pub fn local(&self) -> &str {
        &self.local
    }

    /// The value.
    pub fn value(&self) -> &str {
        &self.value
    }
}

impl fmt::Debug for Element {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Element({{{}}}{})", self.namespace().escape_debug(), self.local)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn setting_an_attribute_again_replaces_its_value() {
        let element = Element::new(ns::SERVER, "iq")
            .with_attribute("id", "1")
            .with_attribute("id", "2")
            .with_lang("en")
            .with_lang("de");

        assert_eq!(element.attribute("id"), Some("2"));
        assert_eq!(element.lang(), Some("de"));
        assert_eq!(element.attributes().len(), 2);
    }

    #[test]
    fn an_attribute_of_a_namespace_is_not_the_plain_one() {
        let mut element = Element::new(ns::SERVER, "message").with_namespaced_attribute(
            ns::SERVER,
            "from",
            "root@gw.example",
        );

        assert_eq!(element.attribute("from"), None);
        element.remove_attribute("from");
        assert_eq!(element.namespaced_attribute(ns::SERVER, "from"), Some("root@gw.example"));
    }

    #[test]
    fn texts_around_a_removed_child_become_one() {
        let mut element = Element::new(ns::SERVER, "body")
            .with_text("a")
            .with_child(Element::new("urn:x", "x"))
            .with_text("b")
            .with_child(Element::new("urn:y", "y"));

        element.remove_children(|child| child.is("urn:x", "x"));

        assert!(matches!(element.nodes(), [Node::Text(text), Node::Element(_)] if text == "ab"));
    }

    #[test]
    fn characters_that_no_document_carries_are_replaced_on_entry() {
        let element = Element::new(ns::SERVER, "body").with_attribute("a", "\0").with_text("\u{B}");

        assert_eq!(element.attribute("a"), Some("\u{FFFD}"));
        assert_eq!(element.text(), "\u{FFFD}");
    }

    #[test]
    fn debug_output_holds_no_content() {
        let element =
            Element::new(ns::SERVER, "body").with_attribute("to", "secret").with_text("secret");

        assert!(!format!("{element:?}").contains("secret"));
    }
}
