//! Keeps a link to every address behind an edge's name: found ones start, lost ones end.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio_util::sync::{CancellationToken, DropGuard};

use super::addresses::{ADDRESSES_MAX, Addresses};
use super::back_off::BackOff;
use super::{Dialler, LinkInput, random};
use crate::edges::EdgeAddress;

/// How long after one answer the resolver is asked again.
const RESOLVE_INTERVAL: Duration = Duration::from_secs(30);

/// Keeps links to all edges behind `name` (`host:port`) until `stop` is cancelled.
pub async fn discover<I>(name: String, dialler: Dialler<I>, stop: CancellationToken)
where
    I: From<LinkInput> + Send + 'static,
{
    let mut addresses = Addresses::default();
    let mut links: BTreeMap<SocketAddr, DropGuard> = BTreeMap::new();
    let mut back_off = BackOff::default();
    loop {
        let answer = resolve(&name).await;
        let failure = answer.as_ref().err().map(ToString::to_string);
        if dialler.tell(LinkInput::Name { name: name.clone(), failure }).await.is_err() {
            return;
        }
        match answer {
            Ok(answer) => {
                let changes = addresses.handle_answer(&answer);
                if changes.works_again {
                    tracing::info!(edge = name, "the edge's name is resolved again");
                }
                if changes.left_out > 0 {
                    let (used, left_out) = (ADDRESSES_MAX, changes.left_out);
                    tracing::warn!(edge = name, used, left_out, "the edge has too many addresses");
                }
                for address in changes.end {
                    tracing::info!(edge = name, %address, "an address of the edge is gone");
                    links.remove(&address);
                }
                for address in changes.start {
                    tracing::info!(edge = name, %address, "an address of the edge was found");
                    let gone = CancellationToken::new();
                    let at = EdgeAddress { behind: name.clone(), address };
                    let keeping = dialler.clone().keep(at, gone.clone());
                    tokio::spawn(stop.clone().run_until_cancelled_owned(keeping));
                    links.insert(address, gone.drop_guard());
                }
            }
            Err(error) => {
                metrics::counter!("gateway_edge_resolution_failures_total").increment(1);
                if addresses.handle_failure() {
                    tracing::warn!(edge = name, %error, "the edge's name cannot be resolved");
                }
            }
        }
        // Until there is something to lose, as impatient as with an edge that cannot be reached:
        // at the start of a host the resolver may be the last to come.
        let wait = if addresses.is_empty() { back_off.next(random()) } else { RESOLVE_INTERVAL };
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = stop.cancelled() => return,
        }
    }
}

async fn resolve(name: &str) -> io::Result<BTreeSet<SocketAddr>> {
    let answer: BTreeSet<SocketAddr> = tokio::net::lookup_host(name).await?.collect();
    if answer.is_empty() {
        return Err(io::Error::other("the name has no address"));
    }
    Ok(answer)
}
