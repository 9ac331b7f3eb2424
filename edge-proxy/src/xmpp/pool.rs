//! One driver for each pair of a domain of ours and a partner's domain that is in use.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio_util::task::TaskTracker;
use xmpp_proto::limits::Limits;
use xmpp_proto::stream::DomainPair;
use xmpp_proto::xml::{parse_document, write_stanza};

use super::inbound::InboundCommand;
use super::listener::Registry;
use super::outbound::{PartnerCommand, Reach, drive};
use super::partner::Carried;
use super::queue::Ticket;
use crate::admission::Admitted;
use crate::connect::Connector;
use crate::hub::Dispatch;
use crate::hub_driver::{HubInput, HubSender};

/// Bytes of errors that may wait for one driver. Nothing else holds a peer back that makes us
/// write errors faster than its server takes them.
pub const WAITING_ERROR_BYTES_MAX: usize = 1024 * 1024;

/// The drivers. Clones share them.
#[derive(Clone)]
pub struct Pool {
    // A lock, because streams and hub both send; it is held for one look-up at a time.
    drivers: Arc<Mutex<BTreeMap<DomainPair, Handle>>>,
    /// Streams that peers offered while nothing was to be sent to them; locked inside the other.
    offers: Arc<Mutex<BTreeMap<DomainPair, Vec<Offer>>>>,
    reach: Reach,
}

/// A stream that a peer opened and that carries our stanzas too: its number, and where they go.
type Offer = (u64, mpsc::UnboundedSender<InboundCommand>);

/// Where a driver takes its commands from.
#[derive(Clone)]
struct Handle {
    commands: mpsc::UnboundedSender<PartnerCommand>,
    error_room: Arc<Semaphore>,
}

impl Pool {
    /// Makes an empty pool.
    pub fn new(
        admitted: watch::Receiver<Arc<Admitted>>,
        attached: watch::Receiver<bool>,
        connector: Arc<Connector>,
        hub: HubSender,
        registry: Registry,
    ) -> Self {
        let tasks = TaskTracker::new();
        let reach = Reach { admitted, attached, connector, hub, registry, tasks };
        Self { drivers: Arc::default(), offers: Arc::default(), reach }
    }

    /// Offers a stream that a peer opened to the driver of a pair; none is started for that.
    pub fn offer(
        &self,
        pair: &DomainPair,
        stream: u64,
        commands: mpsc::UnboundedSender<InboundCommand>,
    ) {
        let drivers = self.drivers.lock();
        match drivers.get(pair) {
            Some(driver) => {
                let _ = driver.commands.send(PartnerCommand::Offer { stream, commands });
            }
            None => {
                self.offers.lock().entry(pair.clone()).or_default().push((stream, commands));
            }
        }
    }

    /// Tells the driver that a stream was offered to what became of a stanza, or of the stream.
    pub fn carried(&self, pair: &DomainPair, stream: u64, carried: Carried) {
        let drivers = self.drivers.lock();
        if let Some(driver) = drivers.get(pair) {
            let _ = driver.commands.send(PartnerCommand::Carried { stream, carried });
            return;
        }
        let mut offers = self.offers.lock();
        if let Some(of_pair) = offers.get_mut(pair) {
            // Nothing was sent on it, so that this is its end.
            of_pair.retain(|(offered, _)| *offered != stream);
            if of_pair.is_empty() {
                offers.remove(pair);
            }
        }
    }

    /// Hands a command to the driver of a pair, which is started if there is none.
    ///
    /// Pairs are those that policy admits, so that their number is bounded by it.
    pub fn send(&self, pair: &DomainPair, command: PartnerCommand) {
        if let Some(driver) = self.driver(pair) {
            // The driver ends only with the process.
            let _ = driver.commands.send(command);
        }
    }

    /// Sends an error of ours to a sender; too many at once are dropped.
    pub fn send_error(&self, pair: &DomainPair, error: Bytes) {
        let Some(driver) = self.driver(pair) else { return };
        let length = u32::try_from(error.len()).unwrap_or(u32::MAX);
        match driver.error_room.try_acquire_many_owned(length) {
            Ok(room) => {
                metrics::counter!("edge_xmpp_errors_sent_total").increment(1);
                let _ = driver.commands.send(PartnerCommand::SendError(error, room));
            }
            Err(_) => {
                metrics::counter!("edge_xmpp_errors_dropped_total").increment(1);
                tracing::debug!(partner = %pair.remote, "too many errors wait: one was dropped");
            }
        }
    }

    /// Returns the driver of a pair; none is started once the pool ends.
    fn driver(&self, pair: &DomainPair) -> Option<Handle> {
        let mut drivers = self.drivers.lock();
        if let Some(driver) = drivers.get(pair) {
            return Some(driver.clone());
        }
        let Reach { tasks, .. } = &self.reach;
        if tasks.is_closed() {
            return None;
        }
        let (commands, received) = mpsc::unbounded_channel();
        for (stream, carrier) in self.offers.lock().remove(pair).into_iter().flatten() {
            let _ = commands.send(PartnerCommand::Offer { stream, commands: carrier });
        }
        let own = commands.downgrade();
        tasks.spawn(drive(pair.clone(), received, own, self.reach.clone()));
        let error_room = Arc::new(Semaphore::new(WAITING_ERROR_BYTES_MAX));
        let driver = Handle { commands, error_room };
        drivers.insert(pair.clone(), driver.clone());
        Some(driver)
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
                let hub = self.reach.hub.clone();
                tokio::spawn(async move { hub.send(outcome).await });
            }
        }
    }

    /// Closes all streams that we opened.
    pub fn close_all(&self) {
        for driver in self.drivers.lock().values() {
            let _ = driver.commands.send(PartnerCommand::Close);
        }
    }

    /// Tells every driver to end, once what is on its way has its outcome.
    pub fn end(&self) {
        self.reach.tasks.close();
        for driver in self.drivers.lock().values() {
            let _ = driver.commands.send(PartnerCommand::End);
        }
    }

    /// Waits until every driver has ended, and its connection; [`Pool::end`] comes before.
    pub async fn all_ended(&self) {
        self.reach.tasks.wait().await;
    }

    /// Tells every driver of an answer to a ping.
    pub fn barrier_answered(&self, id: &str) {
        for driver in self.drivers.lock().values() {
            let answer = PartnerCommand::BarrierAnswer { id: id.to_owned(), stanza: None };
            let _ = driver.commands.send(answer);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use bytes::Bytes;
    use host::tls::{self, TrustAnchors};
    use rustls::{ClientConfig, RootCertStore};
    use tokio::sync::{mpsc, watch};
    use xmpp_proto::jid::Domain;
    use xmpp_proto::stream::DomainPair;

    use super::{Pool, Registry, WAITING_ERROR_BYTES_MAX};
    use crate::admission::Admitted;
    use crate::connect::Connector;

    fn pool(admitted: watch::Receiver<Arc<Admitted>>) -> Pool {
        let (_, attached) = watch::channel(true);
        let tls = ClientConfig::builder_with_provider(tls::provider())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(RootCertStore::empty())
            .with_no_client_auth();
        let trust = Arc::new(TrustAnchors::default());
        let servers = ["127.0.0.1:53".parse().unwrap()];
        let connector =
            Connector::new(&servers, Duration::from_secs(1), &tls.into(), trust).unwrap();
        let (hub, _) = mpsc::channel(1);
        Pool::new(admitted, attached, Arc::new(connector), hub, Registry::default())
    }

    // One thread: the driver runs only where the test waits.
    #[tokio::test]
    async fn errors_that_wait_for_a_driver_are_bounded_in_bytes_until_it_takes_them() {
        let (_admit, admitted) = watch::channel(Arc::new(Admitted::default()));
        let pool = pool(admitted);
        let domain = |name| Domain::parse(name).unwrap();
        let pair =
            DomainPair { local: domain("contoso.example"), remote: domain("fabrikam.example") };
        let error = Bytes::from(vec![b'x'; WAITING_ERROR_BYTES_MAX / 4]);
        let room = |pool: &Pool| pool.drivers.lock()[&pair].error_room.available_permits();

        for left in [3, 2, 1, 0, 0] {
            pool.send_error(&pair, error.clone());
            assert_eq!(room(&pool), left * error.len());
        }
        pool.end();
        pool.all_ended().await;
        assert_eq!(room(&pool), WAITING_ERROR_BYTES_MAX);
    }
}
