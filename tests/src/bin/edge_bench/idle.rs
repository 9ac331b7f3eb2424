//! What an authenticated stream costs that says nothing.

use tests::appliance::Appliance;
use tests::wait::{Deadline, until};
use tokio::task::JoinSet;

use crate::partner::{Partner, REQUEST, Stream, Target};

/// Streams that are set up at a time.
const AT_A_TIME: usize = 32;

/// How long a figure of memory may take to stand still, in seconds.
const REST_S_MAX: u64 = 60;

/// Looks at memory, one after the other, that are to show the same.
const LOOKS: usize = 50;

/// Opens `few` streams, then more until there are `many`; returns the bytes of one on the edge.
pub(crate) async fn measure(
    partners: &[Partner],
    target: Target,
    appliance: &mut Appliance,
    (few, many): (usize, usize),
) -> f64 {
    let mut held = open(partners, target, few).await;
    let with_few = bytes_at_rest(appliance, few);
    held.extend(open(partners, target, many - few).await);
    let with_many = bytes_at_rest(appliance, many);
    drop(held);
    (with_many as f64 - with_few as f64) / (many - few) as f64
}

/// Opens streams, spread over the partners, each of which carries one stanza.
async fn open(partners: &[Partner], target: Target, count: usize) -> Vec<Stream> {
    let mut workers = JoinSet::new();
    for worker in 0..AT_A_TIME {
        let partners = partners.to_vec();
        workers.spawn(async move {
            let mut streams = Vec::new();
            for number in (worker..count).step_by(AT_A_TIME) {
                let partner = &partners[number % partners.len()];
                let stream = partner.open_acknowledged(target).await;
                let mut stream = stream.expect("the edge takes the stream");
                let stanza = format!(
                    "<message from='juliet@{}' to='romeo@{}' id='one'>\
                     <active xmlns='http://jabber.org/protocol/chatstates'/></message>{REQUEST}",
                    partner.domain(),
                    target.domain
                );
                stream.send(&stanza).await.expect("the edge reads");
                stream.wait_for_acknowledged(1).await.expect("the edge acknowledges");
                streams.push(stream);
            }
            streams
        });
    }
    let mut streams = Vec::new();
    while let Some(opened) = workers.join_next().await {
        streams.extend(opened.expect("every stream is set up"));
    }
    streams
}

/// What the edge holds once all streams are counted and its memory stands still.
fn bytes_at_rest(appliance: &mut Appliance, streams: usize) -> u64 {
    let mut seen: Vec<u64> = Vec::new();
    until(&format!("memory at rest with {streams} streams"), Deadline::after_s(REST_S_MAX), || {
        let bytes = appliance.edge().resident_bytes();
        seen.retain(|it| *it == bytes);
        seen.push(bytes);
        if seen.len() > LOOKS { Ok(bytes) } else { Err(format!("{bytes} bytes, changing")) }
    })
}
