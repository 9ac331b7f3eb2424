//! Presence in both directions: asked for, granted, refused, shown, taken back, and kept.

use tests::appliance::Setup;
use tests::namespace::in_namespace;
use tests::prosody::Situation;
use tests::sip_user::{Received, SipUser, Subscription, pidf};
use tests::wait::{Deadline, until};
use tests::xmpp_user::{Event, NewPresence, XmppUser};

use super::contoso::{JULIET_JID, JULIET_URI, ROMEO_JID, start};

const ROMEO_URI: &str = "sip:romeo@contoso.example";

fn soon() -> Deadline {
    Deadline::after_s(20)
}

/// Juliet shows herself; Romeo sees it in a NOTIFY that has all of `parts`.
fn juliet_shows(
    juliet: &mut XmppUser,
    romeo: &mut SipUser,
    subscription: &Subscription,
    presence: &NewPresence<'_>,
    parts: &[&str],
) {
    juliet.send_presence(presence);
    romeo.expect_notify(subscription, &parts.join(", "), soon(), |notify| {
        parts.iter().all(|part| notify.body.contains(part))
    });
}

#[test]
fn a_sip_user_watches_an_xmpp_user() {
    in_namespace("stories::presence::a_sip_user_watches_an_xmpp_user", |place| {
        let world = start(place, &Setup::default(), Situation::Certified, |prosody| prosody);
        let mut juliet = world.juliet(place);
        let mut romeo = world.romeo(place);
        let subscription = romeo.subscribe(JULIET_URI, 600);
        assert_eq!(subscription.response.status, 200);
        let state = |state: &'static str| {
            move |notify: &Received| notify.header("Subscription-State").starts_with(state)
        };
        let pending = romeo.expect_notify(&subscription, "pending", soon(), state("pending"));
        assert_eq!(pending.body, "", "nothing is shown before it is granted");
        juliet.expect_presence_type(ROMEO_JID, "subscribe", soon());
        juliet.send_presence_type(ROMEO_JID, "subscribed");
        romeo.expect_notify(&subscription, "active and open", soon(), |notify| {
            state("active")(notify) && notify.body.contains(">open<")
        });

        let away = NewPresence {
            show: Some("away"),
            status: Some("at lunch & <b>"),
            ..Default::default()
        };
        let parts = [">open<", ">away<", "at lunch &amp; &lt;b"];
        juliet_shows(&mut juliet, &mut romeo, &subscription, &away, &parts);
        let busy = NewPresence { show: Some("dnd"), priority: Some(5), ..Default::default() };
        juliet_shows(&mut juliet, &mut romeo, &subscription, &busy, &[">dnd<", "0.039"]);
        let gone = NewPresence { kind: Some("unavailable"), ..Default::default() };
        juliet_shows(&mut juliet, &mut romeo, &subscription, &gone, &[">closed<"]);
        juliet_shows(&mut juliet, &mut romeo, &subscription, &NewPresence::default(), &[">open<"]);

        assert_eq!(romeo.resubscribe(&subscription, 0).status, 200);
        romeo.expect_notify(&subscription, "the end", soon(), state("terminated;reason=timeout"));
        // What was granted stays: nobody is asked again.
        let again = romeo.subscribe(JULIET_URI, 600);
        romeo.expect_notify(&again, "open at once", soon(), |it| it.body.contains(">open<"));
        juliet.send_presence_type(ROMEO_JID, "unsubscribed");
        romeo.expect_notify(&again, "taken back", soon(), state("terminated;reason=rejected"));
        assert!(!juliet.waiting_events().iter().any(|event| matches!(
            event,
            Event::Presence(stanza) if stanza.kind.as_deref() == Some("subscribe")
        )));
    });
}

#[test]
fn an_xmpp_user_watches_a_sip_user() {
    in_namespace("stories::presence::an_xmpp_user_watches_a_sip_user", |place| {
        let mut world = start(place, &Setup::default(), Situation::Certified, |prosody| prosody);
        let mut juliet = world.juliet(place);
        let mut romeo = world.romeo(place);
        let mark = world.prosody.process().mark();
        juliet.send_presence_type(ROMEO_JID, "subscribe");
        juliet.expect_presence_type(ROMEO_JID, "subscribed", soon());
        let shown = |juliet: &mut XmppUser, show: Option<&str>, status: Option<&str>| {
            juliet.expect_presence(&format!("{show:?} {status:?}"), soon(), |it| {
                it.is_from(ROMEO_JID)
                    && it.kind.is_none()
                    && it.show.as_deref() == show
                    && it.status.as_deref() == status
            })
        };
        shown(&mut juliet, None, None);
        assert_eq!(
            romeo.publish(&pidf(ROMEO_URI, true, "im Gespräch &lt;&amp;>"), 600).status,
            200
        );
        shown(&mut juliet, None, Some("im Gespräch <&>"));
        let away = pidf(ROMEO_URI, true, "").replace(
            "<basic>open</basic>",
            "<basic>open</basic><show xmlns='jabber:client'>away</show>",
        );
        assert_eq!(romeo.publish(&away, 600).status, 200);
        shown(&mut juliet, Some("away"), None);
        let dnd = pidf(ROMEO_URI, true, "").replace(
            "</presence>",
            "<person xmlns='urn:ietf:params:xml:ns:pidf:data-model' id='p1'>\
             <activities xmlns='urn:ietf:params:xml:ns:pidf:rpid'><busy/></activities>\
             </person></presence>",
        );
        assert_eq!(romeo.publish(&dnd, 600).status, 200);
        shown(&mut juliet, Some("dnd"), None);
        assert_eq!(romeo.publish(&pidf(ROMEO_URI, false, ""), 600).status, 200);
        juliet.expect_presence_type(ROMEO_JID, "unavailable", soon());
        // Prosody keeps the confirmation to itself, so that what follows must show the end.
        juliet.send_presence_type(ROMEO_JID, "unsubscribe");
        until("the confirmation", soon(), || {
            match world.prosody.process().lines_with(mark, "type='unsubscribed'").len() {
                0 => Err("Prosody has not received it".to_owned()),
                _ => Ok(()),
            }
        });
        assert_eq!(romeo.publish(&pidf(ROMEO_URI, true, "nobody sees this"), 600).status, 200);
        assert_eq!(romeo.say(JULIET_URI, "afterwards").status, 200);
        juliet.expect_message("a fence", soon(), |it| it.body.as_deref() == Some("afterwards"));
        assert!(!juliet.waiting_events().iter().any(|event| matches!(
            event,
            Event::Presence(stanza) if stanza.status.as_deref() == Some("nobody sees this")
        )));
    });
}

#[test]
fn a_refused_wish_ends_with_a_reason_on_both_sides() {
    let test = "stories::presence::a_refused_wish_ends_with_a_reason_on_both_sides";
    in_namespace(test, |place| {
        let policy = tests::appliance::OPEN_POLICY.replace("federated", "public-unverified");
        let setup = Setup { policy: &policy, ..Setup::default() };
        let world = start(place, &setup, Situation::Certified, |prosody| prosody);
        let mut juliet = world.juliet(place);
        let mut romeo = world.romeo(place);
        // Of an unverified partner a wish waits at the home, until the user or an administrator
        // decides.
        juliet.send_presence_type(ROMEO_JID, "subscribe");
        until("a wish that waits", soon(), || {
            match world.appliance.frontend_counter("gateway_stanzas_received_total", "presence") {
                0.0 => Err("no presence has come".to_owned()),
                _ => Ok(()),
            }
        });
        let output = world.appliance.command(&["user", "deny", ROMEO_JID, JULIET_JID], "");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        juliet.expect_presence_type(ROMEO_JID, "unsubscribed", soon());

        let subscription = romeo.subscribe(JULIET_URI, 600);
        juliet.expect_presence_type(ROMEO_JID, "subscribe", soon());
        juliet.send_presence_type(ROMEO_JID, "unsubscribed");
        romeo.expect_notify(&subscription, "refused", soon(), |notify| {
            notify.header("Subscription-State") == "terminated;reason=rejected"
        });
    });
}

#[test]
fn subscriptions_survive_the_death_of_the_front_end() {
    let test = "stories::presence::subscriptions_survive_the_death_of_the_front_end";
    in_namespace(test, |place| {
        let mut world = start(place, &Setup::default(), Situation::Certified, |prosody| prosody);
        let mut juliet = world.juliet(place);
        let mut romeo = world.romeo(place);
        romeo.stay_registered();
        let subscription = romeo.subscribe(JULIET_URI, 600);
        juliet.expect_presence_type(ROMEO_JID, "subscribe", soon());
        juliet.send_presence_type(ROMEO_JID, "subscribed");
        romeo.expect_notify(&subscription, "open", soon(), |it| it.body.contains(">open<"));
        juliet.send_presence_type(ROMEO_JID, "subscribe");
        juliet.expect_presence_type(ROMEO_JID, "subscribed", soon());
        romeo.publish(&pidf(ROMEO_URI, true, "before"), 600);
        juliet.expect_presence("before", soon(), |it| it.status.as_deref() == Some("before"));
        let is_new = |event: &Event| {
            matches!(event, Event::Presence(stanza)
                if matches!(stanza.kind.as_deref(), Some("subscribe" | "subscribed")))
        };
        let before = juliet.waiting_events().iter().filter(|event| is_new(event)).count();

        world.appliance.frontend().kill_9();
        world.appliance.restart_frontend();
        world.appliance.wait_until_ready();
        let away = NewPresence { show: Some("away"), status: Some("after"), ..Default::default() };
        juliet_shows(&mut juliet, &mut romeo, &subscription, &away, &[">away<", ">after<"]);
        let published = romeo.publish(&pidf(ROMEO_URI, true, "after"), 600);
        assert_eq!(published.status, 200);
        juliet.expect_presence("after", soon(), |it| it.status.as_deref() == Some("after"));
        let after = juliet.waiting_events().iter().filter(|event| is_new(event)).count();
        assert_eq!(before, after, "nobody was asked again");
    });
}
