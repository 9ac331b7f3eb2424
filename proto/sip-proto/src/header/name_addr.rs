//! An address with its display name and parameters, as in From, To, Contact and Route.

use compact_str::CompactString;

use super::Parameters;
use crate::byte_set::TOKEN;
use crate::error::Malformed;
use crate::scan::{Scanner, push_quoted, unquote};
use crate::uri::Uri;

/// Room for what most addresses are when they are written, in bytes.
const WIRE_ROOM: usize = 128;

/// `name-addr` or `addr-spec` with header parameters (RFC 3261 s.20.10 and s.25.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NameAddr {
    display_name: Option<CompactString>,
    uri: Uri,
    /// The parameters behind the address, which are not those of the URI.
    pub parameters: Parameters,
}

impl NameAddr {
    /// Makes an address without display name and parameters.
    #[must_use]
    pub fn new(uri: Uri) -> Self {
        Self { display_name: None, uri, parameters: Parameters::default() }
    }

    /// Returns the address without its tag and other parameters.
    #[must_use]
    pub fn without_parameters(&self) -> Self {
        Self { parameters: Parameters::default(), ..self.clone() }
    }

    /// Sets the display name, which is written quoted and without control characters; an empty
    /// name is left out.
    #[must_use]
    pub fn with_display_name(mut self, name: &str) -> Self {
        self.display_name = (!name.is_empty()).then(|| CompactString::new(name));
        self
    }

    /// Reads one address and requires that nothing follows it.
    ///
    /// # Errors
    /// Fails when the value does not follow the grammar.
    pub fn parse(value: &str) -> Result<Self, Malformed> {
        let mut scanner = Scanner::new(value);
        let address = Self::scan(&mut scanner)?;
        scanner.finish()?;
        Ok(address)
    }

    /// Reads one address and its parameters, up to a comma or the end.
    pub(super) fn scan(scanner: &mut Scanner<'_>) -> Result<Self, Malformed> {
        scanner.skip_lws();
        let display_name = parse_display_name(scanner)?;
        if display_name.is_some() || scanner.peek() == Some(b'<') {
            return Self::scan_behind_name(scanner, display_name);
        }
        let uri = parse_bare(scanner)?;
        Ok(Self { display_name, uri, parameters: Parameters::parse(scanner)? })
    }

    /// Reads one address whose URI must be enclosed in brackets.
    pub(super) fn scan_enclosed(scanner: &mut Scanner<'_>) -> Result<Self, Malformed> {
        scanner.skip_lws();
        let display_name = parse_display_name(scanner)?;
        Self::scan_behind_name(scanner, display_name)
    }

    fn scan_behind_name(
        scanner: &mut Scanner<'_>,
        display_name: Option<CompactString>,
    ) -> Result<Self, Malformed> {
        // RFC 4475 s.3.1.2.14: whitespace inside of the brackets is an error.
        if !scanner.eat_exactly(b'<') {
            return Err(Malformed("a URI is not enclosed in brackets"));
        }
        let uri = Uri::parse(scanner.take_while(|byte| byte != b'>'))?;
        scanner.expect(b'>', "the bracket around a URI is not closed")?;
        Ok(Self { display_name, uri, parameters: Parameters::parse(scanner)? })
    }

    /// Returns the display name without quotes and escapes. It may hold control characters that
    /// the sender has escaped.
    #[must_use]
    pub fn display_name(&self) -> Option<&str> {
        self.display_name.as_deref()
    }

    /// Returns the URI.
    #[must_use]
    pub fn uri(&self) -> &Uri {
        &self.uri
    }

    /// Returns the address as it is written in a message.
    #[must_use]
    pub fn to_wire(&self) -> String {
        let mut out = String::with_capacity(WIRE_ROOM);
        self.write(&mut out);
        out
    }

    /// Appends the address as it is written in a message, its URI always enclosed.
    pub(crate) fn write(&self, out: &mut String) {
        if let Some(name) = &self.display_name {
            push_quoted(out, name);
            out.push(' ');
        }
        out.push('<');
        self.uri.write(out);
        out.push('>');
        self.parameters.write(out);
    }
}

/// Reads a quoted string or tokens when a `<` follows them.
fn parse_display_name(scanner: &mut Scanner<'_>) -> Result<Option<CompactString>, Malformed> {
    if scanner.peek() == Some(b'"') {
        let quoted = scanner.quoted()?;
        scanner.skip_lws();
        return Ok(Some(CompactString::from(unquote(quoted))));
    }
    let mut ahead = *scanner;
    // RFC 4475 s.3.1.1.6: the last token need not be followed by whitespace.
    let tokens = ahead.take_while(|byte| TOKEN.contains(byte) || matches!(byte, b' ' | b'\t'));
    if ahead.peek() != Some(b'<') {
        return Ok(None);
    }
    *scanner = ahead;
    let name = tokens.trim_end_matches([' ', '\t']);
    Ok((!name.is_empty()).then(|| CompactString::new(name)))
}

fn parse_bare(scanner: &mut Scanner<'_>) -> Result<Uri, Malformed> {
    // RFC 3261 s.20.10: a URI with a comma, question mark or semicolon must be enclosed, so
    // that what follows one of them belongs to the header field.
    let uri = scanner.take_while(|byte| !matches!(byte, b';' | b',' | b'?' | b' ' | b'\t'));
    scanner.skip_lws();
    if scanner.peek() == Some(b'?') {
        return Err(Malformed("a URI with header fields is not enclosed in brackets"));
    }
    Uri::parse(uri)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_behind_a_bare_uri_belong_to_the_header_field() {
        let bare = NameAddr::parse("sip:+19725552222@gw1.example.net;unknownparam").unwrap();
        assert!(bare.parameters.has("unknownparam"));
        assert!(!bare.uri().has_parameter("unknownparam"));
        let enclosed = NameAddr::parse("<sip:+19725552222@gw1.example.net;unknownparam>").unwrap();
        assert!(enclosed.uri().has_parameter("unknownparam"));
        assert!(!enclosed.parameters.has("unknownparam"));
    }

    #[test]
    fn display_names_may_be_tokens_or_quoted_and_need_no_space_before_the_bracket() {
        for (text, name) in [
            ("caller<sip:caller@example.com>;tag=323", Some("caller")),
            ("A. Bell <sip:a@example.com>", Some("A. Bell")),
            (
                "token1~` token2'+_ token3*%!.- <sip:m@example.com>",
                Some("token1~` token2'+_ token3*%!.-"),
            ),
            (r#""J Rosenberg \\\""       <sip:j@example.com>"#, Some(r#"J Rosenberg \""#)),
            (r#""a <b>; c"<sip:j@example.com>"#, Some("a <b>; c")),
            ("\"\" <sip:j@example.com>", Some("")),
            ("<sip:j@example.com>", None),
            ("sip:j@example.com", None),
        ] {
            assert_eq!(NameAddr::parse(text).unwrap().display_name(), name, "{text}");
        }
    }

    #[test]
    fn refuses_what_rfc_4475_shows_as_broken() {
        for bad in [
            "\"Mr. J. User <sip:j.user@example.com>",
            "\"Watson, Thomas\" < sip:t.watson@example.org >",
            "\"Watson, Thomas\" <sip:t.watson@example.org >",
            "Bell, Alexander <sip:a.g.bell@example.com>;tag=43",
            "sip:user@example.com?Route=%3Csip:sip.example.com%3E",
            "\"Joe\" <sip:joe@example.org>;;;;",
            "\"Joe\" sip:joe@example.org",
            "<sip:joe@example.org",
            "sip:joe@example.org>",
            "<sip:joe@example.org> x",
            "<sip:a@example.org>, <sip:b@example.org>",
            "Žluťoučký <sip:joe@example.org>",
            "alan@jasomi.com",
            "",
        ] {
            assert!(NameAddr::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_display_name_cannot_end_its_quotes_or_its_line() {
        let uri = Uri::parse("sip:a@b.example").unwrap();
        let address = NameAddr::new(uri).with_display_name("x\" <sip:evil@e.example>\r\nTo: y");
        let text = address.to_wire();
        assert_eq!(text, "\"x\\\" <sip:evil@e.example>To: y\" <sip:a@b.example>");
        assert_eq!(NameAddr::parse(&text).unwrap().uri(), address.uri());
    }

    #[test]
    fn what_is_written_reads_back_as_the_same_address() {
        for text in ["\"A \\\"b\\\"\" <sip:a@b.example;lr>;tag=1;x", "sip:a@b.example;q=0.3"] {
            let address = NameAddr::parse(text).unwrap();
            assert_eq!(NameAddr::parse(&address.to_wire()), Ok(address));
        }
    }
}
