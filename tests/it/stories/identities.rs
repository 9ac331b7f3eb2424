//! Two local domains, each with a certificate of its own, and a partner that insists on both.

use tests::account::Account;
use tests::appliance::{EDGE, OPEN_POLICY, Setup};
use tests::contoso::{JULIET_JID, JULIET_PASSWORD, JULIET_URI, PARTNER, World, records};
use tests::dns::Dns;
use tests::namespace::{Place, in_namespace};
use tests::prosody::{self, Situation};
use tests::sip_user::{SipUser, Transport};
use tests::test_ca::{Leaf, TestCa, Usage};
use tests::wait::Deadline;

use super::certificates::{cert, installed, shown_to};

const ROSALINE: Account<'static> =
    Account { user: "rosaline", domain: "second.example", password: "rosaline-secret" };
const ROSALINE_JID: &str = "rosaline@second.example";

/// The edge's `[[xmpp.identity]]` of second.example, with another certificate for connections
/// that it opens.
fn identity(place: &Place, ca: &TestCa) -> String {
    let server = ca.issue(&Leaf::server("second.example"), "second");
    // Prosody takes a server for one by serverAuth alone.
    let client = Leaf::server("second.example").usage(Usage::Both);
    let client = ca.issue(&client, "second-client");
    assert!(server.certificate.starts_with(place.directory()));
    format!(
        "domains = [\"contoso.example\"]\n[[xmpp.identity]]\ndomains = [\"second.example\"]\n\
         certificate = {:?}\nkey = {:?}\nclient_certificate = {:?}\nclient_key = {:?}\n",
        server.certificate, server.key, client.certificate, client.key
    )
}

fn start(place: &Place) -> World {
    let ca = TestCa::new(place.directory(), "ca");
    let dns = Dns::start(place, &records().xmpp_server("second.example", EDGE));
    let prosody = prosody::Setup::new("fabrikam.example", PARTNER, Situation::Certified)
        .user("juliet", JULIET_PASSWORD)
        .start(place, &ca);
    let terms = "partner_type = \"federated\"\nsasl_negotiation = \"required\"\n\
                 dialback_negotiation = false";
    let policy = OPEN_POLICY.replace("partner_type = \"federated\"", terms);
    let policy = format!("{policy}\n[[local_domain]]\ndomain = \"second.example\"\n");
    let xmpp_settings = identity(place, &ca);
    let setup = Setup { policy: &policy, xmpp_settings: &xmpp_settings, ..Setup::default() };
    let appliance = setup.start(place, &ca);
    World { appliance, prosody, ca, dns }
}

#[test]
fn each_local_domain_shows_its_own_certificate_in_both_directions() {
    let test =
        "stories::identities::each_local_domain_shows_its_own_certificate_in_both_directions";
    in_namespace(test, |place| {
        let world = start(place);
        let (mut juliet, mut romeo) = (world.juliet(place), world.romeo(place));
        super::certificates::exchange(&mut juliet, &mut romeo, "to the first");
        world.appliance.add_user(&ROSALINE);
        let mut rosaline = SipUser::start(place, &ROSALINE);
        rosaline.connect(world.appliance.sip(), Transport::Tcp);
        assert_eq!(rosaline.register(600).status, 200);
        juliet.say(ROSALINE_JID, "to the second");
        rosaline.expect_text("to the second", Deadline::after_s(40));
        assert_eq!(rosaline.say(JULIET_URI, "from the second").status, 200);
        juliet.expect_message("the text", Deadline::after_s(40), |message| {
            message.is_from(ROSALINE_JID) && message.body.as_deref() == Some("from the second")
        });
        let dialback = world.appliance.edge_counter("edge_xmpp_authenticated_total", "dialback");
        assert_eq!(dialback, 0.0, "{JULIET_JID}'s server proved itself by its certificate");
    });
}

#[test]
fn the_certificate_follows_the_handshake_then_the_header_and_is_renewed_by_itself() {
    let test = "stories::identities::\
        the_certificate_follows_the_handshake_then_the_header_and_is_renewed_by_itself";
    in_namespace(test, |place| {
        let mut world = start(place);
        let read = |file: &str| installed(&place.directory().join(file));
        let (first, second) = (read("edge-public.pem"), read("second.pem"));
        let [contoso, in_second] =
            ["contoso", "second"].map(|name| ["-xmpphost".to_owned(), format!("{name}.example")]);
        let shown = |header: &[String; 2], asked_for: &[&str]| {
            shown_to(&[&header.each_ref().map(String::as_str), asked_for].concat())
        };
        for (header, asked_for, expected) in [
            (&contoso, &[][..], &first),
            (&in_second, &[], &second),
            (&contoso, &["-servername", "second.example"], &second),
            (&contoso, &["-servername", "other.example"], &first),
            (&in_second, &["-servername", "other.example"], &second),
        ] {
            assert_eq!(&shown(header, asked_for), expected, "{header:?} {asked_for:?}");
        }

        let which = ["--identity", "second.example"];
        let request = cert(place, &[&["request"], which.as_slice()].concat()).stdout;
        let request = String::from_utf8(request).expect("PEM is ASCII");
        let answer = place.write("answer.pem", &world.ca.sign(&request, &Leaf::requested()));
        let answer = answer.to_str().expect("the test's directory is UTF-8");
        cert(place, &[&["install", answer], which.as_slice()].concat());
        let edge = world.appliance.edge();
        let mark = edge.mark();
        edge.hang_up();
        tests::wait::until("all certificates read", Deadline::after_s(20), || {
            match world.appliance.edge().lines_with(mark, "a certificate was read anew").len() {
                3 => Ok(()),
                count => Err(format!("{count} of 3")),
            }
        });
        assert_ne!(read("second.pem"), second);
        assert_eq!(shown(&in_second, &[]), read("second.pem"));
        assert_eq!(shown(&contoso, &[]), first);
        // 2049-12-31, 00:00 UTC.
        let ends = |file: &str| {
            let name = "edge_certificate_expiry_timestamp_seconds";
            world.appliance.edge_counter(name, &format!("/{file}.pem"))
        };
        for file in ["edge-public", "second", "second-client", "edge-link"] {
            assert_eq!(ends(file), 2_524_521_600.0, "{file}");
        }
        let name = "gateway_certificate_expiry_timestamp_seconds";
        assert_eq!(world.appliance.frontend_counter(name, "/home.pem"), 2_524_521_600.0);
        let shown = String::from_utf8(cert(place, &["show"]).stdout).expect("it is UTF-8");
        for part in
            ["xmpp: ", "xmpp.identity second.example: ", "second.example client: ", "link: "]
        {
            assert!(shown.contains(part), "{part}: {shown}");
        }
    });
}
