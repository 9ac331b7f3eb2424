//! What became of each message of a bulk run, by the logs of the drivers at both ends.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

/// A run of numbered messages to send.
#[derive(Clone, Debug, Serialize)]
pub struct BulkOrder<'a> {
    /// What every message of the run begins with; without white space.
    pub tag: &'a str,
    /// The recipients, who get the messages in turn.
    pub to: &'a [&'a str],
    /// How many messages, up to 1,000,000.
    pub count: u64,
    /// How many messages a second, in all.
    pub rate_per_s: f64,
    /// The length of each body in bytes, at least what the tag and the number need.
    pub body_bytes: usize,
}

/// How far a bulk run is, at one driver.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Progress {
    /// Messages that left at least once.
    pub sent_count: u64,
    /// Messages that the sender needs to do nothing more for.
    pub settled_count: u64,
    /// Messages of the other side that arrived, each as often as it did.
    pub arrived_count: u64,
}

/// What a driver noted of a bulk run.
///
/// Times are milliseconds since the Unix epoch.
#[derive(Clone, Debug, Deserialize)]
pub struct BulkLog {
    /// Each message that this driver sent.
    pub sent: Vec<Sent>,
    /// The number and time of each message that arrived.
    pub arrived: Vec<(u64, u64)>,
    /// The number and time of each message of failure that quotes one sent.
    pub noticed: Vec<(u64, u64)>,
    /// The number, time and condition of each stanza error that returns one sent.
    #[serde(default)]
    pub bounced: Vec<(u64, u64, String)>,
}

/// One message of a bulk run at its sender.
#[derive(Clone, Debug, Deserialize)]
pub struct Sent {
    /// Its number.
    pub number: u64,
    /// Its recipient.
    pub to: String,
    /// Each time it left.
    pub sent_ms: Vec<u64>,
    /// When it was answered; XMPP has no answers.
    #[serde(default)]
    pub answered_ms: Option<u64>,
    /// The final response; XMPP has none.
    #[serde(default)]
    pub status: Option<u16>,
}

/// The time of the drivers' logs, for the moment of a fault.
pub fn now_ms() -> u64 {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH);
    u64::try_from(since_epoch.expect("the clock is past 1970").as_millis()).expect("64 bits do")
}

/// Shows the figures of a run to whoever runs it by hand.
#[expect(clippy::print_stdout, reason = "the figures of a run are for whoever runs it by hand")]
pub fn show(figures: &str) {
    println!("{figures}");
}

/// The logs of both ends, joined by the numbers of the messages.
pub struct Ledger {
    messages: BTreeMap<u64, Message>,
}

/// What is known of one message.
struct Message {
    sent: Sent,
    arrivals_ms: Vec<u64>,
    returned_ms: Vec<u64>,
}

impl Message {
    fn is_refused(&self) -> bool {
        self.sent.status.is_some_and(|status| status >= 300)
    }

    /// The end of the time in which a fault may have doubled it.
    fn settled_ms(&self) -> Option<u64> {
        let seen = self.arrivals_ms.iter().chain(&self.returned_ms).min().copied();
        self.sent.answered_ms.or(seen)
    }
}

impl Ledger {
    /// Joins the log of the sender with that of the receiver.
    pub fn join(sender: BulkLog, receiver: &BulkLog) -> Self {
        let unknown = |sent| Message { sent, arrivals_ms: Vec::new(), returned_ms: Vec::new() };
        let mut messages: BTreeMap<u64, Message> =
            sender.sent.into_iter().map(|sent| (sent.number, unknown(sent))).collect();
        for &(number, at_ms) in &receiver.arrived {
            message_in(&mut messages, number).arrivals_ms.push(at_ms);
        }
        let bounced = sender.bounced.iter().map(|&(number, at_ms, _)| (number, at_ms));
        for (number, at_ms) in sender.noticed.iter().copied().chain(bounced) {
            message_in(&mut messages, number).returned_ms.push(at_ms);
        }
        Self { messages }
    }

    /// The messages that arrived at least once.
    pub fn arrived(&self) -> BTreeSet<u64> {
        self.numbers(|message| !message.arrivals_ms.is_empty())
    }

    /// The messages that came back to their sender with a reason.
    pub fn returned(&self) -> BTreeSet<u64> {
        self.numbers(|message| !message.returned_ms.is_empty())
    }

    /// The messages that were refused at once, by a final response that is no 2xx.
    pub fn refused(&self) -> BTreeSet<u64> {
        self.numbers(Message::is_refused)
    }

    /// The messages that were not refused, and neither arrived nor came back: the vanished.
    ///
    /// A SIP message that was never answered counts among them if it did not arrive.
    pub fn vanished(&self) -> BTreeSet<u64> {
        self.numbers(|message| {
            !message.is_refused()
                && message.arrivals_ms.is_empty()
                && message.returned_ms.is_empty()
        })
    }

    /// The messages that arrived and also came back, or were also refused.
    pub fn contradicted(&self) -> BTreeSet<u64> {
        self.numbers(|message| {
            !message.arrivals_ms.is_empty()
                && (message.is_refused() || !message.returned_ms.is_empty())
        })
    }

    /// How many arrivals there were beyond the first of each message.
    pub fn duplicate_count(&self) -> usize {
        self.messages.values().map(|message| message.arrivals_ms.len().saturating_sub(1)).sum()
    }

    /// The messages that had left and were not settled at one of these times.
    ///
    /// Settled means answered over SIP, and arrived or returned over XMPP; whoever is between the
    /// drivers may need up to `noting_ms` milliseconds more to note it.
    pub fn in_flight_at(&self, faults_ms: &[u64], noting_ms: u64) -> BTreeSet<u64> {
        let is_in_flight = |message: &Message, fault_ms: u64| {
            let has_left = message.sent.sent_ms.first().is_some_and(|&at_ms| at_ms <= fault_ms);
            has_left && message.settled_ms().is_none_or(|at_ms| at_ms + noting_ms >= fault_ms)
        };
        self.numbers(|message| faults_ms.iter().any(|&fault_ms| is_in_flight(message, fault_ms)))
    }

    fn numbers(&self, is_one: impl Fn(&Message) -> bool) -> BTreeSet<u64> {
        let found = self.messages.iter().filter(|(_, message)| is_one(message));
        found.map(|(&number, _)| number).collect()
    }
}

fn message_in(messages: &mut BTreeMap<u64, Message>, number: u64) -> &mut Message {
    messages.get_mut(&number).unwrap_or_else(|| panic!("nobody sent message {number}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(number: u64, sent_ms: &[u64], answer: Option<(u64, u16)>) -> Sent {
        Sent {
            number,
            to: "sip:romeo@contoso.example".to_owned(),
            sent_ms: sent_ms.to_vec(),
            answered_ms: answer.map(|(at_ms, _)| at_ms),
            status: answer.map(|(_, status)| status),
        }
    }

    fn log(sent: Vec<Sent>, arrived: &[(u64, u64)], noticed: &[(u64, u64)]) -> BulkLog {
        BulkLog { sent, arrived: arrived.to_vec(), noticed: noticed.to_vec(), bounced: Vec::new() }
    }

    #[test]
    fn each_message_has_the_outcome_that_the_logs_show() {
        let messages = vec![
            sent(0, &[10], Some((20, 200))),
            sent(1, &[10], Some((20, 202))),
            sent(2, &[10], Some((20, 404))),
            sent(3, &[10], Some((20, 200))),
            sent(4, &[10], None),
        ];
        let sender = log(messages, &[], &[(1, 30)]);
        let receiver = log(Vec::new(), &[(0, 15)], &[]);
        let ledger = Ledger::join(sender, &receiver);
        assert_eq!(ledger.arrived(), BTreeSet::from([0]));
        assert_eq!(ledger.returned(), BTreeSet::from([1]));
        assert_eq!(ledger.refused(), BTreeSet::from([2]));
        assert_eq!(ledger.vanished(), BTreeSet::from([3, 4]));
        assert_eq!(ledger.contradicted(), BTreeSet::new());
    }

    #[test]
    fn a_message_that_arrived_and_came_back_is_a_contradiction() {
        let messages = vec![sent(0, &[10], Some((20, 202))), sent(1, &[10], Some((20, 500)))];
        let sender = log(messages, &[], &[(0, 30)]);
        let receiver = log(Vec::new(), &[(0, 15), (1, 15)], &[]);
        let ledger = Ledger::join(sender, &receiver);
        assert_eq!(ledger.contradicted(), BTreeSet::from([0, 1]));
    }

    #[test]
    fn duplicates_and_what_was_in_flight_are_counted() {
        let messages = vec![
            sent(0, &[10], Some((20, 200))),
            sent(1, &[30, 50], Some((60, 200))),
            sent(2, &[70], None),
        ];
        let sender = log(messages, &[], &[]);
        let receiver = log(Vec::new(), &[(0, 12), (1, 35), (1, 55), (2, 75)], &[]);
        let ledger = Ledger::join(sender, &receiver);
        assert_eq!(ledger.duplicate_count(), 1);
        assert_eq!(ledger.in_flight_at(&[40], 0), BTreeSet::from([1]));
        assert_eq!(ledger.in_flight_at(&[5, 15, 72], 0), BTreeSet::from([0, 2]));
        assert_eq!(ledger.in_flight_at(&[25, 65, 80], 0), BTreeSet::new());
        assert_eq!(ledger.in_flight_at(&[25, 65, 80], 5), BTreeSet::from([0, 1, 2]));
    }
}
