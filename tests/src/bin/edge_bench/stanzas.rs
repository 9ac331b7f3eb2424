//! Stanzas through one established stream to an inside that does nothing with them.

use std::fmt::Write;
use std::io;

use crate::partner::{Partner, REQUEST, Stream, Target};

/// Stanzas that are written at once, and after which the partner asks for acknowledgement.
const BATCH: usize = 64;

/// Stanzas that may be unacknowledged.
const UNACKNOWLEDGED_MAX: usize = 256;

/// Conversations that they belong to.
const USERS: usize = 512;

/// A stream, and what was sent on it.
pub(crate) struct Stanzas {
    stream: Stream,
    partner: String,
    target: Target,
    filling: String,
    sent: usize,
}

impl Stanzas {
    pub(crate) async fn begin(partner: &Partner, target: Target) -> Self {
        let stream = partner.open_acknowledged(target).await;
        Self {
            stream: stream.expect("the server takes the stream"),
            partner: partner.domain().to_owned(),
            target,
            filling: "x".repeat(300),
            sent: 0,
        }
    }

    /// Sends so many, and waits until all of them are acknowledged.
    pub(crate) async fn send(&mut self, count: usize) -> io::Result<()> {
        let end = self.sent + count;
        let mut batch = String::new();
        while self.stream.acknowledged() < end {
            while self.sent < end && self.sent - self.stream.acknowledged() < UNACKNOWLEDGED_MAX {
                batch.clear();
                for _ in 0..BATCH.min(end - self.sent) {
                    self.write_next(&mut batch);
                }
                batch.push_str(REQUEST);
                self.stream.send(&batch).await?;
            }
            self.stream.take_in().await?;
        }
        Ok(())
    }

    /// Writes a message that has nothing for SIP, so that the front end journals nothing: it is
    /// read, checked, admitted and settled. For Prosody it is a message as any other.
    fn write_next(&mut self, batch: &mut String) {
        let (number, user) = (self.sent, self.sent % USERS);
        let Self { partner, target, filling, .. } = self;
        // A String takes everything.
        let _ = write!(
            batch,
            "<message from='juliet{user}@{partner}/balcony' to='romeo{user}@{}' type='chat' \
             id='chat-{number}' xml:lang='en'><filling xmlns='urn:example:filling'>{filling}\
             </filling><active xmlns='http://jabber.org/protocol/chatstates'/></message>",
            target.domain
        );
        self.sent += 1;
    }
}
