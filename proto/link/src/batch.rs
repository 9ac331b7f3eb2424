//! Cuts what is to be sent into frames that the other side accepts, and weighs those that came.

use prost::Message;

use crate::wire::{Envelope, FromEdge, FromFrontend};
use crate::{BATCH_BYTES_MAX, BATCH_ITEMS_MAX};

/// The attempts that a batch holds at most: their texts are the longest but for stanzas.
const BATCH_ATTEMPTS_MAX: usize = BATCH_BYTES_MAX / crate::attempts::DETAILS_BYTES_MAX;

/// What a field of a frame takes in memory besides its own bytes, at most.
const FIELD_BYTES: usize = 256;

/// A frame, of either direction.
pub trait Frame: Message + Default + PartialEq {
    /// Takes the next frame that the other side accepts from the front of this one, whose lists
    /// hold all that is to be sent.
    fn take_batch(&mut self) -> Self;

    /// Returns the number of its fields.
    fn items(&self) -> usize;

    /// Returns about how many bytes it takes in memory, or somewhat less than it does.
    fn weight(&self) -> usize {
        self.encoded_len() + self.items() * FIELD_BYTES
    }
}

impl Frame for FromEdge {
    fn take_batch(&mut self) -> Self {
        Self {
            hello: self.hello.take(),
            envelopes: take_envelopes(&mut self.envelopes),
            settlements: take_items(&mut self.settlements),
            credits: take_items(&mut self.credits),
            stream_reports: take_items(&mut self.stream_reports),
            attempts: take_front(&mut self.attempts, BATCH_ATTEMPTS_MAX),
        }
    }

    fn items(&self) -> usize {
        self.envelopes.len()
            + self.settlements.len()
            + self.credits.len()
            + self.stream_reports.len()
            + self.attempts.len()
    }
}

impl Frame for FromFrontend {
    fn take_batch(&mut self) -> Self {
        Self {
            hello: self.hello.take(),
            admission: self.admission.take(),
            envelopes: take_envelopes(&mut self.envelopes),
            settlements: take_items(&mut self.settlements),
            credits: take_items(&mut self.credits),
            barrier_answers: take_items(&mut self.barrier_answers),
        }
    }

    fn items(&self) -> usize {
        self.envelopes.len()
            + self.settlements.len()
            + self.credits.len()
            + self.barrier_answers.len()
    }
}

fn take_envelopes(envelopes: &mut Vec<Envelope>) -> Vec<Envelope> {
    let mut bytes = 0;
    let fits = |envelope: &&Envelope| {
        bytes += envelope.stanza.len();
        bytes <= BATCH_BYTES_MAX
    };
    let count = envelopes.iter().take(BATCH_ITEMS_MAX).take_while(fits).count();
    take_front(envelopes, count.max(1))
}

/// The texts of these are short, so that their number bounds their bytes.
fn take_items<T>(items: &mut Vec<T>) -> Vec<T> {
    take_front(items, BATCH_ITEMS_MAX)
}

fn take_front<T>(items: &mut Vec<T>, count: usize) -> Vec<T> {
    if count >= items.len() {
        return std::mem::take(items);
    }
    // Not split off, which would leave a batch that waits the room of all.
    items.drain(..count).collect()
}

#[cfg(test)]
mod tests {
    use super::{BATCH_ATTEMPTS_MAX, Frame};
    use crate::wire::{
        Attempt, BarrierAnswer, Credit, Envelope, FromEdge, FromFrontend, StreamReport,
    };
    use crate::{BATCH_BYTES_MAX, BATCH_ITEMS_MAX, FRAME_ITEMS_MAX};

    fn with_envelopes(count: usize, bytes: usize) -> FromEdge {
        let stanza = bytes::Bytes::from(vec![b'x'; bytes]);
        let envelopes = (1..=count as u64)
            .map(|sequence| Envelope { sequence, stanza: stanza.clone(), ..Envelope::default() })
            .collect();
        FromEdge { envelopes, ..FromEdge::default() }
    }

    fn batches<F: Frame>(mut frame: F) -> Vec<F> {
        let mut batches = Vec::new();
        while frame != F::default() {
            batches.push(frame.take_batch());
        }
        batches
    }

    fn sizes(frame: FromEdge) -> Vec<usize> {
        let batches = batches(frame);
        let sequences = batches.iter().flat_map(|it| &it.envelopes).map(|it| it.sequence);
        for (sequence, expected) in sequences.zip(1..) {
            assert_eq!(sequence, expected, "the order is kept");
        }
        batches.iter().map(|batch| batch.envelopes.len()).collect()
    }

    #[test]
    fn a_batch_of_envelopes_is_bounded_in_items_and_bytes_and_is_never_empty() {
        assert_eq!(
            sizes(with_envelopes(BATCH_ITEMS_MAX * 2 + 1, 1)),
            [BATCH_ITEMS_MAX, BATCH_ITEMS_MAX, 1]
        );
        assert_eq!(sizes(with_envelopes(3, BATCH_BYTES_MAX / 2)), [2, 1]);
        assert_eq!(sizes(with_envelopes(2, BATCH_BYTES_MAX * 2)), [1, 1]);
        assert_eq!(sizes(FromEdge::default()), [0; 0]);
    }

    #[test]
    fn every_list_of_a_frame_is_cut_and_nothing_is_lost() {
        let count = BATCH_ITEMS_MAX * 9 + 1;
        let of_edge = FromEdge {
            credits: vec![Credit::default(); count],
            stream_reports: vec![StreamReport::default(); count],
            attempts: vec![Attempt::default(); BATCH_ATTEMPTS_MAX * 10],
            ..with_envelopes(count, 1)
        };
        let of_edge = batches(of_edge);
        let has_no_room = |batch: &FromEdge| batch.credits.capacity() <= 2 * BATCH_ITEMS_MAX;
        assert!(of_edge.iter().rev().skip(1).all(has_no_room), "a batch that waits is small");
        assert_eq!(of_edge.len(), 10);
        assert!(of_edge.iter().all(|batch| batch.items() <= FRAME_ITEMS_MAX));
        assert_eq!(
            of_edge.iter().map(Frame::items).sum::<usize>(),
            3 * count + BATCH_ATTEMPTS_MAX * 10
        );

        let barrier_answers = vec![BarrierAnswer::default(); count];
        let of_frontend = batches(FromFrontend { barrier_answers, ..FromFrontend::default() });
        assert_eq!(of_frontend.iter().map(Frame::items).sum::<usize>(), count);
    }
}
