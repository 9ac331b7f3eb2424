//! Partners whose DNS lies: nobody is led where they must not be, and senders learn what they may.

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, TcpListener};

use tests::appliance::{EDGE, OPEN_POLICY, Setup};
use tests::contoso::{JULIET_JID, JULIET_PASSWORD, JULIET_URI, PARTNER, ROMEO, ROMEO_JID};
use tests::lying_dns::{Kind, LyingDns, Record, Reply};
use tests::namespace::in_namespace;
use tests::process::Mark;
use tests::prosody::{self, Situation};
use tests::sip_user::{NewMessage, SipUser, Transport};
use tests::test_ca::TestCa;
use tests::wait::{Deadline, until};
use tests::xmpp_user::XmppUser;

/// An address of the edge's host that lies in no special range.
const OWN: Ipv4Addr = Ipv4Addr::new(11, 0, 0, 1);
/// One that nobody has.
const NOBODY: Ipv4Addr = Ipv4Addr::new(11, 0, 0, 2);
/// An inner host, which no partner may lead us to.
const INNER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 9);

/// Servers that the hostile name server names at once; the answer is as long as answers can be.
const FLOOD: u16 = 1000;

/// What a message to a liar comes to: the domain, the status, its reason without the domain, and
/// what the edge's log says.
const OUTCOMES: &[(&str, u16, &str, &str)] = &[
    ("silent", 408, "cannot be looked up: DNS does not answer", "no answer"),
    ("failing", 408, "cannot be looked up: DNS does not answer", "_xmpp-server._tcp.failing"),
    ("gone", 404, "does not exist in DNS: check the address", "gone.example does not exist"),
    ("none", 404, "has no XMPP service for other servers", "DNS names no server"),
    ("homeless", 404, "has no address in DNS", "xmpp.homeless.example has no address"),
    ("loop", 404, "has no address in DNS", "xmpp.loop.example has no address"),
    ("private", 408, UNREACHED, "127.0.0.9 (the address is in a special-purpose range)"),
    ("mapped", 408, UNREACHED, "64:ff9b::7f00:9 (the address is in a special-purpose range)"),
    ("aliased", 408, UNREACHED, "127.0.0.9 (the address is in a special-purpose range)"),
    ("rebinding", 408, UNREACHED, "11.0.0.2"),
    ("wide", 408, UNREACHED, "127.9.0.5 (the address is in a special-purpose range)"),
    ("flood", 408, UNREACHED, "the address is in a special-purpose range"),
    ("own", 408, UNREACHED, "11.0.0.1 (the address is our own)"),
    ("mail", 408, UNREACHED, "the port is another service's"),
    ("link", 408, UNREACHED, "the port is one of our own services"),
    ("closed", 408, UNREACHED, "11.0.0.2"),
];
const UNREACHED: &str = "can be reached";

fn servers(host: &str, port: u16) -> Reply {
    Reply::Records(vec![Record::Server(host.to_owned(), port, 0)])
}

fn addresses(addresses: impl IntoIterator<Item = impl Into<IpAddr>>) -> Reply {
    Reply::Records(addresses.into_iter().map(|it| Record::Address(it.into())).collect())
}

/// What the name server says of servers; most domains have one at `xmpp.<domain>`.
fn lie_about_servers(service: &str, domain: &str) -> Reply {
    let label = domain.split('.').next().unwrap_or_default();
    let host = format!("xmpp.{domain}");
    match label {
        "silent" => Reply::Silence,
        "failing" => Reply::Failure,
        _ if service == "_xmpps-server" => Reply::NoSuchName,
        "gone" => Reply::NoSuchName,
        "none" => servers(".", 0),
        "mail" => servers(&host, 25),
        "link" => servers(&host, 23456),
        "flood" => {
            let one = |number| Record::Server(format!("h{number}"), 5269, number);
            Reply::Records((0..FLOOD).map(one).collect())
        }
        _ => servers(&host, 5269),
    }
}

/// What it says of addresses.
fn lie_about_addresses(name: &str, count: usize) -> Reply {
    let alias = |name: &str| Record::Alias(name.to_owned());
    match name {
        "xmpp.fabrikam.example" => addresses([PARTNER]),
        "xmpp.contoso.example" => addresses([EDGE]),
        "xmpp.private.example" => addresses([INNER]),
        "xmpp.mapped.example" => {
            let forms = ["::ffff:127.0.0.9", "64:ff9b::7f00:9", "2002:7f00:9::", "::7f00:9"];
            addresses(forms.map(|form| form.parse::<IpAddr>().expect("it is an address")))
        }
        "xmpp.aliased.example" => Reply::Records(vec![
            alias("a.aliased.example"),
            alias("b.aliased.example"),
            alias("c.elsewhere.example"),
            Record::Address(INNER.into()),
        ]),
        "xmpp.loop.example" => {
            Reply::Records(vec![alias("a.loop.example"), alias("xmpp.loop.example")])
        }
        "xmpp.rebinding.example" if count.is_multiple_of(2) => addresses([NOBODY]),
        "xmpp.rebinding.example" => addresses([INNER]),
        "xmpp.wide.example" => {
            addresses((0..1500_u32).map(|it| Ipv4Addr::from_bits(0x7f09_0000 + it)))
        }
        "xmpp.own.example" | "xmpp.mail.example" | "xmpp.link.example" => addresses([OWN]),
        "xmpp.closed.example" => addresses([NOBODY]),
        "xmpp.homeless.example" => Reply::Records(Vec::new()),
        name if name.starts_with('h') && !name.contains('.') => addresses([INNER]),
        _ => Reply::NoSuchName,
    }
}

fn lie(name: &str, kind: Kind, count: usize) -> Reply {
    match (kind, name.split_once("._tcp.")) {
        (Kind::Srv, Some((service, domain))) => lie_about_servers(service, domain),
        (Kind::Srv, None) => Reply::NoSuchName,
        (Kind::A | Kind::Aaaa, _) => lie_about_addresses(name, count),
    }
}

/// The liars as partners: what waits for them comes back soon.
fn policy() -> String {
    let partners = OUTCOMES.iter().map(|(label, ..)| {
        format!(
            "[[xmpp_partner]]\ndomain = \"{label}.example\"\npartner_type = \"federated\"\n\
             queue = {{ age_s_max = 1 }}\n"
        )
    });
    format!("{OPEN_POLICY}\n{}", partners.collect::<String>())
}

fn trap(address: Ipv4Addr, port: u16) -> TcpListener {
    let listener = TcpListener::bind((address, port)).expect("the address is the test's own");
    listener.set_nonblocking(true).expect("a socket has options");
    listener
}

#[test]
fn nobody_is_led_where_no_partner_may_lead_and_every_sender_learns_why() {
    let test = "hostile::lying_dns::\
        nobody_is_led_where_no_partner_may_lead_and_every_sender_learns_why";
    in_namespace(test, |place| {
        place.add_interface("own", OWN);
        let dns = LyingDns::start(lie);
        let traps = [trap(INNER, 5269), trap(OWN, 5269), trap(OWN, 25), trap(OWN, 23456)];
        let ca = TestCa::new(place.directory(), "ca");
        let _prosody = prosody::Setup::new("fabrikam.example", PARTNER, Situation::Certified)
            .user("juliet", JULIET_PASSWORD)
            .start(place, &ca);
        let policy = policy();
        let setup = Setup { policy: &policy, lookup_ms_max: 200, ..Setup::default() };
        let mut appliance = setup.start(place, &ca);
        let mut juliet = XmppUser::connect(place, JULIET_JID, JULIET_PASSWORD, PARTNER);
        juliet.be_available();
        appliance.add_user(&ROMEO);
        let mut romeo = SipUser::start(place, &ROMEO);
        romeo.connect(appliance.sip(), Transport::Tcp);
        assert_eq!(romeo.register(600).status, 200);

        let mut begun = Vec::new();
        for (label, ..) in OUTCOMES {
            let to = format!("sip:somebody@{label}.example");
            let message = NewMessage { to: &to, body: b"hello?", ..NewMessage::default() };
            begun.push(romeo.begin_send(&message));
        }
        juliet.say(ROMEO_JID, "meanwhile");
        romeo.expect_text("meanwhile", Deadline::after_s(20));
        let status = romeo.say(JULIET_URI, "and back").status;
        assert!(status == 200 || status == 202, "{status}");

        for ((label, status, reason, record), begun) in OUTCOMES.iter().zip(begun) {
            let response = romeo.finish(begun, Deadline::after_s(30));
            let line = &response.received.start_line;
            assert_eq!(response.status, *status, "{label}: {line}");
            assert!(line.contains(reason), "{label}: {line}");
            assert!(!line.contains("11.0.0") && !line.contains("127."), "{label}: {line}");
            if *reason == UNREACHED {
                let all = format!("no server of {label}.example can be reached");
                assert!(line.ends_with(&all), "{label} can be told from others: {line}");
            }
            let partner = format!("\"partner\":\"{label}.example\"");
            until(&format!("{label} in the log"), Deadline::after_s(10), || {
                let lines = appliance.edge().lines_with(Mark::START, &partner);
                let found = lines.iter().any(|line| line.contains(record));
                if found { Ok(()) } else { Err(lines.join("\n")) }
            });
        }
        for trap in traps {
            let caught = trap.accept().map(|(_, from)| from);
            assert_eq!(caught.map_err(|error| error.kind()), Err(ErrorKind::WouldBlock));
        }
        assert_bounded(&dns, &mut appliance);
        let forbidden = appliance.edge_counter("edge_xmpp_connect_failures_total", "forbidden");
        assert!(forbidden >= 8.0, "{forbidden}");
    });
}

/// However much the name server says, an attempt asks it little and tries few addresses.
fn assert_bounded(dns: &LyingDns, appliance: &mut tests::appliance::Appliance) {
    let mut lines = |label: &str, words: &str| {
        let partner = format!("\"partner\":\"{label}.example\"");
        let lines = appliance.edge().lines_with(Mark::START, &partner);
        lines.into_iter().filter(|line| line.contains(words)).collect::<Vec<_>>()
    };
    let attempts = lines("flood", "the partner cannot be reached").len();
    let hosts = (0..FLOOD).map(|number| dns.question_count(&format!("h{number}"))).sum::<usize>();
    assert!(hosts <= attempts * 8, "{hosts} questions in {attempts} attempts");
    let wide = lines("wide", "a server was not reached");
    assert!(!wide.is_empty());
    for line in wide {
        assert_eq!(line.matches("127.9.0.").count(), 6, "{line}");
    }
    assert!(dns.question_count("xmpp.rebinding.example") <= 2, "an answer is kept for a while");
}
