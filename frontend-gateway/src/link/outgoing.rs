//! Frames that wait for an edge to take them, and how long it has taken none.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use link::batch::Frame;
use link::wire::FromFrontend;
use tokio::sync::{Notify, mpsc};
use tokio_stream::Stream;

/// Bytes of frames that may wait for an edge; beyond that nothing more is read from it, so that
/// what it causes does not pile up here.
const WAITING_BYTES_MAX: usize = 4 * 1024 * 1024;

/// How long an edge may take no frame while some wait for it, at least; at most twice as long.
pub(super) const STALL_MAX: Duration = Duration::from_secs(15);

/// The sending side of the frames.
#[derive(Debug)]
pub(super) struct Sender {
    frames: mpsc::UnboundedSender<(FromFrontend, usize)>,
    backlog: Backlog,
}

/// The frames in the order in which they go to the edge.
#[derive(Debug)]
pub(super) struct Outgoing {
    frames: mpsc::UnboundedReceiver<(FromFrontend, usize)>,
    backlog: Backlog,
}

/// What waits for the edge. Clones share it.
#[derive(Clone, Debug, Default)]
pub(super) struct Backlog(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    waiting_bytes: AtomicUsize,
    taken: AtomicU64,
    was_taken: Notify,
}

/// Makes both sides.
pub(super) fn channel() -> (Sender, Outgoing) {
    let (sender, receiver) = mpsc::unbounded_channel();
    let backlog = Backlog::default();
    let frames = Sender { frames: sender, backlog: backlog.clone() };
    (frames, Outgoing { frames: receiver, backlog })
}

impl Sender {
    /// Sends a frame; on a link that is lost it goes nowhere.
    pub(super) fn send(&self, frame: FromFrontend) {
        let bytes = frame.weight();
        self.backlog.0.waiting_bytes.fetch_add(bytes, Ordering::Relaxed);
        let _ = self.frames.send((frame, bytes));
    }

    /// Returns what waits for the edge.
    pub(super) fn backlog(&self) -> Backlog {
        self.backlog.clone()
    }
}

impl Backlog {
    /// Waits until the edge has taken enough for more to be read from it.
    pub(super) async fn has_room(&self) {
        loop {
            // Before the look, so that what is taken in between wakes us.
            let taken = self.0.was_taken.notified();
            if self.0.waiting_bytes.load(Ordering::Relaxed) < WAITING_BYTES_MAX {
                return;
            }
            taken.await;
        }
    }

    /// Waits until the edge has taken nothing for `longest`, while something waited.
    pub(super) async fn stalls(&self, longest: Duration) {
        let mut before = self.look();
        loop {
            tokio::time::sleep(longest).await;
            let now = self.look();
            if is_stall(before, now) {
                return;
            }
            before = now;
        }
    }

    /// Returns how many frames were taken so far; none while nothing waits.
    fn look(&self) -> Option<u64> {
        let taken = self.0.taken.load(Ordering::Relaxed);
        (self.0.waiting_bytes.load(Ordering::Relaxed) > 0).then_some(taken)
    }
}

/// Says whether something waited at two looks, and nothing was taken in between.
fn is_stall(before: Option<u64>, now: Option<u64>) -> bool {
    now.is_some() && now == before
}

impl Stream for Outgoing {
    type Item = FromFrontend;

    fn poll_next(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<FromFrontend>> {
        self.frames.poll_recv(context).map(|next| {
            let (frame, bytes) = next?;
            self.backlog.0.waiting_bytes.fetch_sub(bytes, Ordering::Relaxed);
            self.backlog.0.taken.fetch_add(1, Ordering::Relaxed);
            self.backlog.0.was_taken.notify_waiters();
            Some(frame)
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use link::wire::{Envelope, FromFrontend};
    use tokio_stream::StreamExt;

    use super::{Backlog, WAITING_BYTES_MAX, channel, is_stall};

    fn frame(bytes: usize) -> FromFrontend {
        let stanza = vec![b'x'; bytes].into();
        let envelopes = vec![Envelope { stanza, ..Envelope::default() }];
        FromFrontend { envelopes, ..FromFrontend::default() }
    }

    async fn has_room_at_once(backlog: &Backlog) -> bool {
        tokio::select! {
            biased;
            () = backlog.has_room() => true,
            () = std::future::ready(()) => false,
        }
    }

    #[tokio::test]
    async fn nothing_is_read_from_an_edge_that_takes_nothing_until_it_does() {
        let (sender, mut outgoing) = channel();
        let backlog = sender.backlog();
        sender.send(frame(1));
        assert!(has_room_at_once(&backlog).await, "one frame is not much");
        sender.send(frame(WAITING_BYTES_MAX));
        assert!(!has_room_at_once(&backlog).await);
        let waiting = tokio::spawn({
            let backlog = backlog.clone();
            async move { backlog.has_room().await }
        });
        tokio::task::yield_now().await;
        assert!(outgoing.next().await.is_some() && outgoing.next().await.is_some());
        waiting.await.expect("there is room");
        assert!(has_room_at_once(&backlog).await);
    }

    #[tokio::test]
    async fn an_edge_stalls_that_takes_no_frame_while_some_wait() {
        let (sender, mut outgoing) = channel();
        let backlog = sender.backlog();
        let idle = backlog.look();
        assert!(!is_stall(idle, backlog.look()), "nothing waits");
        sender.send(frame(1));
        sender.send(frame(1));
        let waiting = backlog.look();
        assert!(!is_stall(idle, waiting), "they have just come");
        assert!(is_stall(waiting, backlog.look()));
        let stalling = backlog.stalls(Duration::from_millis(1));
        tokio::time::timeout(Duration::from_secs(20), stalling).await.expect("it stalls");
        outgoing.next().await.expect("there are two");
        assert!(!is_stall(waiting, backlog.look()), "one was taken");
        outgoing.next().await.expect("there is one more");
        assert!(!is_stall(backlog.look(), backlog.look()), "nothing waits");
    }
}
