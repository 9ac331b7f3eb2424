//! Reads and writes frames, and refuses one with more fields than a frame may have.

use std::marker::PhantomData;

use bytes::{Buf, Bytes};
use prost::encoding::{DecodeContext, decode_key, skip_field};
use prost::{DecodeError, Message};
use tonic::Status;
use tonic::codec::{Codec, DecodeBuf, Decoder};
use tonic_prost::ProstEncoder;

use crate::FRAME_ITEMS_MAX;

/// The codec of the link: that of prost, with a limit that holds before anything is read.
#[derive(Clone, Debug)]
pub struct BoundedCodec<T, U>(PhantomData<(T, U)>);

/// The reading half of [`BoundedCodec`].
#[derive(Clone, Debug)]
pub struct BoundedDecoder<U>(PhantomData<U>);

impl<T, U> Default for BoundedCodec<T, U> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<T, U> Codec for BoundedCodec<T, U>
where
    T: Message + Send + 'static,
    U: Message + Default + Send + 'static,
{
    type Encode = T;
    type Decode = U;
    type Encoder = ProstEncoder<T>;
    type Decoder = BoundedDecoder<U>;

    fn encoder(&mut self) -> Self::Encoder {
        ProstEncoder::default()
    }

    fn decoder(&mut self) -> Self::Decoder {
        BoundedDecoder(PhantomData)
    }
}

impl<U: Message + Default> Decoder for BoundedDecoder<U> {
    type Item = U;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<U>, Status> {
        read(buffer.copy_to_bytes(buffer.remaining())).map(Some)
    }
}

fn read<U: Message + Default>(frame: Bytes) -> Result<U, Status> {
    let malformed = |error: DecodeError| Status::internal(format!("a malformed frame: {error}"));
    if count_fields(frame.clone()).map_err(malformed)? > FRAME_ITEMS_MAX {
        let text = format!("a frame with more than {FRAME_ITEMS_MAX} fields");
        return Err(Status::resource_exhausted(text));
    }
    U::decode(frame).map_err(malformed)
}

/// Counts the fields of the outermost message, up to one more than a frame may have.
fn count_fields(mut frame: Bytes) -> Result<usize, DecodeError> {
    let mut count = 0;
    while frame.has_remaining() && count <= FRAME_ITEMS_MAX {
        let (tag, wire_type) = decode_key(&mut frame)?;
        skip_field(wire_type, tag, &mut frame, DecodeContext::default())?;
        count += 1;
    }
    Ok(count)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use prost::Message;

    use super::read;
    use crate::FRAME_ITEMS_MAX;
    use crate::wire::{FromEdge, StreamReport};

    fn frame(reports: usize) -> Bytes {
        let stream_reports = vec![StreamReport::default(); reports];
        FromEdge { stream_reports, ..FromEdge::default() }.encode_to_vec().into()
    }

    #[test]
    fn a_frame_is_read_up_to_its_limit_and_refused_beyond() {
        let full: FromEdge = read(frame(FRAME_ITEMS_MAX)).unwrap();
        assert_eq!(full.stream_reports.len(), FRAME_ITEMS_MAX);
        let refused = read::<FromEdge>(frame(FRAME_ITEMS_MAX + 1)).unwrap_err();
        assert!(refused.message().contains("4096 fields"), "{refused}");
    }

    #[test]
    fn what_is_no_message_is_refused() {
        for garbage in [&b"\x0a\xff"[..], b"\x0a\x05abc", b"\x07", b"GET / HTTP/1.1"] {
            read::<FromEdge>(Bytes::from_static(garbage)).unwrap_err();
        }
    }
}
