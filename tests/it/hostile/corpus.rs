//! The corpora of hostile input: their files, and the answer that each must get.
//!
//! The files lie beside the engines, which are tested with them as well; the indexes say what the
//! running processes answer.

use std::fs;
use std::path::{Path, PathBuf};

/// Who sends an XMPP file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Peer {
    /// A peer without a certificate.
    Anonymous,
    /// A peer whose certificate proves peer.example.
    Certified,
    /// A certified peer that has authenticated with SASL.
    Authenticated,
}

/// A file of hostile XMPP with our answer.
pub(super) struct XmppRow {
    pub(super) number: u64,
    pub(super) file: String,
    pub(super) input: Vec<u8>,
    pub(super) peer: Peer,
    /// Our answer in words, in order.
    pub(super) answer: Vec<String>,
    /// What becomes of the message that we had for a peer that answered so; of an established
    /// stream, how many of its stanzas cross the link.
    pub(super) sender: String,
}

/// The files of a phase of the index.
pub(super) fn xmpp_rows(phase: &str) -> Vec<XmppRow> {
    let rows = table("xmpp-bad").into_iter().filter(|columns| columns[1] == phase);
    let rows = rows.map(|columns| XmppRow {
        number: columns[0][..3].parse().expect("a file begins with its number"),
        input: read(&engine("xmpp-proto/tests/xmpp-bad").join(&columns[0])),
        file: columns[0].clone(),
        peer: match columns[2].as_str() {
            "anonymous" => Peer::Anonymous,
            "certified" => Peer::Certified,
            "authenticated" => Peer::Authenticated,
            other => panic!("there is no peer {other}"),
        },
        answer: columns[3].split(", ").filter(|it| *it != "-").map(str::to_owned).collect(),
        sender: columns[4].clone(),
    });
    rows.collect()
}

impl XmppRow {
    /// How many stanzas of an established stream's file cross the link.
    pub(super) fn stanzas(&self) -> u32 {
        let count = self.sender.strip_suffix(" on the link").and_then(|count| count.parse().ok());
        count.unwrap_or_else(|| panic!("{}: how many stanzas cross?", self.file))
    }
}

/// What becomes of the connection on which a SIP message came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// It stays open, and more can be said on it.
    Open,
    /// It is closed, since nobody knows where the next message begins.
    Closed,
    /// The message is not complete; the connection is closed when the rest does not come in time.
    Stalled,
}

/// A message of RFC 4475 with our answers.
pub(super) struct SipRow {
    pub(super) number: u64,
    pub(super) file: String,
    pub(super) input: Vec<u8>,
    /// The status of each answer, in order.
    pub(super) statuses: Vec<u16>,
    /// What becomes of the connection.
    pub(super) end: End,
    /// What the answers must hold besides, if anything.
    pub(super) holds: Option<String>,
}

/// All messages of RFC 4475.
pub(super) fn sip_rows() -> Vec<SipRow> {
    let rows = table("rfc4475").into_iter().enumerate().map(|(index, columns)| SipRow {
        number: u64::try_from(index).expect("64 bits do"),
        input: read(&engine("sip-proto/tests/torture/rfc4475").join(&columns[0])),
        file: columns[0].clone(),
        statuses: columns[1]
            .split(' ')
            .filter(|status| *status != "-")
            .map(|status| status.parse().expect("a status is a number"))
            .collect(),
        end: match columns[2].as_str() {
            "open" => End::Open,
            "closed" => End::Closed,
            "stalled" => End::Stalled,
            other => panic!("there is no end {other}"),
        },
        holds: Some(columns[3].clone()).filter(|text| text != "-"),
    });
    rows.collect()
}

fn table(folder: &str) -> Vec<Vec<String>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors").join(folder);
    let text = String::from_utf8(read(&folder.join("index.tsv"))).expect("an index is UTF-8");
    text.lines().skip(1).map(|line| line.split('\t').map(str::to_owned).collect()).collect()
}

fn engine(folder: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../proto").join(folder)
}

fn read(path: &Path) -> Vec<u8> {
    fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn the_indexes_name_every_file_of_the_corpora_once() {
    let phases = ["pre-tls", "post-tls", "initiator-pre-tls", "initiator-post-tls", "post-auth"];
    let ours: Vec<String> =
        phases.iter().flat_map(|phase| xmpp_rows(phase)).map(|row| row.file).collect();
    let index = read(&engine("xmpp-proto/tests/xmpp-bad").join("index.tsv"));
    let index = String::from_utf8(index).expect("the index is UTF-8");
    let mut expected: Vec<&str> = Vec::new();
    for phase in phases {
        let of_phase = index.lines().filter(|line| line.split('\t').nth(2) == Some(phase));
        expected.extend(of_phase.filter_map(|line| line.split('\t').next()));
    }
    assert_eq!(ours, expected);

    let mut ours: Vec<String> = sip_rows().into_iter().map(|row| row.file).collect();
    let folder = fs::read_dir(engine("sip-proto/tests/torture/rfc4475")).expect("it is there");
    let mut files: Vec<String> = folder
        .map(|entry| entry.expect("it can be read").file_name().into_string().expect("UTF-8"))
        .collect();
    ours.sort_unstable();
    files.sort_unstable();
    assert_eq!(ours, files);
}
