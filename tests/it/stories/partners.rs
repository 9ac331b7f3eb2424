//! A partner that is added, changed or removed by a policy: at once, at all edges, and without a
//! word to the others.

use std::net::Ipv4Addr;

use tests::appliance::{EDGE, OPEN_POLICY, Setup, launch_replica};
use tests::namespace::{Place, in_namespace};
use tests::process::{Mark, Process};
use tests::prosody::{self, Prosody, Situation};
use tests::sip_user::SipUser;
use tests::wait::{Deadline, until};
use tests::xmpp_user::XmppUser;

use super::contoso::{self, JULIET_URI, ROMEO_JID, World, start_with_records};

/// Where the edge's replica is reached.
const SECOND: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 8);
/// Where the server of litware.example is reached.
const LITWARE: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 7);
const LIZ_URI: &str = "sip:liz@litware.example";
const PASSWORD: &str = "liz-secret";

/// Both partners, with more lines for litware.example.
fn policy(litware: Option<&str>) -> String {
    let litware = litware.map(|lines| {
        format!(
            "[[xmpp_partner]]\ndomain = \"litware.example\"\npartner_type = \"federated\"\n\
             allow_private_addresses = true\n{lines}\n"
        )
    });
    format!("{OPEN_POLICY}\n{}", litware.unwrap_or_default())
}

/// Everybody, with the streams that they have.
struct Scene<'a> {
    place: &'a Place,
    world: World,
    second: Process,
    litware: Prosody,
    romeo: SipUser,
    juliet: XmppUser,
    liz: XmppUser,
}

impl<'a> Scene<'a> {
    /// Fabrikam comes to the first edge, and litware to the second.
    fn start(place: &'a Place) -> Self {
        let setup = Setup {
            policy: &policy(Some("")),
            edges: &["edges.example:23456"],
            ..Setup::default()
        };
        let records = contoso::records()
            .address("edges.example", EDGE)
            .address("edges.example", SECOND)
            .xmpp_server("litware.example", LITWARE);
        let mut world =
            start_with_records(place, &setup, Situation::Certified, |prosody| prosody, &records);
        let mut second = launch_replica("edge-second", SECOND, place.directory());
        second.wait_for_line("a front end has attached", Deadline::after_s(60));
        let (mut juliet, mut romeo) = (world.juliet(place), world.romeo(place));
        exchange(&mut juliet, &mut romeo, JULIET_URI, "with fabrikam");

        let elsewhere =
            records.service("_xmpp-server._tcp.contoso.example", "second.contoso.example", 5269, 1);
        world.dns.replace(&elsewhere.address("second.contoso.example", SECOND));
        let litware = prosody::Setup::new("litware.example", LITWARE, Situation::Certified)
            .user("liz", PASSWORD)
            .start(place, &world.ca);
        let mut liz = XmppUser::connect(place, "liz@litware.example", PASSWORD, LITWARE);
        liz.be_available();
        exchange(&mut liz, &mut romeo, LIZ_URI, "with litware");
        Self { place, world, second, litware, romeo, juliet, liz }
    }

    fn apply(&mut self, policy: &str) {
        let marks = [self.world.appliance.edge().mark(), self.second.mark()];
        let file = self.place.write("changed.toml", policy);
        let file = file.to_str().expect("the path is UTF-8");
        let output = self.world.appliance.command(&["apply", file], "");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        for (edge, mark) in [self.world.appliance.edge(), &mut self.second].into_iter().zip(marks) {
            edge.wait_for_line_after(mark, "a policy is in force", Deadline::after_s(10));
        }
    }

    /// The streams of all edges with a partner, as they are shown but for their age.
    fn streams(&self, partner: &str) -> Vec<String> {
        let shown = self.world.appliance.edges();
        let of_partner = shown.iter().filter(|line| line.contains(partner));
        of_partner.filter_map(|line| line.split("\topen for").next()).map(str::to_owned).collect()
    }

    fn wait_for_streams(&self, partner: &str, expected: &[&str]) {
        until(&format!("the streams with {partner}"), Deadline::after_s(20), || {
            let streams = self.streams(partner);
            let is_so = streams.len() == expected.len()
                && streams.iter().zip(expected).all(|(line, word)| line.contains(word));
            if is_so { Ok(()) } else { Err(streams.join("\n")) }
        });
    }

    /// Waits until litware's server knows why both streams ended.
    fn wait_until_told(&mut self, since: Mark, condition: &str) {
        let ended = ["Outgoing s2s stream", "Incoming s2s stream"];
        for ended in ended {
            until(&format!("{ended}: {condition}"), Deadline::after_s(10), || {
                let lines = self.litware.process().lines_with(since, ended);
                let closed = format!("closed: {condition}");
                if lines.iter().any(|line| line.contains(&closed)) {
                    Ok(())
                } else {
                    Err(lines.join("\n"))
                }
            });
        }
    }

    /// How often a stream with a partner began, at either edge.
    fn streams_begun(&mut self, partner: &str) -> usize {
        let begun = ["a stream to the partner is open", "a peer has proven its domain"];
        let edges = [self.world.appliance.edge(), &mut self.second];
        let of_edge = |edge: &mut Process| {
            let lines = begun.map(|words| edge.lines_with(Mark::START, words));
            lines.concat().iter().filter(|line| line.contains(partner)).count()
        };
        edges.map(of_edge).into_iter().sum()
    }
}

fn exchange(user: &mut XmppUser, romeo: &mut SipUser, uri: &str, text: &str) {
    user.say(ROMEO_JID, text);
    romeo.expect_text(text, Deadline::after_s(40));
    assert_eq!(romeo.say(uri, text).status, 200);
    user.expect_message("the text", Deadline::after_s(40), |message| {
        message.is_from(ROMEO_JID) && message.body.as_deref() == Some(text)
    });
}

#[test]
fn a_partner_is_removed_added_and_changed_at_once_at_all_edges() {
    let test = "stories::partners::a_partner_is_removed_added_and_changed_at_once_at_all_edges";
    in_namespace(test, |place| {
        let mut scene = Scene::start(place);
        assert_eq!(scene.streams("litware").len(), 2);
        let fabrikam = (scene.streams("fabrikam"), scene.streams_begun("fabrikam"));
        assert_eq!(fabrikam.0.len(), 2);

        let mark = scene.litware.process().mark();
        scene.apply(&policy(None));
        scene.wait_for_streams("litware", &[]);
        scene.wait_until_told(mark, "policy-violation");
        assert_eq!(scene.romeo.say(LIZ_URI, "too late").status, 404);
        scene.liz.say(ROMEO_JID, "let me in");
        let refused = scene.liz.expect_message("an error", Deadline::after_s(40), |message| {
            message.is_from(ROMEO_JID) && message.kind.as_deref() == Some("error")
        });
        assert!(refused.error.is_some_and(|error| error.condition.is_some()));

        scene.apply(&policy(Some("")));
        exchange(&mut scene.liz, &mut scene.romeo, LIZ_URI, "again");
        scene.wait_for_streams("litware", &["SASL EXTERNAL", "SASL EXTERNAL"]);

        let mark = scene.litware.process().mark();
        scene.apply(&policy(Some("sasl_negotiation = \"not-supported\"")));
        scene.wait_until_told(mark, "reset");
        exchange(&mut scene.liz, &mut scene.romeo, LIZ_URI, "by dialback");
        scene.wait_for_streams("litware", &["dialback", "dialback"]);

        exchange(&mut scene.juliet, &mut scene.romeo, JULIET_URI, "undisturbed");
        let after = (scene.streams("fabrikam"), scene.streams_begun("fabrikam"));
        assert_eq!(after, fabrikam, "the other partner's streams went on");
    });
}
