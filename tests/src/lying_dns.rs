//! A name server that says what a hostile one might: nothing, failures, floods, changing answers.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::{IpAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::thread;

use parking_lot::Mutex;

use crate::namespace::NAME_SERVER;

/// The longest answer over UDP; what is longer is asked for again over TCP (RFC 1035 s.4.2.1).
const UDP_BYTES_MAX: usize = 512;

const A: u16 = 1;
const CNAME: u16 = 5;
const AAAA: u16 = 28;
const SRV: u16 = 33;

/// What a question is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Addresses of IPv4.
    A,
    /// Addresses of IPv6.
    Aaaa,
    /// Servers.
    Srv,
}

/// A record.
#[derive(Clone, Debug)]
pub enum Record {
    /// An address; it answers questions of its family.
    Address(IpAddr),
    /// A server: its host, port and priority.
    Server(String, u16, u16),
    /// Another name of what was asked for.
    Alias(String),
}

/// What the server says to a question.
#[derive(Clone, Debug)]
pub enum Reply {
    /// Nothing at all.
    Silence,
    /// That it failed.
    Failure,
    /// That the name does not exist.
    NoSuchName,
    /// These records, not to be kept; each alias is followed by what the next record says of it.
    Records(Vec<Record>),
}

/// The running server, at [`NAME_SERVER`] port 53.
pub struct LyingDns {
    asked: Arc<Mutex<BTreeMap<(String, Kind), usize>>>,
}

/// Says what is answered to a question, which came so often before.
type Lies = dyn Fn(&str, Kind, usize) -> Reply + Send + Sync;

impl LyingDns {
    /// Starts the server; `lies` is asked about each question, with the number of times that it came
    /// before over UDP.
    ///
    /// # Panics
    ///
    /// When the port is taken.
    pub fn start(lies: impl Fn(&str, Kind, usize) -> Reply + Send + Sync + 'static) -> Self {
        let asked = Arc::<Mutex<BTreeMap<(String, Kind), usize>>>::default();
        let lies: Arc<Lies> = Arc::new(lies);
        let udp = UdpSocket::bind((NAME_SERVER, 53)).expect("the port is the test's own");
        let tcp = TcpListener::bind((NAME_SERVER, 53)).expect("the port is the test's own");
        let (counted, liar) = (Arc::clone(&asked), Arc::clone(&lies));
        thread::spawn(move || serve_udp(&udp, &counted, &*liar));
        let counted = Arc::clone(&asked);
        thread::spawn(move || {
            while let Ok((socket, _)) = tcp.accept() {
                let (counted, lies) = (Arc::clone(&counted), Arc::clone(&lies));
                thread::spawn(move || serve_tcp(socket, &counted, &*lies));
            }
        });
        Self { asked }
    }

    /// How many questions came over UDP about the name and the names below it.
    pub fn question_count(&self, name: &str) -> usize {
        let below = format!(".{name}");
        let asked = self.asked.lock();
        let about = asked.iter().filter(|((it, _), _)| it == name || it.ends_with(&below));
        about.map(|(_, count)| count).sum()
    }
}

fn serve_udp(udp: &UdpSocket, asked: &Mutex<BTreeMap<(String, Kind), usize>>, lies: &Lies) {
    let mut buffer = [0; 4096];
    while let Ok((count, from)) = udp.recv_from(&mut buffer) {
        let Some(question) = Question::read(&buffer[..count]) else { continue };
        let Some(kind) = question.kind else { continue };
        let before = {
            let mut asked = asked.lock();
            let count = asked.entry((question.name.clone(), kind)).or_default();
            *count += 1;
            *count - 1
        };
        let Some(mut answer) = question.answer(&lies(&question.name, kind, before)) else {
            continue;
        };
        if answer.len() > UDP_BYTES_MAX {
            answer.truncate(question.end);
            // Truncated, and no records.
            answer[2] |= 0x02;
            answer[6..12].fill(0);
        }
        // Whoever asked may have gone.
        let _ = udp.send_to(&answer, from);
    }
}

fn serve_tcp(mut socket: TcpStream, asked: &Mutex<BTreeMap<(String, Kind), usize>>, lies: &Lies) {
    let mut serve = || -> io::Result<()> {
        loop {
            let mut length = [0; 2];
            socket.read_exact(&mut length)?;
            let mut bytes = vec![0; usize::from(u16::from_be_bytes(length))];
            socket.read_exact(&mut bytes)?;
            let Some(question) = Question::read(&bytes) else { return Ok(()) };
            let Some(kind) = question.kind else { return Ok(()) };
            let count = asked.lock().get(&(question.name.clone(), kind)).copied();
            let before = count.unwrap_or_default().saturating_sub(1);
            if let Some(answer) = question.answer(&lies(&question.name, kind, before)) {
                let length = u16::try_from(answer.len()).map_err(io::Error::other)?;
                socket.write_all(&length.to_be_bytes())?;
                socket.write_all(&answer)?;
            }
        }
    };
    // It ends when the other side does.
    let _ = serve();
}

/// A question as it came.
struct Question {
    bytes: Vec<u8>,
    name: String,
    kind: Option<Kind>,
    end: usize,
}

impl Question {
    fn read(bytes: &[u8]) -> Option<Self> {
        let (mut at, mut labels) = (12, Vec::new());
        loop {
            let length = usize::from(*bytes.get(at)?);
            at += 1;
            if length == 0 {
                break;
            }
            labels.push(String::from_utf8_lossy(bytes.get(at..at + length)?).to_lowercase());
            at += length;
        }
        let kind = match u16::from_be_bytes([*bytes.get(at)?, *bytes.get(at + 1)?]) {
            A => Some(Kind::A),
            AAAA => Some(Kind::Aaaa),
            SRV => Some(Kind::Srv),
            _ => None,
        };
        let end = at + 4;
        let bytes = bytes.get(..end)?.to_vec();
        Some(Self { bytes, name: labels.join("."), kind, end })
    }

    fn answer(&self, reply: &Reply) -> Option<Vec<u8>> {
        let (code, records) = match reply {
            Reply::Silence => return None,
            Reply::Failure => (2, &[][..]),
            Reply::NoSuchName => (3, &[][..]),
            Reply::Records(records) => (0, records.as_slice()),
        };
        let mut answer = self.bytes.clone();
        // A response, with recursion, and this code.
        (answer[2], answer[3]) = (0x81, 0x80 | code);
        let (mut owner, mut count) = (self.name.clone(), 0_u16);
        for record in records {
            let is_asked = match record {
                Record::Address(address) if address.is_ipv4() => self.kind == Some(Kind::A),
                Record::Address(_) => self.kind == Some(Kind::Aaaa),
                Record::Server(..) => self.kind == Some(Kind::Srv),
                Record::Alias(_) => true,
            };
            if is_asked {
                record.write(&owner, &mut answer);
                count += 1;
            }
            if let Record::Alias(name) = record {
                owner.clone_from(name);
            }
        }
        answer[6..8].copy_from_slice(&count.to_be_bytes());
        answer[8..12].fill(0);
        Some(answer)
    }
}

impl Record {
    fn write(&self, owner: &str, answer: &mut Vec<u8>) {
        let (kind, data) = match self {
            Self::Address(IpAddr::V4(address)) => (A, address.octets().to_vec()),
            Self::Address(IpAddr::V6(address)) => (AAAA, address.octets().to_vec()),
            Self::Server(host, port, priority) => {
                let mut data = [priority.to_be_bytes(), [0, 0], port.to_be_bytes()].concat();
                write_name(host, &mut data);
                (SRV, data)
            }
            Self::Alias(name) => {
                let mut data = Vec::new();
                write_name(name, &mut data);
                (CNAME, data)
            }
        };
        write_name(owner, answer);
        answer.extend(kind.to_be_bytes());
        // The class IN, and a time to live of 0.
        answer.extend([0, 1, 0, 0, 0, 0]);
        let length = u16::try_from(data.len()).expect("a record is short");
        answer.extend(length.to_be_bytes());
        answer.extend(data);
    }
}

fn write_name(name: &str, bytes: &mut Vec<u8>) {
    for label in name.split('.').filter(|label| !label.is_empty()) {
        bytes.push(u8::try_from(label.len()).expect("a label is short"));
        bytes.extend(label.as_bytes());
    }
    bytes.push(0);
}
