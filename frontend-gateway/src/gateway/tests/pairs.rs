//! The translation cases of the test data: what goes in, and what must come out, message by
//! message, through the whole gateway.

mod compare;

use std::path::{Path, PathBuf};

use sip_proto::Method;
use sip_proto::message::{Message, Request};

use self::compare::Names;
use super::{Sent, Stage};
use crate::testing::{header, messages};

/// Cases that are not of this gateway: chat sessions over MSRP, chat states and receipts.
const ELSEWHERE: &[&str] = &[
    "M10-iscomposing-s2x",
    "M15-receipt-request-x2s",
    "S01-chat-to-invite",
    "S02-answer-ack-send",
    "S04-bye-s2x",
    "S06-invite-s2x",
    "S07-send-first-s2x",
    "S08-reply-x2s",
    "S09-receipt-request-msrp",
    "S10-report-s2x",
    "S11-msrp-413",
    "S12-chunks-s2x",
    "S14-lync-invite-s2x",
];

/// Brings about the state that a case starts from.
type Start = fn(&mut Player);

/// Every case with the state that it starts from.
const CASES: &[(&str, Start)] = &[
    ("M01-message-x2s", nothing),
    ("M02-200-to-message", |player| player.play("M01-message-x2s")),
    ("M03-message-s2x", nothing),
    ("M05-message-full-x2s", nothing),
    ("M07-message-html-s2x", nothing),
    ("M11-sips-ruri", nothing),
    ("M12-injection-x2s", nothing),
    ("M13-error-404", |player| {
        player.play_edited("M01-message-x2s", |text| text.replacen(' ', " id='m1' ", 1));
    }),
    ("P01-subscribe-x2s", nothing),
    ("P02-notify-pending", asked),
    ("P03-notify-active-first", asked),
    ("P04-notify-active-nobody", asked),
    ("P05-unsubscribe-x2s", watching),
    ("P08-subscribe-s2x", nothing),
    ("P09-subscribed-x2s", watched),
    ("P10-unsubscribed-x2s", watched),
    ("P12-presence-available-x2s", granted),
    ("P15-probe-x2s", authorised_without_dialog),
    ("P16-poll-s2x", granted),
    ("P17-presence-full-x2s", granted),
    ("P18-notify-rpid-s2x", watching_nobody),
    ("P19-notify-ms-pidf-s2x", watching_nobody),
    ("P21-refresh-403", refreshing),
    ("P21-refresh-423", refreshing),
    ("P21-refresh-489", refreshing),
    ("P21-refresh-603", refreshing),
    ("P26-notify-481", nothing),
    ("P27-notify-mixed-tuples", both_were_available),
    ("P28-negative-priority", granted),
    ("P29-resource-to-xsid", granted),
    ("P30-notify-terminated-noresource", watching),
];

fn nothing(_: &mut Player) {}

fn asked(player: &mut Player) {
    player.play("P01-subscribe-x2s");
}

fn watching(player: &mut Player) {
    player.play("P01-subscribe-x2s");
    player.play("P03-notify-active-first");
}

fn watching_nobody(player: &mut Player) {
    player.play("P01-subscribe-x2s");
    player.play("P04-notify-active-nobody");
}

fn watched(player: &mut Player) {
    player.play("P08-subscribe-s2x");
}

fn granted(player: &mut Player) {
    player.play("P08-subscribe-s2x");
    player.play("P09-subscribed-x2s");
}

fn authorised_without_dialog(player: &mut Player) {
    watching_nobody(player);
    let notify = read("P04-notify-active-nobody", "in-1.sip");
    let ended = notify.replace("active;expires=3600", "terminated;reason=giveup;retry-after=3600");
    player.give("in-1.sip", &ended.replace("CSeq: 1", "CSeq: 2"));
    player.forget();
}

fn both_were_available(player: &mut Player) {
    player.play("P01-subscribe-x2s");
    let notify = read("P27-notify-mixed-tuples", "in-1.sip");
    let notify = notify.replace("closed", "open  ").replace("away", "chat");
    player.give("in-1.sip", &notify.replace("CSeq: 11", "CSeq: 10"));
    player.forget();
}

fn refreshing(player: &mut Player) {
    watching_nobody(player);
    let subscribe = player.asked.pop().unwrap();
    player.stage.answer(&subscribe, 200);
    for _ in 0..3600 {
        player.stage.advance_s(1);
        player.look();
        if let Some(refresh) = player.asked.last() {
            assert!(refresh.is_in_dialog());
            return player.forget();
        }
    }
    panic!("a subscription of an hour was not refreshed within it");
}

/// The gateway, whose own identifiers take the place of those that a case shows.
struct Player {
    stage: Stage,
    names: Names,
    partner: Vec<Sent>,
    inside: Vec<Message>,
    /// Every request of the gateway but NOTIFYs, which are answered at once.
    asked: Vec<Request>,
}

impl Player {
    fn new() -> Self {
        Self {
            stage: Stage::new(),
            names: Names::default(),
            partner: Vec::new(),
            inside: Vec::new(),
            asked: Vec::new(),
        }
    }

    fn play(&mut self, case: &str) {
        self.play_edited(case, str::to_owned);
    }

    /// Plays a case whose input is changed before it goes in.
    fn play_edited(&mut self, case: &str, edit: impl Fn(&str) -> String) {
        let files = files(case);
        for round in rounds(&files) {
            let (input, outputs) = round.split_first().unwrap();
            self.give(input, &edit(&read(case, input)));
            self.take_what_is_not_shown(case);
            self.expect(case, outputs);
        }
    }

    /// Gives a message to the gateway, and lets its peers do what they do at once.
    fn give(&mut self, file: &str, text: &str) {
        self.names.hear(text);
        if file.ends_with(".xmpp") {
            let sequence = self.stage.stanza(text);
            self.look();
            assert_eq!(self.stage.outcome(sequence), Some(&Ok(())));
        } else {
            let text = self.names.translated(&self.answering(text));
            self.stage.bytes(text.as_bytes());
            self.look();
        }
        self.stage.advance_s(1);
        self.look();
    }

    /// Makes a response one to the request of the gateway that it must be for.
    fn answering(&self, text: &str) -> String {
        if !text.starts_with("SIP/2.0") {
            return text.to_owned();
        }
        let request = self.asked.last().expect("something was asked");
        let own = |line: &str| {
            let name = line.split(':').next().unwrap();
            match name {
                "Via" | "CSeq" => format!("{name}: {}", header(request.headers(), name)),
                _ => line.to_owned(),
            }
        };
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        let lines: Vec<String> = head.split("\r\n").map(own).collect();
        format!("{}\r\n\r\n{body}", lines.join("\r\n"))
    }

    /// Takes what was sent; partners confirm stanzas, and devices take NOTIFYs.
    fn look(&mut self) {
        self.inside.append(&mut self.stage.inside);
        for sent in self.stage.take_stanzas() {
            self.stage.settle(&sent, Ok(()));
            self.partner.push(sent);
        }
        for request in self.stage.take_requests() {
            match request.method() {
                Method::Notify => self.stage.answer(&request, 200),
                _ => self.asked.push(request),
            }
        }
        self.inside.append(&mut self.stage.inside);
    }

    fn forget(&mut self) {
        self.inside.clear();
        self.partner.clear();
    }

    /// Checks and takes what a case says in words, or leaves out, but shows in no file.
    fn take_what_is_not_shown(&mut self, case: &str) {
        match case {
            "M07-message-html-s2x" => {
                let Some(Message::Response(response)) = self.inside.pop() else { panic!("{case}") };
                assert_eq!(response.status().code(), 200);
            }
            "P21-refresh-423" => {
                let Some(Message::Request(retry)) = self.inside.pop() else { panic!("{case}") };
                assert_eq!(header(retry.headers(), "Expires"), "7200");
                assert!(retry.is_in_dialog());
            }
            _ => {}
        }
    }

    /// Compares what was sent with the files that say what must be; the order counts on either
    /// side, and nothing else may be sent.
    fn expect(&mut self, case: &str, files: &[String]) {
        let (stanzas, messages_of_sip): (Vec<_>, Vec<_>) =
            files.iter().partition(|file| file.ends_with(".xmpp"));
        let partner = std::mem::take(&mut self.partner);
        let inside = std::mem::take(&mut self.inside);
        let said: Vec<_> = partner.iter().map(Sent::summary).collect();
        assert_eq!(partner.len(), stanzas.len(), "{case}: {said:?}");
        assert_eq!(inside.len(), messages_of_sip.len(), "{case}: {inside:?}");
        for (file, sent) in stanzas.into_iter().zip(partner) {
            compare::stanza(&read(case, file), &sent.element, &format!("{case}/{file}"));
        }
        for (file, message) in messages_of_sip.into_iter().zip(inside) {
            let expected = messages(read(case, file).as_bytes()).remove(0);
            compare::sip(&expected, &message, &mut self.names, &format!("{case}/{file}"));
        }
    }
}

/// Splits the files of a case into what goes in and what then comes out.
fn rounds(files: &[String]) -> Vec<&[String]> {
    let starts: Vec<usize> = (0..files.len()).filter(|at| files[*at].starts_with("in-")).collect();
    let ends = starts.iter().skip(1).copied().chain([files.len()]);
    starts.iter().zip(ends).map(|(start, end)| &files[*start..end]).collect()
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/vectors/pairs")
}

fn read(case: &str, file: &str) -> String {
    std::fs::read_to_string(folder().join(case).join(file)).unwrap()
}

/// Returns the files of a case in the order in which they are sent.
fn files(case: &str) -> Vec<String> {
    let description: serde_json::Value = serde_json::from_str(&read(case, "case.json")).unwrap();
    let files = description["files"].as_array().unwrap();
    files.iter().map(|file| file.as_str().unwrap().to_owned()).collect()
}

#[test]
fn every_case_of_pager_mode_and_presence_is_translated_as_it_shows() {
    for (case, start) in CASES {
        let mut player = Player::new();
        start(&mut player);
        player.play(case);
    }
}

#[test]
fn every_folder_and_file_of_the_cases_is_either_played_or_named_as_not_ours() {
    let folders = std::fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap());
    let folders = folders.filter(|entry| entry.file_type().unwrap().is_dir());
    let mut found: Vec<_> = folders.map(|entry| entry.file_name().into_string().unwrap()).collect();
    found.sort();
    let mut known: Vec<_> = CASES.iter().map(|(case, _)| *case).chain(ELSEWHERE.to_vec()).collect();
    known.sort_unstable();
    assert_eq!(found, known);
    for (case, _) in CASES {
        let entries = std::fs::read_dir(folder().join(case)).unwrap();
        let in_folder = entries.filter(|entry| {
            let name = entry.as_ref().unwrap().file_name().into_string().unwrap();
            name.starts_with("in-") || name.starts_with("out-")
        });
        assert_eq!(in_folder.count(), files(case).len(), "{case}");
    }
}
