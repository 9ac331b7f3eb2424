//! Inbound streams with mutual TLS 1.3 and SASL EXTERNAL: how many a second of processor time.

use tests::process::Process;
use tokio::task::JoinSet;

use crate::partner::{Partner, Target};

/// Streams that are set up at a time: less than the edge lets one address have without proof.
const AT_A_TIME: usize = 32;

/// Sets streams up and closes them; returns how many a processor second of `process` serves.
pub(crate) async fn measure(
    partner: &Partner,
    target: Target,
    process: &mut Process,
    count: usize,
) -> f64 {
    let before = process.cpu_seconds();
    let mut workers = JoinSet::new();
    for worker in 0..AT_A_TIME {
        let partner = partner.clone();
        workers.spawn(async move {
            for _ in (worker..count).step_by(AT_A_TIME) {
                let stream = partner.open(target).await.expect("the server takes the stream");
                stream.close().await.expect("the server closes the stream");
            }
        });
    }
    while let Some(ended) = workers.join_next().await {
        ended.expect("every stream is set up");
    }
    count as f64 / (process.cpu_seconds() - before)
}
