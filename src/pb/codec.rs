//! How messages become bytes of gRPC, and how little memory that takes.

use std::marker::PhantomData;

use prost::Message;
use tonic::{
    Status,
    codec::{BufferSettings, Codec, EncodeBuf, Encoder},
};
use tonic_prost::ProstDecoder;

/// What a call's buffer has before its first message, in bytes: a small answer fits. Tonic's own 8 KiB stay with each
/// answer until it is read, however small it is, and with each stream that waits.
const AT_FIRST: usize = 128;
/// Above so many bytes messages that are ready together are handed on.
const TOGETHER: usize = 32 << 10;

fn buffer() -> BufferSettings {
    BufferSettings::new(AT_FIRST, TOGETHER)
}

/// Prost's, with buffers of the size of their messages.
#[derive(Debug)]
pub struct ExactCodec<T, U>(PhantomData<(T, U)>);

impl<T, U> Default for ExactCodec<T, U> {
    fn default() -> Self {
        ExactCodec(PhantomData)
    }
}

impl<T: Message + 'static, U: Message + Default + 'static> Codec for ExactCodec<T, U> {
    type Encode = T;
    type Decode = U;
    type Encoder = ExactEncoder<T>;
    type Decoder = ProstDecoder<U>;

    fn encoder(&mut self) -> ExactEncoder<T> {
        ExactEncoder(PhantomData)
    }

    fn decoder(&mut self) -> ProstDecoder<U> {
        ProstDecoder::new(buffer())
    }
}

/// Encodes messages, each into room that is made once.
#[derive(Debug)]
pub struct ExactEncoder<T>(PhantomData<T>);

impl<T: Message> Encoder for ExactEncoder<T> {
    type Item = T;
    type Error = Status;

    fn encode(&mut self, message: T, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.reserve(message.encoded_len());
        message.encode_raw(buffer);
        Ok(())
    }

    fn buffer_settings(&self) -> BufferSettings {
        buffer()
    }
}

#[cfg(test)]
mod tests {
    use std::{
        future::poll_fn,
        pin::{Pin, pin},
        task::{Context, Poll},
    };

    use bytes::{Bytes, BytesMut};
    use http_body::Body as _;
    use tonic::{
        body::Body,
        codec::{EncodeBody, SingleMessageCompressionOverride, Streaming},
    };

    use super::*;
    use crate::pb::Attribute;

    fn named(bytes: usize) -> Attribute {
        Attribute { name: "a".repeat(bytes), ..Attribute::default() }
    }

    /// The frames of an answer.
    async fn frames(messages: Vec<Attribute>) -> Vec<Bytes> {
        let encoder = ExactCodec::<Attribute, Attribute>::default().encoder();
        let messages = futures::stream::iter(messages.into_iter().map(Ok));
        let mut body =
            pin!(EncodeBody::new_server(encoder, messages, None, SingleMessageCompressionOverride::default(), None));
        let mut frames = Vec::new();
        while let Some(frame) = poll_fn(|cx| body.as_mut().poll_frame(cx)).await {
            frames.extend(frame.unwrap().into_data());
        }
        frames
    }

    /// A body that comes at once.
    struct Whole(Option<Bytes>);

    impl http_body::Body for Whole {
        type Data = Bytes;
        type Error = Status;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<http_body::Frame<Bytes>, Status>>> {
            Poll::Ready(self.0.take().map(|bytes| Ok(http_body::Frame::data(bytes))))
        }
    }

    /// What a frame keeps in memory for as long as it is not sent.
    fn memory(frame: Bytes) -> usize {
        frame.try_into_mut().map_or(usize::MAX, |frame: BytesMut| frame.capacity())
    }

    #[tokio::test]
    async fn an_answer_takes_little_more_memory_than_its_bytes() {
        for bytes in [0, 50, 1_000, 100_000] {
            let mut frames = frames(vec![named(bytes)]).await;
            let (count, frame) = (frames.len(), frames.remove(0));
            let most = (frame.len() + 16).max(AT_FIRST);
            assert!(count == 1 && frame.len() > bytes);
            assert!(memory(frame) <= most, "{bytes}");
        }
    }

    #[tokio::test]
    async fn messages_that_are_ready_go_together_and_come_out_as_they_were() {
        let messages: Vec<Attribute> = [10, 100, 40_000, 7, 0, 1_000].into_iter().map(named).collect();
        let frames = frames(messages.clone()).await;
        assert_eq!(frames.len(), 2, "the large one fills the first");
        let decoder = ExactCodec::<Attribute, Attribute>::default().decoder();
        let body = Body::new(Whole(Some(frames.concat().into())));
        let mut received = Streaming::new_request(decoder, body, None, None);
        let mut came = Vec::new();
        while let Some(message) = received.message().await.unwrap() {
            came.push(message);
        }
        assert_eq!(came, messages);
    }
}
