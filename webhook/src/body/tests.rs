use std::{
    collections::VecDeque,
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use hyper::body::Frame;

use super::*;

/// A body of chunks, each sent after a pause.
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

fn budget(limits: &Limits) -> Arc<Budget> {
    Budget::new(limits, &Gauge::default())
}

async fn read(budget: &Arc<Budget>, body: Body) -> Result<BufferedBody, BodyError> {
    budget.read(body, &SourceBytes::default()).await
}

fn limits() -> Limits {
    Limits { body_bytes: 10, body_timeout: Duration::from_secs(2), ..Limits::default() }
}

#[tokio::test(start_paused = true)]
async fn pieces_are_joined_and_their_memory_returned() {
    let budget = budget(&limits());
    let pieces = [&b"01"[..], b"", b"23456", b"789"];
    let read = read(&budget, body(pieces, Duration::from_millis(100))).await.unwrap();
    assert_eq!(&*read.bytes, b"0123456789");
    assert_eq!(budget.buffered.get(), 10);
    drop(read);
    assert_eq!(budget.buffered.get(), 0);
}

#[tokio::test(start_paused = true)]
async fn one_byte_at_a_time_is_too_slow() {
    let budget = budget(&limits());
    let started = tokio::time::Instant::now();
    let error = read(&budget, body([&b"x"[..]; 9], Duration::from_millis(300))).await.unwrap_err();
    assert_eq!(error, BodyError::Timeout);
    assert_eq!(started.elapsed(), limits().body_timeout);
    assert_eq!(budget.buffered.get(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_body_too_long_is_read_to_its_end_and_refused() {
    let budget = budget(&limits());
    let started = tokio::time::Instant::now();
    let pause = Duration::from_millis(100);
    let error = read(&budget, body([&b"123456"[..]; 5], pause)).await.unwrap_err();
    assert_eq!((error, budget.buffered.get()), (BodyError::TooLarge, 0));
    assert_eq!(started.elapsed(), 6 * pause, "five pieces and the end");
}

#[tokio::test(start_paused = true)]
async fn an_endless_body_is_refused() {
    let budget = budget(&limits());
    let endless = [&b"1234567890"[..]; 1_000];
    let started = tokio::time::Instant::now();
    let error = read(&budget, body(endless, Duration::from_millis(1))).await.unwrap_err();
    assert_eq!(error, BodyError::TooLarge);
    assert!(started.elapsed() < Duration::from_millis(20), "{:?}", started.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_length_announced_too_long_is_discarded_and_refused() {
    let budget = budget(&limits());
    let started = tokio::time::Instant::now();
    // A complete body of known length that takes a while: the client is still writing.
    let pieces = body([&b"123456"[..]; 3], Duration::from_millis(100));
    let announced = Body::new(SizedBody { length: 18, pieces });
    assert_eq!(read(&budget, announced).await.unwrap_err(), BodyError::TooLarge);
    assert_eq!(started.elapsed(), Duration::from_millis(400), "three pieces and the end");
    assert_eq!(budget.buffered.get(), 0);
}

/// A body with a `Content-Length`.
struct SizedBody {
    length: u64,
    pieces: Body,
}

impl hyper::body::Body for SizedBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.pieces).poll_frame(cx)
    }

    fn size_hint(&self) -> hyper::body::SizeHint {
        hyper::body::SizeHint::with_exact(self.length)
    }
}

/// Room for two bodies of 100 bytes beyond the free bytes, at most one of them from each source.
fn narrow() -> Limits {
    Limits { body_bytes: FREE_BODY_BYTES + 100, buffered_bytes: 200, ..Limits::default() }
}

fn body_of(bytes: usize) -> Body {
    Body::from(vec![b' '; bytes])
}

#[tokio::test]
async fn large_bodies_do_not_block_small_ones() {
    let budget =
        budget(&Limits { body_bytes: FREE_BODY_BYTES + 100, buffered_bytes: 150, ..Limits::default() });
    let first = read(&budget, body_of(FREE_BODY_BYTES + 100)).await.unwrap();
    let error = read(&budget, body_of(FREE_BODY_BYTES + 51)).await.unwrap_err();
    assert_eq!(error, BodyError::Memory);
    assert_eq!(budget.buffered.get(), signed(first.bytes.len()), "a refused body frees its memory");
    assert!(read(&budget, body_of(FREE_BODY_BYTES)).await.is_ok());
    drop(first);
    assert!(read(&budget, body_of(FREE_BODY_BYTES + 51)).await.is_ok());
    assert_eq!((budget.buffered.get(), budget.drawn.load(Ordering::Relaxed)), (0, 0));
}

#[tokio::test]
async fn one_source_leaves_room_for_the_others() {
    let limits = Limits { buffered_bytes: 10 * narrow().body_bytes, ..narrow() };
    let budget = budget(&limits);
    let (greedy, other) = (SourceBytes::default(), SourceBytes::default());
    let mut held = Vec::new();
    let refused = loop {
        match budget.read(body_of(limits.body_bytes), &greedy).await {
            Ok(body) => held.push(body),
            Err(error) => break error,
        }
    };
    assert_eq!(refused, BodyError::MemoryPerSource);
    assert!(budget.read(body_of(limits.body_bytes), &other).await.is_ok());
    held.clear();
    assert!(budget.read(body_of(limits.body_bytes), &greedy).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn discarding_ends() {
    let started = tokio::time::Instant::now();
    discard(body([&b"x"[..]; 9], Duration::from_secs(1)), &limits()).await;
    assert_eq!(started.elapsed(), limits().body_timeout);
}

#[test]
fn an_answer_that_is_not_read_counts_against_its_source() {
    let one = FREE_BODY_BYTES + 100;
    let limits = Limits { body_bytes: 150, buffered_bytes: 600, ..Limits::default() };
    let (budget, source, other) = (budget(&limits), SourceBytes::default(), SourceBytes::default());
    let first = budget.hold(vec![b'x'; one], &source).unwrap();
    assert_eq!((first.len(), budget.buffered.get()), (one, signed(one)));
    assert_eq!(budget.hold(vec![b'x'; one], &source), Err(BodyError::MemoryPerSource));
    assert!(budget.hold(vec![b'x'; FREE_BODY_BYTES], &source).is_ok(), "a short one needs no room");
    assert!(budget.hold(vec![b'x'; one], &other).is_ok());
    drop(first);
    assert_eq!(budget.buffered.get(), 0);
    assert!(budget.hold(vec![b'x'; one], &source).is_ok());
}
