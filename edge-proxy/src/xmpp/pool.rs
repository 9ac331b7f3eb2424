//! One driver for each pair of a domain of ours and a partner's domain that is in use.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::{mpsc, watch};
use xmpp_proto::limits::Limits;
use xmpp_proto::stream::DomainPair;
use xmpp_proto::xml::{parse_document, write_stanza};

use super::outbound::{PartnerCommand, drive};
use super::queue::Ticket;
use crate::admission::Admitted;
use crate::connect::Connector;
use crate::hub::Dispatch;
use crate::hub_driver::{HubInput, HubSender};

/// The drivers. Clones share them.
#[derive(Clone)]
pub struct Pool {
    // A lock, because streams and hub both send; it is held for one look-up at a time.
    drivers: Arc<Mutex<BTreeMap<DomainPair, mpsc::UnboundedSender<PartnerCommand>>>>,
    admitted: watch::Receiver<Arc<Admitted>>,
    connector: Arc<Connector>,
    hub: HubSender,
}

impl Pool {
    /// Makes an empty pool.
    pub fn new(
        admitted: watch::Receiver<Arc<Admitted>>,
        connector: Arc<Connector>,
        hub: HubSender,
    ) -> Self {
        Self { drivers: Arc::default(), admitted, connector, hub }
    }

    /// Hands a command to the driver of a pair, which is started if there is none.
    ///
    /// Pairs are those that policy admits, so that their number is bounded by it.
    pub fn send(&self, pair: &DomainPair, command: PartnerCommand) {
        let mut drivers = self.drivers.lock();
        let driver = drivers.entry(pair.clone()).or_insert_with(|| {
            let (commands, received) = mpsc::unbounded_channel();
            let (admitted, connector) = (self.admitted.clone(), Arc::clone(&self.connector));
            tokio::spawn(drive(pair.clone(), received, admitted, connector, self.hub.clone()));
            commands
        });
        // The driver ends only with the process.
        let _ = driver.send(command);
    }

    /// Sends a stanza of a front end.
    ///
    /// It is parsed and written anew: what leaves us was built by us, whatever the front end is.
    pub fn dispatch(&self, dispatch: &Dispatch) {
        let limits = Limits::AFTER_AUTHENTICATION.of_written_form();
        match parse_document(&dispatch.stanza, &limits) {
            Ok(stanza) => {
                let command = PartnerCommand::Send(Ticket::Hub(dispatch.id), write_stanza(&stanza));
                self.send(&dispatch.pair, command);
            }
            Err(error) => {
                tracing::error!(%error, correlation_id = dispatch.correlation_id, "a front end sent what is no stanza");
                let outcome = Err(link::wire::Bounced {
                    condition: "internal-server-error".into(),
                    text: "the stanza could not be sent".into(),
                    possibly_delivered: false,
                });
                let outcome = HubInput::Outcome { id: dispatch.id, outcome };
                // The hub waits for nobody, so that there is room or there will be.
                let hub = self.hub.clone();
                tokio::spawn(async move { hub.send(outcome).await });
            }
        }
    }

    /// Closes all streams that we opened.
    pub fn close_all(&self) {
        for driver in self.drivers.lock().values() {
            let _ = driver.send(PartnerCommand::Close);
        }
    }

    /// Tells every driver of an answer to a ping.
    pub fn barrier_answered(&self, id: &str) {
        for driver in self.drivers.lock().values() {
            let _ = driver.send(PartnerCommand::BarrierAnswer { id: id.to_owned(), stanza: None });
        }
    }
}
