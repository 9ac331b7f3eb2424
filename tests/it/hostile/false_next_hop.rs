//! A server of a next hop that answers OPTIONS and does with each MESSAGE what the test tells it.

use std::io::{Read, Write};
use std::net::{SocketAddrV4, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, atomic::AtomicU8, atomic::Ordering};
use std::thread;
use std::time::Duration;

use sip_proto::frame::{Frame, Framer};
use sip_proto::limits::Limits;
use sip_proto::message::{Message, OutgoingResponse, Request};
use sip_proto::{Method, StatusCode};
use tests::wait::Deadline;

/// What the server does with a MESSAGE.
#[derive(Clone, Copy, Debug)]
pub(super) enum Deed {
    /// It never answers.
    Nothing,
    /// It answers 200, then 200 again, then 404.
    AnswerThrice,
    /// It sends half of an answer and closes the connection.
    CloseInTheMiddle,
    /// It answers what is no SIP.
    Babble,
    /// It begins an answer whose head never ends.
    Flood,
}

const DEEDS: [Deed; 5] =
    [Deed::Nothing, Deed::AnswerThrice, Deed::CloseInTheMiddle, Deed::Babble, Deed::Flood];

/// How much of a head that never ends is sent, in bytes.
const FLOOD_BYTES: usize = 64 * 1024 * 1024;

/// The server, which ends with the test's process.
pub(super) struct FalseNextHop {
    deed: Arc<AtomicU8>,
    got: Receiver<String>,
}

impl FalseNextHop {
    /// Listens and serves.
    pub(super) fn start(address: SocketAddrV4) -> Self {
        let listener = TcpListener::bind(address).expect("the port is free");
        let (deed, (got, received)) = (Arc::new(AtomicU8::new(0)), channel());
        let shared = Arc::clone(&deed);
        thread::spawn(move || {
            for socket in listener.incoming().flatten() {
                let (deed, got) = (Arc::clone(&shared), got.clone());
                thread::spawn(move || serve(socket, &deed, &got));
            }
        });
        Self { deed, got: received }
    }

    /// Tells it what to do with the next messages.
    pub(super) fn tell(&self, deed: Deed) {
        let number = DEEDS.iter().position(|it| it.name() == deed.name());
        let number = number.and_then(|it| u8::try_from(it).ok()).expect("it is one of them");
        self.deed.store(number, Ordering::SeqCst);
    }

    /// Waits for a message with this text.
    pub(super) fn wait_for(&self, text: &str, deadline: Deadline) {
        while self.got.recv_timeout(deadline.remaining()).expect("a message comes in time") != text
        {
        }
    }
}

impl Deed {
    fn name(self) -> std::mem::Discriminant<Self> {
        std::mem::discriminant(&self)
    }
}

fn serve(mut socket: TcpStream, deed: &AtomicU8, got: &Sender<String>) {
    let mut framer = Framer::new(Limits::default());
    let mut buffer = [0; 16 * 1024];
    while let Ok(count @ 1..) = socket.read(&mut buffer) {
        framer.handle_bytes(&buffer[..count]);
        while let Some(frame) = framer.poll_frame() {
            let Frame::Message(Message::Request(request)) = frame else { continue };
            let deed = DEEDS[usize::from(deed.load(Ordering::SeqCst))];
            if *request.method() == Method::Message {
                // The test may be over.
                let _ = got.send(String::from_utf8_lossy(request.body()).into_owned());
            }
            if answer(&mut socket, &request, deed).is_err() {
                return;
            }
        }
    }
}

fn answer(socket: &mut TcpStream, request: &Request, deed: Deed) -> std::io::Result<()> {
    let response = |status| OutgoingResponse::to(request, status, Some("false")).to_bytes();
    let ok = response(StatusCode::OK);
    if *request.method() != Method::Message {
        return socket.write_all(&ok);
    }
    match deed {
        Deed::Nothing => Ok(()),
        Deed::AnswerThrice => {
            socket.write_all(&[&ok[..], &ok[..], &response(StatusCode::NOT_FOUND)[..]].concat())
        }
        Deed::CloseInTheMiddle => {
            socket.write_all(&ok[..ok.len() / 2])?;
            Err(std::io::ErrorKind::ConnectionAborted.into())
        }
        Deed::Babble => socket.write_all(b"\x16\x03\x01 this is no SIP\r\n\r\n"),
        Deed::Flood => {
            socket.set_write_timeout(Some(Duration::from_secs(20)))?;
            socket.write_all(b"SIP/2.0 200 OK\r\n")?;
            let row = format!("X-Endless: {}\r\n", "x".repeat(8_000));
            (0..FLOOD_BYTES / row.len()).try_for_each(|_| socket.write_all(row.as_bytes()))
        }
    }
}
