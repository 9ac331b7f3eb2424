//! The scripted XMPP user on Prosody: raw XML, requests, errors, a server that is restarted.

use std::net::Ipv4Addr;

use tests::namespace::in_namespace;
use tests::prosody::{Setup, Situation};
use tests::test_ca::TestCa;
use tests::wait::Deadline;
use tests::xmpp_user::XmppUser;

const SERVER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
const ROMEO: &str = "romeo@contoso.example";

#[test]
fn a_user_lives_through_errors_and_restarts() {
    in_namespace("peers::xmpp_user::a_user_lives_through_errors_and_restarts", |place| {
        let ca = TestCa::new(place.directory(), "ca");
        let mut prosody = Setup::new("contoso.example", SERVER, Situation::Certified)
            .user("romeo", "secret-r")
            .user("juliet", "secret-j")
            .without_stream_management()
            .start(place, &ca);
        let mut romeo =
            XmppUser::connect(place, "romeo@contoso.example/orchard", "secret-r", SERVER);
        let mut juliet = XmppUser::connect(place, "juliet@contoso.example", "secret-j", SERVER);
        let deadline = Deadline::after_s(20);
        let refused = romeo.request("get", "contoso.example", "<fly xmlns='urn:example'/>");
        let error = refused.error.expect("nobody can fly");
        assert_eq!(error.condition.as_deref(), Some("service-unavailable"));

        // A text for an absent user comes with the time at which it was kept.
        romeo.close();
        romeo.expect_disconnect(deadline);
        juliet.send_raw(
            "<message to='romeo@contoso.example' type='chat'><body>kept</body></message>",
        );
        let pong = juliet.request("get", "contoso.example", "<ping xmlns='urn:xmpp:ping'/>");
        assert_eq!(pong.kind.as_deref(), Some("result"), "all before it was handled");
        prosody.restart();
        juliet.expect_disconnect(deadline);
        romeo.reconnect("secret-r", SERVER);
        romeo.be_available();
        let kept = romeo.expect_message("the kept text", deadline, |m| m.delay_stamp.is_some());
        assert_eq!(kept.body.as_deref(), Some("kept"));

        juliet.reconnect("secret-j", SERVER);
        juliet.say(ROMEO, "again");
        romeo.expect_message("the second text", deadline, |m| m.body.as_deref() == Some("again"));
        juliet.send_raw("<message></wrong>");
        assert_eq!(juliet.expect_disconnect(deadline).as_deref(), Some("not-well-formed"));
    });
}
