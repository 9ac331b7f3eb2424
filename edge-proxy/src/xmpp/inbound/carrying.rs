//! Our stanzas on a bidirectional stream that a peer opened, and the drivers of the partners that
//! wait for what becomes of them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use xmpp_proto::stream::{Admission, DomainPair, ReceivingStream, SendError, Unconfirmed};

use super::Driver;
use crate::hub::Inbound;
use crate::xmpp::partner::Carried;

/// A stanza of ours, as the driver of the partner hands it over.
#[derive(Debug)]
pub struct Load {
    /// Between whom it goes.
    pub pair: DomainPair,
    /// What the driver calls it.
    pub token: u64,
    /// The stanza as it goes on a stream.
    pub bytes: Bytes,
}

/// What one stream carries for the drivers it was offered to.
///
/// Each driver bounds what it has on a stream, and there is one for each pair of the stream.
#[derive(Default)]
pub(super) struct Carrying {
    /// Pairs whose drivers know of the stream, and are to learn of its end.
    offered: BTreeSet<DomainPair>,
    /// Pairs of which a stanza was refused; no later one may overtake it.
    refused: BTreeSet<DomainPair>,
    last_token: u64,
    /// By our token: whose stanza it is, and what its driver calls it.
    sent: BTreeMap<u64, (DomainPair, u64)>,
}

impl Carrying {
    /// Sends a stanza.
    ///
    /// # Errors
    /// Says what to tell its driver: that the peer takes none of this size, or that the stream
    /// takes neither it nor a later one of the pair.
    fn send(
        &mut self,
        stream: &mut ReceivingStream,
        load: &Load,
        admission: &Admission,
        now: Instant,
    ) -> Result<(), Carried> {
        let (token, of_driver) = (self.last_token + 1, load.token);
        let sent = match self.refused.contains(&load.pair) {
            true => Err(SendError::NotCarried),
            false => stream.send_stanza(&load.pair, token, &load.bytes, admission, now),
        };
        match sent {
            Ok(()) => {}
            Err(SendError::TooLarge) => return Err(Carried::TooLarge(of_driver)),
            Err(_) => {
                self.refused.insert(load.pair.clone());
                return Err(Carried::Refused(of_driver));
            }
        }
        self.last_token = token;
        self.sent.insert(token, (load.pair.clone(), load.token));
        Ok(())
    }

    /// Takes the end of the stream: what each driver that knows of it gets back, in order.
    fn end(&mut self, unconfirmed: Vec<Unconfirmed>) -> BTreeMap<DomainPair, Vec<Unconfirmed>> {
        let offered = std::mem::take(&mut self.offered).into_iter();
        let mut left: BTreeMap<_, _> = offered.map(|pair| (pair, Vec::new())).collect();
        for Unconfirmed { token, written } in unconfirmed {
            if let Some((pair, token)) = self.sent.remove(&token)
                && let Some(of_pair) = left.get_mut(&pair)
            {
                of_pair.push(Unconfirmed { token, written });
            }
        }
        left
    }
}

impl Driver {
    /// Lets the driver of an authenticated pair send its stanzas here.
    pub(super) fn offer(&mut self, pair: &DomainPair) {
        self.carrying.offered.insert(pair.clone());
        self.around.pool.offer(pair, self.number, self.registration.sender());
    }

    /// Sends a stanza of ours, or tells the partner's driver that it must go another way.
    pub(super) fn carry(&mut self, load: &Load, now: Instant) {
        let admitted = Arc::clone(&self.around.admitted.borrow());
        let sent = self.carrying.send(&mut self.machine, load, &admitted.streams, now);
        if let Err(carried) = sent {
            self.around.pool.carried(&load.pair, self.number, carried);
        }
    }

    /// Tells the driver whose stanza the peer has confirmed.
    pub(super) fn handle_delivered(&mut self, token: u64) {
        if let Some((pair, token)) = self.carrying.sent.remove(&token) {
            self.around.pool.carried(&pair, self.number, Carried::Delivered(token));
        }
    }

    /// Settles an iq that answers a ping on this stream; another one goes to the front end.
    pub(super) async fn handle_barrier_answer(
        &mut self,
        id: &str,
        stanza: Option<Box<Inbound>>,
        now: Instant,
    ) {
        let answered = self.machine.handle_barrier_answer(id, now);
        match stanza {
            Some(inbound) if answered => self.around.registry.settled(inbound.settling, Ok(())),
            Some(inbound) => self.forward(inbound).await,
            None => {}
        }
    }

    /// Gives our stanzas back that the peer has not confirmed.
    pub(super) fn end_carrying(&mut self, reason: &str) {
        for (pair, unconfirmed) in self.carrying.end(self.machine.take_unconfirmed()) {
            let ended = Carried::Ended { unconfirmed, reason: reason.to_owned() };
            self.around.pool.carried(&pair, self.number, ended);
        }
    }
}
