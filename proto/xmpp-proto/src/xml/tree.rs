//! Tokens to elements, by the rules of XML 1.0 and of Namespaces in XML.

use std::borrow::Cow;

use memchr::{memchr, memchr_iter, memchr3};
use quick_xml::escape::{resolve_xml_entity, unescape_with};
use quick_xml::events::BytesText;
use smallvec::SmallVec;

use crate::limits::Limits;
use crate::ns;
use crate::xml::attributes::{RawAttribute, RawAttributes, reference};
use crate::xml::element::{Attribute, Element};
use crate::xml::error::{Defect, Limit, XmlError};
use crate::xml::names;
use crate::xml::namespace::Namespace;

/// Attributes that most elements have no more than.
const ATTRIBUTES_USUAL: usize = 6;

/// Builds one element at a time, within the namespaces of a root that stays open on a stream.
pub(super) struct TreeBuilder {
    limits: Limits,
    /// Refuses a stream element inside the stream.
    on_stream: bool,
    elements: usize,
    namespace_bytes: usize,
    open: Vec<OpenElement>,
    /// The qualified names of the open elements, the last at the end.
    open_names: String,
    /// The namespace declarations in scope, the innermost at the end.
    bindings: Vec<Binding>,
}

struct OpenElement {
    element: Element,
    name_start: usize,
    bindings_before: usize,
}

/// A namespace declaration; the empty prefix stands for the default namespace.
pub(super) struct Binding {
    pub(super) prefix: String,
    pub(super) namespace: Namespace,
}

impl TreeBuilder {
    pub(super) const fn new(limits: Limits, on_stream: bool) -> Self {
        Self {
            limits,
            on_stream,
            elements: 0,
            namespace_bytes: 0,
            open: Vec::new(),
            open_names: String::new(),
            bindings: Vec::new(),
        }
    }

    pub(super) const fn set_limits(&mut self, limits: Limits) {
        self.limits = limits;
    }

    /// Forgets what was counted, for the next first-level element.
    pub(super) const fn reset_usage(&mut self) {
        self.elements = 0;
        self.namespace_bytes = 0;
    }

    /// Elements counted since the usage was last reset.
    pub(super) const fn elements(&self) -> usize {
        self.elements
    }

    /// Forgets everything but the limits and the usage.
    pub(super) fn restart(&mut self) {
        self.open.clear();
        self.open_names.clear();
        self.bindings.clear();
    }

    /// Whether an element is unfinished; the root of a stream does not count.
    pub(super) const fn is_inside(&self) -> bool {
        !self.open.is_empty()
    }

    /// Reads the start tag of the root of a stream, whose declarations stay in scope.
    ///
    /// Returns the root, and whether it ends where it begins.
    pub(super) fn open_root(&mut self, tag: &str) -> Result<(Element, bool), XmlError> {
        let (tag, ends) = split_empty(tag);
        let (element, _) = self.read_tag(tag)?;
        self.open_names.push_str(qualified_name(tag));
        Ok((element, ends))
    }

    /// The declarations of the root of a stream.
    pub(super) fn root_declarations(&self) -> &[Binding] {
        &self.bindings
    }

    /// Whether `tag` is the end tag of the root of a stream.
    pub(super) fn ends_root(&self, tag: &str) -> bool {
        tag.trim_end_matches(is_white_space) == self.open_names
    }

    /// Reads a start tag; the element if it is of the first level and ends where it begins.
    pub(super) fn start(&mut self, tag: &str) -> Result<Option<Element>, XmlError> {
        let (tag, ends) = split_empty(tag);
        if self.open.len() >= self.limits.depth_max {
            return Err(XmlError::LimitExceeded(Limit::Depth));
        }
        let bindings_before = self.bindings.len();
        let (element, prefixed) = self.read_tag(tag)?;
        if self.on_stream {
            self.refuse_on_stream(&element, prefixed)?;
        }
        if ends {
            self.bindings.truncate(bindings_before);
            return Ok(self.attach(element));
        }
        let name_start = self.open_names.len();
        self.open_names.push_str(qualified_name(tag));
        self.open.push(OpenElement { element, name_start, bindings_before });
        Ok(None)
    }

    /// Reads an end tag; the element if it is of the first level.
    pub(super) fn end(&mut self, tag: &str) -> Result<Option<Element>, XmlError> {
        let mismatch = XmlError::NotWellFormed(Defect::EndTag);
        let OpenElement { element, name_start, bindings_before } =
            self.open.pop().ok_or(mismatch)?;
        let expected = self.open_names.get(name_start..).unwrap_or_default();
        if tag.trim_end_matches(is_white_space) != expected {
            return Err(mismatch);
        }
        self.open_names.truncate(name_start);
        self.bindings.truncate(bindings_before);
        Ok(self.attach(element))
    }

    /// Reads text of the innermost element.
    pub(super) fn text(&mut self, text: &str) -> Result<(), XmlError> {
        if !names::is_xml_text(text) {
            return Err(XmlError::NotWellFormed(Defect::Character));
        }
        let bytes = text.as_bytes();
        if memchr3(b'&', b']', b'\r', bytes).is_none() {
            self.push(Cow::Borrowed(text));
            return Ok(());
        }
        // XML s.2.4: the end of a CDATA section does not appear in text.
        let ends_section = |end| bytes.get(..end).is_some_and(|text| text.ends_with(b"]]"));
        if memchr_iter(b'>', bytes).any(ends_section) {
            return Err(XmlError::NotWellFormed(Defect::SectionEndInText));
        }
        let text = one_line_end(text);
        let text = unescape_with(&text, resolve_xml_entity).map_err(|error| reference(&error))?;
        if !names::is_xml_text(&text) {
            return Err(XmlError::NotWellFormed(Defect::Character));
        }
        self.push(text);
        Ok(())
    }

    /// Reads a CDATA section, which is text without references.
    pub(super) fn character_data(&mut self, text: &str) -> Result<(), XmlError> {
        if !names::is_xml_text(text) {
            return Err(XmlError::NotWellFormed(Defect::Character));
        }
        self.push(one_line_end(text));
        Ok(())
    }

    fn push(&mut self, text: Cow<'_, str>) {
        if let Some(parent) = self.open.last_mut() {
            parent.element.push_read_text(text);
        }
    }

    fn attach(&mut self, element: Element) -> Option<Element> {
        match self.open.last_mut() {
            Some(parent) => {
                parent.element.push_child(element);
                None
            }
            None => Some(element),
        }
    }

    fn refuse_on_stream(&self, element: &Element, prefixed: bool) -> Result<(), XmlError> {
        if element.is(ns::STREAM, "stream") {
            return Err(XmlError::NestedStream);
        }
        if self.open.is_empty() && prefixed && element.namespace() == ns::SERVER {
            return Err(XmlError::PrefixedStanza);
        }
        Ok(())
    }

    /// Reads a start tag without its delimiters and puts its declarations in scope.
    ///
    /// Returns the element, and whether its name has a prefix.
    fn read_tag(&mut self, tag: &str) -> Result<(Element, bool), XmlError> {
        self.elements += 1;
        if self.elements > self.limits.elements_max {
            return Err(XmlError::LimitExceeded(Limit::Elements));
        }
        if !names::is_xml_text(tag) {
            return Err(XmlError::NotWellFormed(Defect::Character));
        }
        let name = qualified_name(tag);
        let (prefix, local) =
            names::split_qname(name).ok_or(XmlError::NotWellFormed(Defect::Name))?;
        // The declarations of a tag hold for its own name and attributes, wherever they stand.
        let mut unread = RawAttributes::behind_name(tag, name.len());
        let mut read = SmallVec::new();
        if may_declare(tag) {
            self.read_declarations(&mut unread, &mut read)?;
        }
        let namespace = match prefix {
            Some(prefix) => self.resolve(prefix)?,
            None => self.default_namespace(),
        };
        let inherited = self.open.last().map(|parent| parent.element.namespace());
        if inherited != Some(namespace.as_str()) {
            self.namespace_bytes += namespace.as_str().len();
        }
        let mut element = Element::with_name(namespace, names::kept(local));
        element.reserve_attributes(read.len());
        for attribute in &read {
            self.add_attribute(&mut element, attribute)?;
        }
        for attribute in unread {
            self.add_attribute(&mut element, &attribute?)?;
        }
        if self.namespace_bytes > self.limits.namespace_bytes_max {
            return Err(XmlError::LimitExceeded(Limit::NamespaceBytes));
        }
        Ok((element, prefix.is_some()))
    }

    /// Reads attributes up to the last; namespace declarations take effect, the others go to `read`.
    fn read_declarations<'a>(
        &mut self,
        unread: &mut RawAttributes<'a>,
        read: &mut SmallVec<[RawAttribute<'a>; ATTRIBUTES_USUAL]>,
    ) -> Result<(), XmlError> {
        let declared_before = self.bindings.len();
        for attribute in unread {
            let attribute = attribute?;
            match attribute.declared_prefix() {
                Some(declared) => {
                    self.declare(declared, &attribute.resolved()?, declared_before)?;
                }
                None => read.push(attribute),
            }
        }
        Ok(())
    }

    /// Namespaces in XML s.3: what a declaration may say.
    fn declare(
        &mut self,
        prefix: &str,
        name: &str,
        declared_before: usize,
    ) -> Result<(), XmlError> {
        let of_this_tag = self.bindings.get(declared_before..).unwrap_or_default();
        if of_this_tag.iter().any(|binding| binding.prefix == prefix) {
            return Err(XmlError::NotWellFormed(Defect::DuplicateAttribute));
        }
        if of_this_tag.len() >= self.limits.namespace_declarations_max {
            return Err(XmlError::LimitExceeded(Limit::NamespaceDeclarations));
        }
        if self.bindings.len() >= self.limits.namespaces_in_scope_max {
            return Err(XmlError::LimitExceeded(Limit::NamespacesInScope));
        }
        let allowed = match (prefix, name) {
            ("xml", name) => name == ns::XML,
            ("xmlns", _) | (_, ns::XML | ns::XMLNS) => false,
            (prefix, name) => prefix.is_empty() || !name.is_empty(),
        };
        if !allowed {
            return Err(XmlError::NotWellFormed(Defect::NamespaceDeclaration));
        }
        let namespace = Namespace::read(name);
        self.bindings.push(Binding { prefix: prefix.to_owned(), namespace });
        Ok(())
    }

    fn default_namespace(&self) -> Namespace {
        self.bound("").unwrap_or(Namespace::NONE)
    }

    fn resolve(&self, prefix: &str) -> Result<Namespace, XmlError> {
        match prefix {
            "xml" => Ok(Namespace::from(ns::XML)),
            _ => self.bound(prefix).ok_or(XmlError::NotWellFormed(Defect::UndeclaredPrefix)),
        }
    }

    fn bound(&self, prefix: &str) -> Option<Namespace> {
        let mut innermost_first = self.bindings.iter().rev();
        innermost_first
            .find(|binding| binding.prefix == prefix)
            .map(|binding| binding.namespace.clone())
    }

    fn add_attribute(
        &mut self,
        element: &mut Element,
        attribute: &RawAttribute<'_>,
    ) -> Result<(), XmlError> {
        if element.attributes().len() >= self.limits.attributes_max {
            return Err(XmlError::LimitExceeded(Limit::Attributes));
        }
        let value = attribute.resolved()?;
        let RawAttribute { prefix, local, .. } = *attribute;
        // Namespaces in XML s.6.2: the default namespace is not that of attributes.
        let namespace = prefix.map_or(Ok(Namespace::NONE), |prefix| self.resolve(prefix))?;
        if element.namespaced_attribute(namespace.as_str(), local).is_some() {
            return Err(XmlError::NotWellFormed(Defect::DuplicateAttribute));
        }
        if prefix != Some("xml") {
            self.namespace_bytes += namespace.as_str().len();
        }
        let local = names::kept(local);
        element.push_attribute(Attribute { namespace, local, value: value.into_owned() });
        Ok(())
    }
}

/// Whether there may be a namespace declaration in the tag.
fn may_declare(tag: &str) -> bool {
    let bytes = tag.as_bytes();
    memchr_iter(b'x', bytes).any(|at| matches!(bytes.get(at..at + 5), Some(b"xmlns")))
}

/// Takes the `/` off the end of an empty-element tag, and says whether it was there.
fn split_empty(tag: &str) -> (&str, bool) {
    match tag.strip_suffix('/') {
        Some(tag) => (tag, true),
        None => (tag, false),
    }
}

fn qualified_name(tag: &str) -> &str {
    let end = tag.bytes().position(names::is_white_space).unwrap_or(tag.len());
    tag.get(..end).unwrap_or_default()
}

fn is_white_space(character: char) -> bool {
    u8::try_from(character).is_ok_and(names::is_white_space)
}

/// XML s.2.11: every line end is read as one LF.
fn one_line_end(text: &str) -> Cow<'_, str> {
    if memchr(b'\r', text.as_bytes()).is_none() {
        return Cow::Borrowed(text);
    }
    BytesText::from_escaped(text).xml10_content()
}
