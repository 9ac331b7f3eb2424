//! Numbered messages both ways between Juliet and Romeo, each in the network of its organisation.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use tests::contoso::{JULIET_JID, JULIET_PASSWORD, JULIET_URI, ROMEO, ROMEO_JID};
use tests::evidence::{BulkLog, BulkOrder, Ledger};
use tests::namespace::Place;
use tests::sip_user::{self, SipUser, Transport};
use tests::wait::{Deadline, until};
use tests::xmpp_user::{self, XmppUser};

use super::compose::{Compose, HOME, Service};

/// The messages of one run, each way, and their pace.
const COUNT: u64 = 40;
const RATE_PER_S: f64 = 5.0;
/// How many are sent before the edges are changed.
const SENT_BEFORE: u64 = 5;
/// How long the SIP user waits for an answer, and tries in all, in seconds.
const ANSWER_WAIT_S: u32 = 5;
const GIVE_UP_S: u32 = 60;
/// How long after the last message everything may still be under way, in seconds.
const SETTLE_S_MAX: u64 = 120;

/// Both users, and the run of messages between them.
pub(super) struct Traffic {
    pub(super) juliet: XmppUser,
    pub(super) romeo: SipUser,
    run: u32,
}

impl Traffic {
    /// Connects both users, each in the container of that name.
    pub(super) fn start(place: &Place, compose: &Compose<'_>) -> Self {
        let partner = compose.addresses(&compose.only(Service::Partner)).remove(0);
        let partner: Ipv4Addr = partner.parse().expect("docker writes addresses");
        let script = compose.driver(Service::Juliet, xmpp_user::SCRIPT);
        let mut juliet = XmppUser::connect_by(place, script, JULIET_JID, JULIET_PASSWORD, partner);
        juliet.be_available();
        let script = compose.driver(Service::Romeo, sip_user::SCRIPT);
        let mut romeo = SipUser::start_by(place, script, &ROMEO);
        let home = format!("{HOME}:5060").parse().expect("an address and a port");
        romeo.connect(home, Transport::Tcp);
        assert_eq!(romeo.register(3600).status, 200);
        romeo.stay_registered();
        Self { juliet, romeo, run: 0 }
    }

    /// Begins to send, both ways.
    pub(super) fn begin(&mut self) {
        self.run += 1;
        let (to_sip, to_xmpp) = (format!("to-sip-{}", self.run), format!("to-xmpp-{}", self.run));
        self.romeo.expect_bulk(&to_sip);
        self.juliet.expect_bulk(&to_xmpp);
        let (count, rate_per_s, body_bytes) = (COUNT, RATE_PER_S, 60);
        let to = &[ROMEO_JID];
        self.juliet.send_bulk(&BulkOrder { tag: &to_sip, to, count, rate_per_s, body_bytes });
        let to = &[JULIET_URI];
        let order = BulkOrder { tag: &to_xmpp, to, count, rate_per_s, body_bytes };
        self.romeo.send_bulk(&order, ANSWER_WAIT_S, GIVE_UP_S);
    }

    /// Waits until messages are under way.
    pub(super) fn wait_until_some_are_sent(&mut self) {
        until("messages sent", Deadline::after_s(30), || {
            match self.juliet.bulk_progress().sent_count {
                sent if sent >= SENT_BEFORE => Ok(()),
                sent => Err(format!("{sent} were sent")),
            }
        });
    }

    /// Whether nothing of this run is left to send.
    pub(super) fn is_sent(&mut self) -> bool {
        let romeo = self.romeo.bulk_progress();
        self.juliet.bulk_progress().sent_count == COUNT && romeo.settled_count == COUNT
    }

    /// Whether in each direction a message has arrived that was sent after that time.
    pub(super) fn has_crossed_since(&mut self, at_ms: u64) -> bool {
        let [juliet, romeo] = self.logs();
        arrived_since(&juliet, &romeo, at_ms) && arrived_since(&romeo, &juliet, at_ms)
    }

    /// Waits until each message has arrived, or its sender was told that it did not.
    pub(super) fn finish(&mut self) {
        until("an outcome of every message", Deadline::after_s(SETTLE_S_MAX), || {
            if !self.is_sent() {
                return Err("not all are sent and answered".to_owned());
            }
            let [juliet, romeo] = self.logs();
            let to_sip = Ledger::join(juliet.clone(), &romeo);
            let to_xmpp = Ledger::join(romeo, &juliet);
            let vanished = [to_sip.vanished(), to_xmpp.vanished()];
            let returned = [&to_sip, &to_xmpp].map(|it| it.returned().len() + it.refused().len());
            let sums = format!("returned or refused, to SIP and to XMPP: {returned:?}");
            if vanished.iter().all(BTreeSet::is_empty) {
                super::show(&sums);
                Ok(())
            } else {
                Err(format!("vanished, to SIP and to XMPP: {vanished:?}; {sums}"))
            }
        });
    }

    fn logs(&mut self) -> [BulkLog; 2] {
        [self.juliet.bulk_log(), self.romeo.bulk_log()]
    }
}

fn arrived_since(sender: &BulkLog, receiver: &BulkLog, at_ms: u64) -> bool {
    let after = |sent: &&tests::evidence::Sent| sent.sent_ms.first().is_some_and(|&it| it > at_ms);
    let mut sent = sender.sent.iter().filter(after);
    sent.any(|sent| receiver.arrived.iter().any(|(number, _)| *number == sent.number))
}
