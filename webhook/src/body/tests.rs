use std::{
    collections::VecDeque,
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use hyper::body::Frame;

use super::*;

/// A body of pieces, each after a pause.
struct Pieces {
    left: VecDeque<&'static [u8]>,
    pause: Pin<Box<tokio::time::Sleep>>,
    every: Duration,
}

impl hyper::body::Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        std::task::ready!(self.pause.as_mut().poll(cx));
        let every = self.every;
        self.pause.as_mut().reset(tokio::time::Instant::now() + every);
        Poll::Ready(self.left.pop_front().map(|piece| Ok(Frame::data(Bytes::from_static(piece)))))
    }
}

fn body(pieces: impl IntoIterator<Item = &'static [u8]>, every: Duration) -> Body {
    Body::new(Pieces {
        left: pieces.into_iter().collect(),
        pause: Box::pin(tokio::time::sleep(every)),
        every,
    })
}

fn limits() -> Limits {
    Limits { body_bytes: 10, buffered_bytes: 15, body_timeout: Duration::from_secs(2), ..Limits::default() }
}

#[tokio::test(start_paused = true)]
async fn pieces_are_joined_and_given_back() {
    let buffered = Gauge::default();
    let pieces = [&b"01"[..], b"", b"23456", b"789"];
    let read = read(body(pieces, Duration::from_millis(100)), &limits(), &buffered).await.unwrap();
    assert_eq!(&*read.bytes, b"0123456789");
    assert_eq!(buffered.get(), 10);
    drop(read);
    assert_eq!(buffered.get(), 0);
}

#[tokio::test(start_paused = true)]
async fn one_byte_at_a_time_is_too_slow() {
    let buffered = Gauge::default();
    let started = tokio::time::Instant::now();
    let error =
        read(body([&b"x"[..]; 9], Duration::from_millis(300)), &limits(), &buffered).await.unwrap_err();
    assert_eq!(error, BodyError::Timeout);
    assert_eq!(started.elapsed(), limits().body_timeout);
    assert_eq!(buffered.get(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_body_too_long_is_read_to_its_end_and_refused() {
    let buffered = Gauge::default();
    let started = tokio::time::Instant::now();
    let pause = Duration::from_millis(100);
    let error = read(body([&b"123456"[..]; 5], pause), &limits(), &buffered).await.unwrap_err();
    assert_eq!((error, buffered.get()), (BodyError::TooLarge, 0));
    assert_eq!(started.elapsed(), 6 * pause, "five pieces and the end");
}

#[tokio::test(start_paused = true)]
async fn a_body_without_end_is_given_up() {
    let buffered = Gauge::default();
    let endless = [&b"1234567890"[..]; 1_000];
    let started = tokio::time::Instant::now();
    let error = read(body(endless, Duration::from_millis(1)), &limits(), &buffered).await.unwrap_err();
    assert_eq!(error, BodyError::TooLarge);
    assert!(started.elapsed() < Duration::from_millis(20), "{:?}", started.elapsed());
}

#[tokio::test]
async fn an_announced_length_is_refused_unread() {
    let buffered = Gauge::default();
    let error = read(Body::from("12345678901"), &limits(), &buffered).await.unwrap_err();
    assert_eq!(error, BodyError::TooLarge);
}

#[tokio::test]
async fn all_bodies_share_one_memory() {
    let buffered = Gauge::default();
    let first = read(Body::from("1234567890"), &limits(), &buffered).await.unwrap();
    let error = read(Body::from("123456"), &limits(), &buffered).await.unwrap_err();
    assert_eq!(error, BodyError::Memory);
    assert_eq!(buffered.get(), 10, "the refused one gives back what it took");
    drop(first);
    assert!(read(Body::from("123456"), &limits(), &buffered).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn discarding_ends() {
    let started = tokio::time::Instant::now();
    discard(body([&b"x"[..]; 9], Duration::from_secs(1)), &limits()).await;
    assert_eq!(started.elapsed(), limits().body_timeout);
}
