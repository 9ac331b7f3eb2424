//! A new certificate is asked for, installed and taken into use, and streams that stand go on.

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use tests::appliance::{EDGE, Setup, run_command};
use tests::contoso::{JULIET_URI, ROMEO_JID, World, start};
use tests::namespace::{Place, in_namespace};
use tests::process::Mark;
use tests::prosody::Situation;
use tests::sip_user::SipUser;
use tests::test_ca::Leaf;
use tests::wait::{Deadline, until};
use tests::xmpp_user::XmppUser;

/// What the edge's log says of each stream that opens.
const OPENED: [&str; 2] = ["a stream to the partner is open", "a peer has proven its domain"];

pub(super) fn cert(place: &Place, arguments: &[&str]) -> Output {
    let arguments = [&["cert"], arguments].concat();
    let output = run_command("edge-proxy", "edge", place.directory(), &arguments, "");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output
}

/// The certificate that a server which connects now is shown.
fn shown() -> String {
    shown_to(&["-xmpphost", "contoso.example"])
}

/// The same for one that names a domain in the clear, in the handshake, or both.
pub(super) fn shown_to(names: &[&str]) -> String {
    let output = Command::new("openssl")
        .args(["s_client", "-starttls", "xmpp-server", "-connect"])
        .arg(format!("{EDGE}:5269"))
        .args(names)
        .stdin(Stdio::null())
        .output()
        .expect("openssl is installed");
    first_certificate(&String::from_utf8_lossy(&output.stdout))
}

pub(super) fn installed(file: &Path) -> String {
    first_certificate(&fs::read_to_string(file).expect("it is there"))
}

fn first_certificate(text: &str) -> String {
    let (_, rest) = text.split_once("-----BEGIN CERTIFICATE-----").expect("there is a certificate");
    let (base64, _) = rest.split_once("-----END").expect("a certificate has an end");
    base64.split_whitespace().collect()
}

pub(super) fn exchange(juliet: &mut XmppUser, romeo: &mut SipUser, text: &str) {
    juliet.say(ROMEO_JID, text);
    romeo.expect_text(text, Deadline::after_s(40));
    assert_eq!(romeo.say(JULIET_URI, text).status, 200);
    juliet.expect_message("the text", Deadline::after_s(40), |message| {
        message.is_from(ROMEO_JID) && message.body.as_deref() == Some(text)
    });
}

/// Names the domain in the edge's configuration, which only the commands read again.
fn name_domains(place: &Place) {
    let file = place.directory().join("edge.toml");
    let text = fs::read_to_string(&file).expect("it was written");
    let names = "domains = [\"contoso.example\"]\n[xmpp.limits]";
    fs::write(&file, text.replace("[xmpp.limits]", names)).expect("it can be written");
}

/// Asks for a certificate, installs it, and tells the edge after `before`.
fn renew(place: &Place, world: &mut World, before: impl FnOnce()) {
    let request = String::from_utf8(cert(place, &["request"]).stdout).expect("PEM is ASCII");
    let answer = place.write("answer.pem", &world.ca.sign(&request, &Leaf::requested()));
    cert(place, &["install", answer.to_str().expect("the test's directory is UTF-8")]);
    before();
    let mark = world.appliance.edge().mark();
    world.appliance.edge().hang_up();
    let deadline = Deadline::after_s(20);
    until("both certificates read", deadline, || {
        let read = world.appliance.edge().lines_with(mark, "a certificate was read anew").len();
        if read == 2 { Ok(()) } else { Err(format!("{read} of 2")) }
    });
}

/// The streams that the front end shows, without their age.
fn streams(world: &World) -> Vec<String> {
    let lines = world.appliance.edges().into_iter().filter(|line| line.starts_with("  "));
    lines.filter_map(|it| it.split("open for").next().map(str::to_owned)).collect()
}

#[test]
fn a_certificate_is_renewed_while_streams_stay() {
    in_namespace("stories::certificates::a_certificate_is_renewed_while_streams_stay", |place| {
        let mut world = start(place, &Setup::default(), Situation::Certified, |prosody| prosody);
        name_domains(place);
        let (mut juliet, mut romeo) = (world.juliet(place), world.romeo(place));
        exchange(&mut juliet, &mut romeo, "before");
        let in_use = place.directory().join("edge-public.pem");
        let first = installed(&in_use);
        assert_eq!(shown(), first);
        let before = OPENED.map(|it| world.appliance.edge().lines_with(Mark::START, it).len());
        assert!(before.iter().all(|count| *count > 0), "{before:?}");
        let open = streams(&world);
        assert_eq!(open.len(), 2, "{open:?}");

        renew(place, &mut world, || assert_eq!(shown(), first, "before the edge is told"));
        let second = installed(&in_use);
        assert_ne!(second, first);
        assert_eq!(shown(), second);

        exchange(&mut juliet, &mut romeo, "after");
        assert_eq!(streams(&world), open);
        let after = OPENED.map(|it| world.appliance.edge().lines_with(Mark::START, it).len());
        assert_eq!(after, before, "no stream was opened anew");

        // The partner, made anew, takes the new certificate in both directions.
        world.prosody.restart();
        let mut juliet = world.juliet(place);
        exchange(&mut juliet, &mut romeo, "anew");
        cert(place, &["show"]);
    });
}

#[test]
fn a_hundred_renewals_fail_no_handshake_and_end_no_stream() {
    let test = "stories::certificates::a_hundred_renewals_fail_no_handshake_and_end_no_stream";
    in_namespace(test, |place| {
        let mut world = start(place, &Setup::default(), Situation::Certified, |prosody| prosody);
        name_domains(place);
        let (mut juliet, mut romeo) = (world.juliet(place), world.romeo(place));
        exchange(&mut juliet, &mut romeo, "before");
        let open = streams(&world);
        assert_eq!(open.len(), 2, "{open:?}");
        let is_over = AtomicBool::new(false);
        thread::scope(|scope| {
            let handshakes = scope.spawn(|| {
                let mut seen = Vec::new();
                // A round that fails tells nobody.
                let deadline = Deadline::after_s(300);
                while !is_over.load(Ordering::Relaxed) && !deadline.has_passed() {
                    seen.push(shown());
                }
                seen
            });
            for round in 0..100 {
                assert!(!handshakes.is_finished(), "a handshake failed in round {round}");
                renew(place, &mut world, || ());
                exchange(&mut juliet, &mut romeo, &format!("round {round}"));
            }
            is_over.store(true, Ordering::Relaxed);
            let mut seen = handshakes.join().expect("each handshake ended with a certificate");
            seen.dedup();
            assert!(seen.len() > 20, "{} certificates were seen", seen.len());
        });
        assert_eq!(streams(&world), open);
        let opened = OPENED.map(|it| world.appliance.edge().lines_with(Mark::START, it).len());
        assert_eq!(opened, [1, 1], "no stream was opened anew");
        let kept = world.appliance.edge().lines_with(Mark::START, "the certificate in use stays");
        assert_eq!(kept, Vec::<String>::new());
    });
}
