//! The thread that writes: all that waits goes into one transaction, then all of it is confirmed.

use std::io;
use std::sync::mpsc;
use std::thread::JoinHandle;

use tokio::sync::mpsc::UnboundedSender;

use super::record::HomeMessage;
use super::sqlite::Sqlite;
use super::{StoreError, Write};

/// The most writes of one transaction; what is beyond waits for the next.
const GROUP_WRITES_MAX: usize = 4_096;

/// Work for the store.
#[derive(Debug)]
pub enum Request {
    /// Writes that are confirmed together.
    Commit {
        /// Names the confirmation.
        id: u64,
        /// The writes, in order.
        writes: Vec<Write>,
    },
    /// Reads messages kept for a home user.
    Messages {
        /// The address-of-record.
        aor: String,
        /// The most messages to read.
        count_max: u32,
    },
}

/// What the store has done.
#[derive(Debug)]
pub enum Answer {
    /// The writes of a commit are on the disk, or none of them is.
    Committed {
        /// The commit.
        id: u64,
        /// Whether it was written; the writes come back when it was not.
        result: Result<(), FailedCommit>,
    },
    /// The messages kept for a home user, oldest first.
    Messages {
        /// The address-of-record.
        aor: String,
        /// The messages.
        messages: Vec<HomeMessage>,
    },
}

/// A commit that was not written.
#[derive(Debug)]
pub struct FailedCommit {
    /// Whether there is no room on the disk; otherwise the log says what failed.
    pub disk_full: bool,
    /// The writes, in order.
    pub writes: Vec<Write>,
}

/// The writer thread.
#[derive(Debug)]
pub struct Writer {
    requests: mpsc::Sender<Request>,
    thread: JoinHandle<()>,
}

impl Writer {
    /// Starts the thread; it owns the store and ends with the writer.
    pub fn start(store: Sqlite, answers: UnboundedSender<Answer>) -> io::Result<Self> {
        let (requests, received) = mpsc::channel();
        let thread = std::thread::Builder::new()
            .name("store".into())
            .spawn(move || serve(store, &received, &answers))?;
        Ok(Self { requests, thread })
    }

    /// Hands work to the thread.
    pub fn send(&self, request: Request) {
        // The thread ends only with this writer; were it gone, no commit would be confirmed,
        // nothing acknowledged, and the health page would say so.
        if self.requests.send(request).is_err() {
            tracing::error!("the store's thread is gone");
        }
    }

    /// Waits until all work is done.
    pub fn finish(self) {
        drop(self.requests);
        if self.thread.join().is_err() {
            tracing::error!("the store's thread had panicked");
        }
    }
}

fn serve(mut store: Sqlite, requests: &mpsc::Receiver<Request>, answers: &UnboundedSender<Answer>) {
    while let Ok(first) = requests.recv() {
        let mut commits = Vec::new();
        let mut writes = 0;
        let mut next = Some(first);
        while let Some(request) = next {
            match request {
                Request::Commit { id, writes: batch } => {
                    writes += batch.len();
                    commits.push((id, batch));
                }
                Request::Messages { aor, count_max } => {
                    // What was asked for before is seen by the reader.
                    commit(&mut store, &mut commits, answers);
                    read(&store, aor, count_max, answers);
                }
            }
            next = if writes < GROUP_WRITES_MAX { requests.try_recv().ok() } else { None };
        }
        commit(&mut store, &mut commits, answers);
    }
}

fn commit(
    store: &mut Sqlite,
    commits: &mut Vec<(u64, Vec<Write>)>,
    answers: &UnboundedSender<Answer>,
) {
    if commits.is_empty() {
        return;
    }
    let result = store.apply(commits.iter().flat_map(|(_, writes)| writes));
    if let Err(error) = &result {
        tracing::error!(%error, commits = commits.len(), "the store could not be written");
    }
    let disk_full = matches!(result, Err(StoreError::Full));
    for (id, writes) in commits.drain(..) {
        let result = match &result {
            Ok(()) => Ok(()),
            Err(_) => Err(FailedCommit { disk_full, writes }),
        };
        // The receiver is gone only while the process ends.
        let _ = answers.send(Answer::Committed { id, result });
    }
}

fn read(store: &Sqlite, aor: String, count_max: u32, answers: &UnboundedSender<Answer>) {
    let messages = store.messages(&aor, count_max).unwrap_or_else(|error| {
        tracing::error!(%error, "kept messages could not be read");
        Vec::new()
    });
    let _ = answers.send(Answer::Messages { aor, messages });
}
