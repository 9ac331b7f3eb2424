//! What a partner notices of another one whose server stands still.

use std::io;
use std::process::Command;
use std::time::{Duration, Instant};

use tests::process::Process;

use crate::partner::{Partner, REQUEST, Stream, Target};

/// Between two messages of the partner that is measured.
const PAUSE: Duration = Duration::from_millis(5);

/// Between two groups of pings of the partner that is stopped, and how many are in a group.
const GROUP_PAUSE: Duration = Duration::from_millis(10);
const GROUP: usize = 5;

/// Pings that may be unacknowledged; beyond that none are sent.
const UNACKNOWLEDGED_MAX: usize = 200;

/// The partner that is measured, and the load of the one that is stopped.
pub(crate) struct Neighbours {
    good: Stream,
    good_domain: String,
    target: Target,
    sent: usize,
}

impl Neighbours {
    /// Opens the streams of both; `load` pings us from here on, so that answers go to its server.
    pub(crate) async fn start(good: &Partner, load: &Partner, target: Target) -> Self {
        let stream = good.open_acknowledged(target).await.expect("the edge takes the stream");
        let pings = load.open_acknowledged(target).await.expect("the edge takes the stream");
        tokio::spawn(ping_on(pings, load.domain().to_owned(), target));
        Self { good: stream, good_domain: good.domain().to_owned(), target, sent: 0 }
    }

    /// The 99th percentile, in seconds, of how long messages of the good partner take until the
    /// front end has settled them and the edge acknowledges them.
    pub(crate) async fn p99_s(&mut self, length: Duration) -> io::Result<f64> {
        let (begun, mut taken) = (Instant::now(), Vec::new());
        let mut due = begun;
        while begun.elapsed() < length {
            tokio::time::sleep_until(due.into()).await;
            // One that is late since the one before was slow counts from when it was due.
            let is_late = taken.last().is_some_and(|last: &Duration| *last > PAUSE);
            let from = if is_late { due } else { Instant::now() };
            self.sent += 1;
            let stanza = format!(
                "<message from='juliet@{}' to='romeo@{}' id='m{}' type='chat'>\
                 <active xmlns='http://jabber.org/protocol/chatstates'/></message>{REQUEST}",
                self.good_domain, self.target.domain, self.sent
            );
            self.good.send(&stanza).await?;
            self.good.wait_for_acknowledged(self.sent).await?;
            taken.push(from.elapsed());
            due += PAUSE;
        }
        taken.sort_unstable();
        Ok(taken[taken.len() * 99 / 100].as_secs_f64())
    }
}

/// Pings the gateway as long as it acknowledges.
async fn ping_on(mut stream: Stream, domain: String, target: Target) {
    let mut pause = tokio::time::interval(GROUP_PAUSE);
    let mut sent = 0;
    loop {
        tokio::select! {
            _ = pause.tick() => {
                if sent - stream.acknowledged() > UNACKNOWLEDGED_MAX {
                    continue;
                }
                let group: String = (sent..sent + GROUP).map(|number| format!(
                    "<iq from='nurse@{domain}/hall' to='{}' id='p{number}' type='get'>\
                     <ping xmlns='urn:xmpp:ping'/></iq>",
                    target.domain
                )).collect();
                sent += GROUP;
                stream.send(&(group + REQUEST)).await.expect("the edge reads");
            }
            read = stream.take_in() => read.expect("the edge keeps the stream"),
        }
    }
}

/// Stops a process, or lets it go on.
pub(crate) fn signal(process: &Process, signal: &str) {
    let status = Command::new("kill").args([signal, &process.id().to_string()]).status();
    assert!(status.is_ok_and(|it| it.success()), "{} cannot be signalled", process.name());
}
