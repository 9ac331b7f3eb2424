//! The demonstration: Juliet at Prosody and Romeo on SIP talk through both processes.
//!
//! `deploy/demo.sh` gives it namespaces of its own; without `--once` it then takes lines from the
//! terminal.

#![expect(clippy::print_stdout, reason = "it is there to be read")]

use std::env;
use std::io;
use std::process::ExitCode;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use tests::appliance::Setup;
use tests::contoso::{JULIET_JID, JULIET_URI, ROMEO_JID, World, start};
use tests::namespace::{Place, in_namespace};
use tests::prosody::Situation;
use tests::sip_user::{self, SipUser, pidf};
use tests::wait::Deadline;
use tests::xmpp_user::{self, NewPresence, XmppUser};

/// How long each step may take, in seconds.
const STEP_S_MAX: u64 = 20;
/// How often the users are asked what they saw while nobody types.
const LOOK_PAUSE: Duration = Duration::from_millis(300);

const HELP: &str = "  juliet: TEXT      she writes to Romeo, over XMPP
  romeo: TEXT       he writes to Juliet, over SIP
  juliet away|dnd|online|offline
  explain A B       asks the gateway whether A may reach B, and which gate decides
  Ctrl-D            ends the demonstration";

struct Users {
    world: World,
    juliet: XmppUser,
    romeo: SipUser,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let once = match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        [] => false,
        ["--once"] => true,
        _ => {
            println!("usage: deploy/demo.sh [--once]");
            return ExitCode::from(64);
        }
    };
    in_namespace("demo", |place| {
        let mut users = tell(place);
        if !once {
            converse(&mut users);
        }
    });
    ExitCode::SUCCESS
}

/// Starts everything and tells the story once; a step that does not happen ends the program.
fn tell(place: &Place) -> Users {
    println!("Starting Prosody, a name server, edge-proxy and frontend-gateway ...");
    let world = start(place, &Setup::default(), Situation::Certified, |prosody| prosody);
    println!("  fabrikam.example  XMPP  Juliet, at Prosody, which knows only our certificate");
    println!("  contoso.example   SIP   Romeo, at the home inside frontend-gateway");
    println!("  configuration and logs: {}", place.directory().display());
    let juliet = world.juliet(place);
    let romeo = world.romeo(place);
    let mut users = Users { world, juliet, romeo };
    exchange_texts(&mut users);
    exchange_presence(&mut users);
    println!("\nWhy may they? frontend-gateway explain {JULIET_JID} {ROMEO_JID}");
    print!("{}", users.world.appliance.explain(JULIET_JID, ROMEO_JID).1);
    users
}

fn soon() -> Deadline {
    Deadline::after_s(STEP_S_MAX)
}

fn exchange_texts(users: &mut Users) {
    let Users { juliet, romeo, .. } = users;
    println!("\nMessages");
    let question = "Art thou not Romeo, and a Montague? 🌹";
    println!("  Juliet writes     <message to='{ROMEO_JID}'> {question}");
    juliet.say(ROMEO_JID, question);
    let got = romeo.expect_text(question, soon());
    println!(
        "  Romeo receives    {} | From: {} | {}",
        got.start_line,
        got.header("From"),
        got.body
    );
    let answer = "Neither, fair saint, if either thee dislike.";
    println!("  Romeo writes      MESSAGE {JULIET_URI} | {answer}");
    let response = romeo.say(JULIET_URI, answer);
    assert_eq!(response.status, 200, "the home answers {:?}", response.received.start_line);
    println!("  Romeo is told     {}, once Juliet's server has it", response.received.start_line);
    let got = juliet.expect_message("Romeo's answer", soon(), |it| {
        it.is_from(ROMEO_JID) && it.body.as_deref() == Some(answer)
    });
    println!("  Juliet receives   {}", got.xml);
}

fn exchange_presence(users: &mut Users) {
    let Users { juliet, romeo, .. } = users;
    println!("\nPresence");
    println!("  Romeo asks        SUBSCRIBE {JULIET_URI}");
    let subscription = romeo.subscribe(JULIET_URI, 600);
    juliet.expect_presence_type(ROMEO_JID, "subscribe", soon());
    println!("  Juliet agrees     <presence type='subscribed'>");
    juliet.send_presence_type(ROMEO_JID, "subscribed");
    let away =
        NewPresence { show: Some("away"), status: Some("on the balcony"), ..Default::default() };
    juliet.send_presence(&away);
    romeo.expect_notify(&subscription, "away, on the balcony", soon(), |notify| {
        notify.body.contains("on the balcony")
    });
    println!("  Romeo sees        away, \"on the balcony\"");
    println!("  Juliet asks       <presence type='subscribe'>");
    juliet.send_presence_type(ROMEO_JID, "subscribe");
    juliet.expect_presence_type(ROMEO_JID, "subscribed", soon());
    let response = romeo.publish(&pidf("sip:romeo@contoso.example", true, "in the garden"), 600);
    assert_eq!(response.status, 200, "the home answers {:?}", response.received.start_line);
    juliet.expect_presence("in the garden", soon(), |it| {
        it.is_from(ROMEO_JID) && it.status.as_deref() == Some("in the garden")
    });
    println!("  Juliet sees       online, \"in the garden\"");
}

/// Does what is typed, and shows what the users see, until the end of the input.
fn converse(users: &mut Users) {
    println!("\nYour turn:\n{HELP}");
    let lines = typed_lines();
    let mut seen = (users.juliet.waiting_events().len(), users.romeo.waiting_events().len());
    loop {
        match lines.recv_timeout(LOOK_PAUSE) {
            Ok(line) => obey(users, line.trim()),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        let (juliet, romeo) = (users.juliet.waiting_events(), users.romeo.waiting_events());
        juliet.iter().skip(seen.0).for_each(show_to_juliet);
        romeo.iter().skip(seen.1).for_each(show_to_romeo);
        seen = (juliet.len(), romeo.len());
    }
}

fn typed_lines() -> Receiver<String> {
    let (sender, lines) = channel();
    thread::spawn(move || {
        // Ends with the input, or when nobody takes the lines any more.
        io::stdin().lines().map_while(Result::ok).try_for_each(|line| sender.send(line))
    });
    lines
}

fn obey(users: &mut Users, line: &str) {
    let Users { world, juliet, romeo } = users;
    let show = |show| NewPresence { show, ..Default::default() };
    match line.split_whitespace().collect::<Vec<_>>().as_slice() {
        [] => {}
        ["explain", from, to] => {
            let output = world.appliance.command(&["explain", from, to], "");
            print!("{}", String::from_utf8_lossy(&output.stdout));
            print!("{}", String::from_utf8_lossy(&output.stderr));
        }
        ["juliet", "away"] => juliet.send_presence(&show(Some("away"))),
        ["juliet", "dnd"] => juliet.send_presence(&show(Some("dnd"))),
        ["juliet", "online"] => juliet.send_presence(&show(None)),
        ["juliet", "offline"] => {
            juliet.send_presence(&NewPresence { kind: Some("unavailable"), ..show(None) });
        }
        ["juliet:", _, ..] => juliet.say(ROMEO_JID, line["juliet:".len()..].trim()),
        ["romeo:", _, ..] => {
            let response = romeo.say(JULIET_URI, line["romeo:".len()..].trim());
            println!("  Romeo is told     {}", response.received.start_line);
        }
        _ => println!("{HELP}"),
    }
}

fn show_to_juliet(event: &xmpp_user::Event) {
    match event {
        xmpp_user::Event::Message(stanza) | xmpp_user::Event::Presence(stanza) => {
            println!("  Juliet receives   {}", stanza.xml);
        }
        other => println!("  Juliet            {other:?}"),
    }
}

fn show_to_romeo(event: &sip_user::Event) {
    match event {
        sip_user::Event::Request(request) => {
            let body = request.body.replace("\r\n", " ");
            println!("  Romeo receives    {} | {body}", request.start_line);
        }
        other => println!("  Romeo             {other:?}"),
    }
}
