//! Cuts what is to be sent into frames that the other side accepts.

use crate::wire::Envelope;
use crate::{BATCH_BYTES_MAX, BATCH_ITEMS_MAX};

/// Takes the envelopes of the next frame from the front of `envelopes`: at least one, and no more
/// than a frame should hold.
pub fn take_envelopes(envelopes: &mut Vec<Envelope>) -> Vec<Envelope> {
    let mut bytes = 0;
    let fits = |envelope: &&Envelope| {
        bytes += envelope.stanza.len();
        bytes <= BATCH_BYTES_MAX
    };
    let count = envelopes.iter().take(BATCH_ITEMS_MAX).take_while(fits).count();
    let count = count.max(1).min(envelopes.len());
    let rest = envelopes.split_off(count);
    std::mem::replace(envelopes, rest)
}

#[cfg(test)]
mod tests {
    use super::take_envelopes;
    use crate::wire::Envelope;
    use crate::{BATCH_BYTES_MAX, BATCH_ITEMS_MAX};

    fn envelopes(count: usize, bytes: usize) -> Vec<Envelope> {
        let stanza = bytes::Bytes::from(vec![b'x'; bytes]);
        (1..=count as u64)
            .map(|sequence| Envelope { sequence, stanza: stanza.clone(), ..Envelope::default() })
            .collect()
    }

    fn batches(mut envelopes: Vec<Envelope>) -> Vec<usize> {
        let mut sizes = Vec::new();
        let mut next = 1;
        while !envelopes.is_empty() {
            let batch = take_envelopes(&mut envelopes);
            for envelope in &batch {
                assert_eq!(envelope.sequence, next, "the order is kept");
                next += 1;
            }
            sizes.push(batch.len());
        }
        sizes
    }

    #[test]
    fn a_batch_is_bounded_in_items_and_bytes_and_is_never_empty() {
        assert_eq!(
            batches(envelopes(BATCH_ITEMS_MAX * 2 + 1, 1)),
            [BATCH_ITEMS_MAX, BATCH_ITEMS_MAX, 1]
        );
        assert_eq!(batches(envelopes(3, BATCH_BYTES_MAX / 2)), [2, 1]);
        assert_eq!(batches(envelopes(2, BATCH_BYTES_MAX * 2)), [1, 1]);
        assert_eq!(batches(Vec::new()), [0; 0]);
    }
}
