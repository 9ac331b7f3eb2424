//! The front end without IO, with an edge, a store and a registered device that do what they must.

use std::time::Duration;

use bytes::Bytes;
use frontend_gateway::clock::Now;
use frontend_gateway::core::{Core, CoreEffect, CoreSettings, StartPolicy};
use frontend_gateway::gateway::GatewaySettings;
use frontend_gateway::home::message_store::MessageLimits;
use frontend_gateway::home::{Ends, HomeSettings, accounts};
use frontend_gateway::links::EdgeId;
use frontend_gateway::next_hops::NextHopSettings;
use frontend_gateway::policy::document;
use frontend_gateway::provision::Provision;
use frontend_gateway::store::Loaded;
use link::wire::{Accepted, Envelope, FromEdge, Hello, Settlement, settlement};
use sip_proto::StatusCode;
use sip_proto::auth::{Answer, Challenge, Ha1};
use sip_proto::frame::{Frame, Framer};
use sip_proto::header::{SentBy, TypedHeader};
use sip_proto::limits::Limits;
use sip_proto::message::{Message, OutgoingResponse};
use sip_proto::transaction::{FlowId, Transport};
use sip_proto::uri::{Host, Uri};
use xmpp_proto::jid::Jid;

pub(crate) const JULIET: &str = "juliet@capulet.example/balcony";
pub(crate) const ROMEO: &str = "romeo@montague.example";

const POLICY: &str = r#"
[[local_domain]]
domain = "montague.example"

[[xmpp_partner]]
domain = "capulet.example"
partner_type = "federated"

[[external_access_policy]]
scope = "global"
federation_access = true
xmpp_access = true
"#;

const PASSWORD: &str = "romeo-secret";
const EDGE: EdgeId = EdgeId(1);
const DEVICE: FlowId = FlowId(1);
const TEXT: &str = "Wherefore art thou, Romeo? Deny thy father and refuse thy name; or, if thou \
    wilt not, be but sworn my love, and I'll no longer be a Capulet.";

/// A chat message as clients send it.
pub(crate) fn stanza() -> String {
    format!(
        "<message xmlns='jabber:server' from='{JULIET}' to='{ROMEO}' id='0b7c6f1e' type='chat' \
         xml:lang='en'><body>{}</body><active xmlns='http://jabber.org/protocol/chatstates'/>\
         </message>",
        TEXT.replace('\'', "&apos;")
    )
}

/// A MESSAGE as a device sends it.
pub(crate) fn request(number: u64) -> Vec<u8> {
    let length = TEXT.len();
    format!(
        "MESSAGE sip:juliet@capulet.example SIP/2.0\r\n\
         Via: SIP/2.0/TCP 192.0.2.17:41514;branch=z9hG4bKm{number};rport\r\n\
         Max-Forwards: 70\r\n\
         From: \"Romeo\" <sip:{ROMEO}>;tag=a73kszlfl\r\n\
         To: <sip:juliet@capulet.example>\r\n\
         Call-ID: 9E97FB43-85F4-4A00-8751-1124FD4C7B2E\r\n\
         CSeq: {number} MESSAGE\r\n\
         User-Agent: Example/5.2.1\r\n\
         Content-Type: text/plain\r\n\
         Content-Length: {length}\r\n\r\n{TEXT}"
    )
    .into_bytes()
}

/// Reads one whole message.
pub(crate) fn message(bytes: &[u8]) -> Message {
    let mut framer = Framer::new(Limits::default());
    framer.handle_bytes(bytes);
    match framer.poll_frame() {
        Some(Frame::Message(message)) => message,
        other => panic!("not a SIP message: {other:?}"),
    }
}

/// The front end and what is around it.
pub(crate) struct Stage {
    core: Core,
    now: Now,
    stanza: Bytes,
    sequence: u64,
    number: u64,
    device: Vec<Bytes>,
    envelopes: Vec<Envelope>,
    settled_count: usize,
}

impl Stage {
    pub(crate) fn new() -> Self {
        let now = Now::read();
        let sent_by = SentBy { host: Host::parse("192.0.2.1").expect("an address"), port: None };
        let settings = CoreSettings {
            gateway: GatewaySettings::new(sent_by.clone()),
            next_hops: NextHopSettings {
                host: sent_by.host.clone(),
                tcp_port: None,
                tls_port: None,
            },
            home: HomeSettings { sent_by, messages: MessageLimits::default() },
            provision: Provision { home: true, tcp: false, tls: false },
        };
        let romeo = Jid::parse(ROMEO).expect("the address is valid");
        let user = accounts::record(&romeo, PASSWORD, false).expect("the password will do");
        let loaded = Loaded {
            installation_secret: b"installation".to_vec(),
            users: vec![user],
            ..Loaded::default()
        };
        let policy = document::parse(POLICY).0.expect("the policy is sound");
        let policy = StartPolicy { version: 1, policy, to_store: None };
        let seeds = [[1; 32], [2; 32], [3; 32], [4; 32], [5; 32]];
        let core = Core::restore(loaded, policy, settings, hello("frontend1"), seeds, now);
        let mut stage = Self {
            core,
            now,
            stanza: stanza().into(),
            sequence: 0,
            number: 0,
            device: Vec::new(),
            envelopes: Vec::new(),
            settled_count: 0,
        };
        stage.core.handle_attached(EDGE, "edge1".into(), now);
        stage.frame(FromEdge { hello: Some(hello("edge1")), ..FromEdge::default() });
        let (local, peer) = ("192.0.2.1:5060", "192.0.2.17:41514");
        let [local, peer] = [local, peer].map(|it| it.parse().expect("an address"));
        stage.core.handle_opened(DEVICE, Transport::Tcp, Ends { local, peer }, Vec::new(), now);
        stage.register();
        // Of a recipient that nothing is known of, an error is waited for; this is the first.
        stage.begin_s2x();
        stage.now.instant += Duration::from_secs(1);
        stage.now.unix_ms += 1_000;
        stage.core.handle_timeout(stage.now);
        stage.settle_down();
        assert!(matches!(stage.take(), Message::Response(it) if it.status() == StatusCode::OK));
        stage
    }

    /// Carries one message from the edge to the device, and its outcome into the store.
    pub(crate) fn carry_x2s(&mut self) {
        self.sequence += 1;
        let id = [0, self.sequence].map(u64::to_be_bytes).concat();
        let envelope = Envelope {
            sequence: self.sequence,
            id: id.into(),
            local_domain: "montague.example".into(),
            remote_domain: "capulet.example".into(),
            stanza: self.stanza.clone(),
            correlation_id: format!("{:016x}", self.sequence),
            facts: None,
        };
        self.frame(FromEdge { envelopes: vec![envelope], ..FromEdge::default() });
        let Message::Request(request) = self.take() else { panic!("the device gets a MESSAGE") };
        let answer = OutgoingResponse::to(&request, StatusCode::OK, Some("device"));
        self.device_sends(&answer.to_bytes());
        assert_eq!(std::mem::take(&mut self.settled_count), 1, "the envelope is settled");
        assert_eq!(self.core.open_messages(), 0, "the message has its outcome");
    }

    /// Carries one message from the device to the edge, and its answer back.
    pub(crate) fn carry_s2x(&mut self) {
        self.begin_s2x();
        assert!(matches!(self.take(), Message::Response(it) if it.status() == StatusCode::OK));
        assert_eq!(self.core.open_messages(), 0, "the message has its outcome");
    }

    fn begin_s2x(&mut self) {
        self.number += 1;
        self.device_sends(&request(self.number));
        let envelope = self.envelopes.pop().expect("the message goes to the edge");
        let outcome = Some(settlement::Outcome::Accepted(Accepted {}));
        let settlement = Settlement { sequence: envelope.sequence, outcome };
        self.frame(FromEdge { settlements: vec![settlement], ..FromEdge::default() });
    }

    fn register(&mut self) {
        self.device_sends(&registration(1, ""));
        let Message::Response(challenged) = self.take() else { panic!("a challenge is expected") };
        let challenge = challenged.headers().readable_rows::<Challenge>().next();
        let challenge = challenge.expect("a challenge is expected");
        let uri = Uri::parse("sip:montague.example").expect("it is a URI");
        let ha1 = Ha1::compute(challenge.algorithm(), "romeo", challenge.realm(), PASSWORD);
        let credentials = challenge.answer(&Answer {
            user_name: "romeo",
            ha1: &ha1,
            method: &sip_proto::Method::Register,
            uri: &uri,
            client_nonce: "bench",
            nonce_count: 1,
        });
        let mut authorization = String::from("Authorization: ");
        credentials.write(&mut authorization);
        authorization.push_str("\r\n");
        self.device_sends(&registration(2, &authorization));
        assert!(matches!(self.take(), Message::Response(it) if it.status() == StatusCode::OK));
    }

    fn device_sends(&mut self, bytes: &[u8]) {
        self.core.handle_bytes(DEVICE, bytes, self.now);
        self.settle_down();
    }

    fn frame(&mut self, frame: FromEdge) {
        self.core.handle_frame(EDGE, frame, self.now).expect("the edge keeps the rules");
        self.settle_down();
    }

    /// The store confirms everything at once; what comes out is kept for whoever gets it.
    fn settle_down(&mut self) {
        loop {
            while let Some((id, _)) = self.core.poll_commit() {
                self.core.handle_commit(id, Ok(()), self.now);
            }
            let Some(effect) = self.core.poll_effect() else { return };
            match effect {
                CoreEffect::Transmit(transmit) => self.device.push(transmit.bytes),
                CoreEffect::Frame(_, frame) => {
                    self.envelopes.extend(frame.envelopes);
                    self.settled_count += frame.settlements.len();
                }
                _ => {}
            }
        }
    }

    /// The one message that the device got.
    fn take(&mut self) -> Message {
        let bytes = self.device.pop().expect("the device gets something");
        assert!(self.device.is_empty(), "the device gets only that");
        message(&bytes)
    }
}

fn hello(name: &str) -> Hello {
    Hello { version: link::VERSION, name: name.into(), instance: Bytes::from_static(&[7; 16]) }
}

fn registration(number: u32, authorization: &str) -> Vec<u8> {
    format!(
        "REGISTER sip:montague.example SIP/2.0\r\n\
         Via: SIP/2.0/TCP 192.0.2.17:41514;branch=z9hG4bKr{number}\r\n\
         Max-Forwards: 70\r\n\
         From: <sip:{ROMEO}>;tag=r1\r\n\
         To: <sip:{ROMEO}>\r\n\
         Call-ID: register\r\n\
         CSeq: {number} REGISTER\r\n\
         Contact: <sip:romeo@192.0.2.17:41514;transport=tcp>\r\n\
         Expires: 3600\r\n\
         {authorization}Content-Length: 0\r\n\r\n"
    )
    .into_bytes()
}
