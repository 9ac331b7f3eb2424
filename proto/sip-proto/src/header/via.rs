//! Via: one hop of the path that a request took (RFC 3261 s.20.42, RFC 3581).

use std::borrow::Cow;
use std::net::{IpAddr, SocketAddr};

use compact_str::CompactString;

use super::{HeaderName, Parameters, TypedHeader};
use crate::byte_set::TOKEN_OR_HOST;
use crate::error::Malformed;
use crate::scan::{Scanner, push_number};
use crate::uri::{Host, parse_host_port, parse_v6, push_address};

/// What every branch begins with that is unique across space and time (RFC 3261 s.8.1.1.7).
pub const MAGIC_COOKIE: &str = "z9hG4bK";

/// Where an element wants its responses: host and port of a Via.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SentBy {
    /// The host.
    pub host: Host,
    /// The port, when it is named.
    pub port: Option<u16>,
}

/// One Via value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Via {
    transport: CompactString,
    sent_by: SentBy,
    /// The parameters: branch, received, rport and others.
    pub parameters: Parameters,
}

/// One Via value as it stands in its text.
struct Parts<'a> {
    transport: &'a str,
    sent_by: SentBy,
    parameters: Cow<'a, str>,
}

impl Via {
    /// Makes the value that a client transaction puts on its request.
    #[must_use]
    pub fn new(transport: &'static str, sent_by: SentBy, branch: &str) -> Self {
        let mut parameters = Parameters::default();
        parameters.push("branch", Some(branch));
        Self { transport: CompactString::const_new(transport), sent_by, parameters }
    }

    /// Returns the transport as it was written: `UDP`, `TCP`, `TLS` or an unknown one.
    #[must_use]
    pub fn transport(&self) -> &str {
        &self.transport
    }

    /// Returns the sent-by.
    #[must_use]
    pub fn sent_by(&self) -> &SentBy {
        &self.sent_by
    }

    /// Returns the branch; none in a request of an RFC 2543 element.
    #[must_use]
    pub fn branch(&self) -> Option<&str> {
        self.parameters.raw("branch")
    }

    /// Records where a request came from: `received` always, `rport` when its sender asks.
    pub(crate) fn record_source(&mut self, source: SocketAddr) {
        // RFC 3261 s.18.2.1 asks for it when the addresses differ; RFC 3581 s.4 always beside
        // rport. A sender that reads neither ignores both.
        let has_rport = self.parameters.has("rport");
        self.parameters.replace(&["received", "rport"], |out| {
            out.push_str(";received=");
            push_address(out, source.ip().to_canonical());
            if has_rport {
                out.push_str(";rport=");
                push_number(out, source.port().into());
            }
        });
    }

    /// Reads one value, up to a comma or the end.
    pub(crate) fn scan(scanner: &mut Scanner<'_>) -> Result<Self, Malformed> {
        let Parts { transport, sent_by, parameters } = Parts::scan(scanner)?;
        let parameters = Parameters::of_scanned(parameters);
        Ok(Self { transport: CompactString::new(transport), sent_by, parameters })
    }

    /// Reads one value likewise, of which nothing is needed.
    pub(crate) fn skip(scanner: &mut Scanner<'_>) -> Result<(), Malformed> {
        Parts::scan(scanner).map(drop)
    }
}

impl<'a> Parts<'a> {
    fn scan(scanner: &mut Scanner<'a>) -> Result<Self, Malformed> {
        let name = scanner.token()?;
        scanner.expect(b'/', "the protocol has no version")?;
        let version = scanner.token()?;
        if !name.eq_ignore_ascii_case("SIP") || version != "2.0" {
            return Err(Malformed("the protocol is not SIP/2.0"));
        }
        scanner.expect(b'/', "the protocol has no transport")?;
        let transport = scanner.token()?;
        scanner.skip_lws();
        let sent_by = parse_sent_by(scanner)?;
        let mut checked = Ok(());
        let parameters = Parameters::scan(scanner, |name, value| {
            checked = checked.and_then(|()| check_parameter(name, value));
        })?;
        checked?;
        Ok(Self { transport, sent_by, parameters })
    }
}

impl TypedHeader for Via {
    const NAME: HeaderName = HeaderName::Via;

    fn parse(value: &str) -> Result<Self, Malformed> {
        let mut scanner = Scanner::new(value);
        let via = Self::scan(&mut scanner)?;
        scanner.finish()?;
        Ok(via)
    }

    fn write(&self, out: &mut String) {
        out.push_str("SIP/2.0/");
        out.push_str(&self.transport);
        out.push(' ');
        self.sent_by.write(out);
        self.parameters.write(out);
    }
}

impl SentBy {
    pub(crate) fn write(&self, out: &mut String) {
        self.host.write(out);
        if let Some(port) = self.port {
            out.push(':');
            push_number(out, port.into());
        }
    }
}

fn parse_sent_by(scanner: &mut Scanner<'_>) -> Result<SentBy, Malformed> {
    let text = scanner.take_all_of(&TOKEN_OR_HOST);
    let (host, port) = parse_host_port(text)?;
    if port.is_some() || !scanner.eat(b':') {
        return Ok(SentBy { host, port });
    }
    // RFC 3261 s.25.1: COLON allows whitespace between host and port.
    let (_, port) = parse_host_port(&format!("x:{}", scanner.token()?))?;
    Ok(SentBy { host, port })
}

fn check_parameter(name: &str, value: &str) -> Result<(), Malformed> {
    // RFC 4475 s.3.2.1: a branch with nothing behind the cookie identifies no transaction.
    if name.eq_ignore_ascii_case("branch") && (value.is_empty() || value == MAGIC_COOKIE) {
        return Err(Malformed("the branch is empty"));
    }
    if name.eq_ignore_ascii_case("received") {
        // RFC 5118 s.4.5: an IPv6 address is accepted with and without brackets.
        let bracketed = value.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        let is_address = match bracketed {
            Some(inner) => parse_v6(inner).is_ok(),
            None => value.parse::<IpAddr>().is_ok(),
        };
        if !is_address {
            return Err(Malformed("received is not an address"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wire(via: &Via) -> String {
        let mut out = String::new();
        via.write(&mut out);
        out
    }

    #[test]
    fn whitespace_around_separators_is_allowed() {
        let via = Via::parse(
            "SIP  / 2.0  / TCP     spindle.example.com   : 5060 ;  branch  =   z9hG4bK9ikj8",
        );
        let via = via.unwrap();
        assert_eq!((via.transport(), via.branch()), ("TCP", Some("z9hG4bK9ikj8")));
        assert_eq!(via.sent_by().host.name(), Some("spindle.example.com"));
        assert_eq!(via.sent_by().port, Some(5060));
        assert_eq!(wire(&via), "SIP/2.0/TCP spindle.example.com:5060;branch=z9hG4bK9ikj8");
    }

    #[test]
    fn unknown_transports_and_old_branches_are_accepted() {
        assert_eq!(Via::parse("SIP/2.0/UNKNOWN t4.example.com").unwrap().transport(), "UNKNOWN");
        assert_eq!(
            Via::parse("sip/2.0/udp h;branch=390skdjuw").unwrap().branch(),
            Some("390skdjuw")
        );
        assert!(
            Via::parse("SIP/2.0/TCP [2001:db8::9:1];received=2001:db8::9:255;branch=z9hG4bKas3")
                .is_ok()
        );
        assert!(Via::parse("SIP/2.0/TCP [2001:db8::9:1]:6050;received=[2001:db8::9:255]").is_ok());
    }

    #[test]
    fn refuses_other_protocols_empty_parameters_and_empty_branches() {
        for bad in [
            "SIP/7.0/UDP c.example.com;branch=z9hG4bKkdjuw",
            "HTTP/2.0/TCP c.example.com",
            "SIP/2.0 c.example.com",
            "SIP/2.0/UDP",
            "SIP/2.0/UDP 192.0.2.15;;,;,,",
            "SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK",
            "SIP/2.0/UDP 192.0.2.1;branch",
            "SIP/2.0/UDP 192.0.2.1;received=example.com",
            "SIP/2.0/UDP a:b",
            "SIP/2.0/UDP a : 99999",
        ] {
            assert!(Via::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_source_is_recorded_and_rport_filled_only_when_asked() {
        let mut via = Via::parse("SIP/2.0/TLS h;rport;branch=z9hG4bK1;received=192.0.2.7").unwrap();
        via.record_source("[::ffff:192.0.2.1]:4711".parse().unwrap());
        assert_eq!(wire(&via), "SIP/2.0/TLS h;branch=z9hG4bK1;received=192.0.2.1;rport=4711");
        let mut via = Via::parse("SIP/2.0/TLS h;branch=z9hG4bK1").unwrap();
        via.record_source("[2001:db8::1]:4711".parse().unwrap());
        assert_eq!(wire(&via), "SIP/2.0/TLS h;branch=z9hG4bK1;received=2001:db8::1");
        assert!(Via::parse(&wire(&via)).is_ok());
    }
}
