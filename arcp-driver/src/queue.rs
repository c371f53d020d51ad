//! The bounded queue between tasks, and the inbox that tells one task which of its many queues have moved.
//!
//! Both are made for batches: the receiver takes everything that has gathered under one lock, and a sender that finds
//! room never suspends. Readiness goes through plain [`Waker`]s, so the same queue serves a task that waits for it alone
//! and an endpoint that listens to thousands: the endpoint hands in wakers of its [`Inbox`], which note the source and
//! wake it once.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

/// Locks `mutex`. No code of ours panics while it holds a lock, and state behind one is whole between statements.
pub(crate) fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Keeps the waker of `cx` in `slot`.
pub(crate) fn register(slot: &mut Option<Waker>, cx: &Context<'_>) {
    match slot {
        Some(waker) => waker.clone_from(cx.waker()),
        None => *slot = Some(cx.waker().clone()),
    }
}

/// Items whose memory an empty queue keeps.
const KEPT: usize = 16;

/// A queue that holds items up to a total weight of `capacity`; the item that reaches it may exceed it.
pub(crate) fn bounded<T>(capacity: usize) -> (Sender<T>, Receiver<T>) {
    let shared = Arc::new(Shared {
        capacity,
        state: Mutex::new(State {
            items: VecDeque::new(),
            weight: 0,
            senders: 1,
            receiver_gone: false,
            receiver: None,
            waiting: Vec::new(),
        }),
    });
    (Sender { shared: shared.clone() }, Receiver { shared })
}

struct Shared<T> {
    capacity: usize,
    state: Mutex<State<T>>,
}

struct State<T> {
    items: VecDeque<T>,
    weight: usize,
    senders: usize,
    receiver_gone: bool,
    receiver: Option<Waker>,
    /// Senders that found no room, each task once.
    waiting: Vec<Waker>,
}

/// The receiver is gone; nothing that is sent arrives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Gone;

/// Puts items into a queue.
pub(crate) struct Sender<T> {
    shared: Arc<Shared<T>>,
}

impl<T> Sender<T> {
    /// How much weight there is room for. Pending, with the waker noted, if there is none.
    pub(crate) fn poll_room(&self, cx: &Context<'_>) -> Poll<Result<usize, Gone>> {
        let mut state = lock(&self.shared.state);
        if state.receiver_gone {
            return Poll::Ready(Err(Gone));
        }
        let room = self.shared.capacity.saturating_sub(state.weight);
        if room > 0 {
            return Poll::Ready(Ok(room));
        }
        state.wait(cx);
        Poll::Pending
    }

    /// Whether the receiver is gone.
    pub(crate) fn is_gone(&self) -> bool {
        lock(&self.shared.state).receiver_gone
    }

    /// Puts all of `items` into the queue, whether there is room or not: for a sender that has asked for room before and
    /// is the only one.
    pub(crate) fn send_all(&self, items: &mut VecDeque<T>, weight: usize) -> Result<(), Gone> {
        let mut state = lock(&self.shared.state);
        if state.receiver_gone {
            return Err(Gone);
        }
        if state.items.is_empty() {
            std::mem::swap(&mut state.items, items);
        } else {
            state.items.append(items);
        }
        state.weight += weight;
        let waker = state.receiver.take();
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
        Ok(())
    }

    /// Puts one item of weight 1 into the queue, whether there is room or not.
    pub(crate) fn force(&self, item: T) -> Result<(), Gone> {
        let state = lock(&self.shared.state);
        if state.receiver_gone {
            return Err(Gone);
        }
        push(state, item);
        Ok(())
    }

    /// Puts one item of weight 1 into the queue once there is room.
    pub(crate) const fn send(&self, item: T) -> Send<'_, T> {
        Send { sender: self, item: Some(item) }
    }
}

impl<T> State<T> {
    fn wait(&mut self, cx: &Context<'_>) {
        if !self.waiting.iter().any(|waker| waker.will_wake(cx.waker())) {
            self.waiting.push(cx.waker().clone());
        }
    }
}

/// Puts the item in, unlocks, then wakes.
fn push<T>(mut state: MutexGuard<'_, State<T>>, item: T) {
    state.items.push_back(item);
    state.weight += 1;
    let waker = state.receiver.take();
    drop(state);
    if let Some(waker) = waker {
        waker.wake();
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        lock(&self.shared.state).senders += 1;
        Self { shared: self.shared.clone() }
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        let mut state = lock(&self.shared.state);
        state.senders -= 1;
        if state.senders > 0 {
            return;
        }
        let waker = state.receiver.take();
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

/// Future of [`Sender::send`].
#[must_use = "futures do nothing unless polled"]
pub(crate) struct Send<'a, T> {
    sender: &'a Sender<T>,
    item: Option<T>,
}

// The item is never pinned.
impl<T> Unpin for Send<'_, T> {}

impl<T> Future for Send<'_, T> {
    type Output = Result<(), Gone>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = lock(&self.sender.shared.state);
        if state.receiver_gone {
            return Poll::Ready(Err(Gone));
        }
        if state.weight >= self.sender.shared.capacity {
            state.wait(cx);
            return Poll::Pending;
        }
        if let Some(item) = self.item.take() {
            push(state, item);
        }
        Poll::Ready(Ok(()))
    }
}

/// Takes items out of a queue.
pub(crate) struct Receiver<T> {
    shared: Arc<Shared<T>>,
}

impl<T> Receiver<T> {
    /// One more sender.
    pub(crate) fn sender(&self) -> Sender<T> {
        lock(&self.shared.state).senders += 1;
        Sender { shared: self.shared.clone() }
    }

    /// Moves all items into `into`, which must be empty: its memory serves the senders next. `false` when nothing is left
    /// and all senders are gone. Pending, with the waker noted, while there is nothing.
    pub(crate) fn poll_take(&self, cx: &Context<'_>, into: &mut VecDeque<T>) -> Poll<bool> {
        debug_assert!(into.is_empty());
        let mut state = lock(&self.shared.state);
        if state.items.is_empty() {
            if state.senders == 0 {
                return Poll::Ready(false);
            }
            register(&mut state.receiver, cx);
            // What a burst took is not kept through the silence behind it: most of many connections are silent.
            if state.items.capacity() > KEPT {
                state.items = VecDeque::new();
            }
            drop(state);
            if into.capacity() > KEPT {
                *into = VecDeque::new();
            }
            return Poll::Pending;
        }
        std::mem::swap(&mut state.items, into);
        state.weight = 0;
        // All of them: one that was woken and then given up would otherwise take the room of the others with it.
        let waiting = std::mem::take(&mut state.waiting);
        drop(state);
        waiting.into_iter().for_each(Waker::wake);
        Poll::Ready(true)
    }

    /// Takes nothing more, and returns what is left.
    pub(crate) fn close(&self) -> VecDeque<T> {
        let mut state = lock(&self.shared.state);
        state.receiver_gone = true;
        let items = std::mem::take(&mut state.items);
        let waiting = std::mem::take(&mut state.waiting);
        drop(state);
        waiting.into_iter().for_each(Waker::wake);
        items
    }

    /// Whether all senders are gone, whatever still lies in the queue; if not, notes the waker.
    pub(crate) fn poll_abandoned(&self, cx: &Context<'_>) -> bool {
        let mut state = lock(&self.shared.state);
        if state.senders > 0 {
            register(&mut state.receiver, cx);
        }
        state.senders == 0
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        // Dropped outside the lock: what an item drops may reach for this queue.
        drop(self.close());
    }
}

/// Tells one task which of its sources have something for it.
///
/// A source signals once and then keeps still until the task has looked at it, because a queue gives a waker away when it
/// uses it. So the inbox never holds more than the number of sources, and a flooding one costs no more than a quiet one.
pub(crate) struct Inbox<S> {
    state: Mutex<InboxState<S>>,
}

struct InboxState<S> {
    signals: Vec<S>,
    task: Option<Waker>,
    closed: bool,
}

impl<S> Inbox<S> {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self { state: Mutex::new(InboxState { signals: Vec::new(), task: None, closed: false }) })
    }

    /// Leaves a signal and wakes the task. Once the inbox is closed the signal is dropped.
    pub(crate) fn post(&self, signal: S) {
        let mut state = lock(&self.state);
        if state.closed {
            drop(state);
            return;
        }
        state.signals.push(signal);
        let waker = state.task.take();
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Drops all signals, and those to come.
    pub(crate) fn close(&self) {
        let mut state = lock(&self.state);
        state.closed = true;
        let signals = std::mem::take(&mut state.signals);
        drop(state);
        // Outside the lock: what a signal drops may reach for this inbox.
        drop(signals);
    }

    /// Moves the signals into `into`, which must be empty. Pending, with the waker noted, while there are none.
    pub(crate) fn poll_take(&self, cx: &Context<'_>, into: &mut Vec<S>) -> Poll<()> {
        debug_assert!(into.is_empty());
        let mut state = lock(&self.state);
        if state.signals.is_empty() {
            register(&mut state.task, cx);
            return Poll::Pending;
        }
        std::mem::swap(&mut state.signals, into);
        Poll::Ready(())
    }
}

impl<S: std::marker::Send + 'static> Inbox<S> {
    /// A waker that leaves the signal of `source`.
    pub(crate) fn waker<Q>(self: &Arc<Self>, source: Q) -> Waker
    where
        Q: Copy + Into<S> + std::marker::Send + Sync + 'static,
    {
        Arc::new(Source { inbox: self.clone(), source }).into()
    }
}

struct Source<S, Q> {
    inbox: Arc<Inbox<S>>,
    source: Q,
}

impl<S, Q: Copy + Into<S> + std::marker::Send + Sync> Wake for Source<S, Q>
where
    S: std::marker::Send,
{
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.inbox.post(self.source.into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::pin::pin;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    impl Count {
        fn pair() -> (Arc<Self>, Waker) {
            let count = Arc::new(Self::default());
            (count.clone(), count.into())
        }

        fn seen(&self) -> usize {
            self.0.load(Ordering::Relaxed)
        }
    }

    fn take<T>(receiver: &Receiver<T>, waker: &Waker) -> Poll<Option<Vec<T>>> {
        let mut items = VecDeque::new();
        receiver.poll_take(&Context::from_waker(waker), &mut items).map(|some| some.then(|| items.into()))
    }

    #[test]
    fn a_full_queue_holds_its_senders_until_it_is_taken() {
        let (sender, receiver) = bounded(2);
        let (count, waker) = Count::pair();
        let mut cx = Context::from_waker(&waker);
        for item in 0..2 {
            assert_eq!(pin!(sender.send(item)).poll(&mut cx), Poll::Ready(Ok(())));
        }
        let mut third = pin!(sender.send(2));
        assert_eq!(third.as_mut().poll(&mut cx), Poll::Pending);
        assert_eq!(third.as_mut().poll(&mut cx), Poll::Pending);
        assert!(sender.poll_room(&cx).is_pending());
        assert_eq!(take(&receiver, Waker::noop()), Poll::Ready(Some(vec![0, 1])));
        assert_eq!(count.seen(), 1, "one task is woken once, however often it looked");
        assert_eq!(third.poll(&mut cx), Poll::Ready(Ok(())));
        assert_eq!(take(&receiver, Waker::noop()), Poll::Ready(Some(vec![2])));
    }

    #[test]
    fn a_batch_wakes_the_receiver_once() {
        let (sender, receiver) = bounded(8);
        let (count, waker) = Count::pair();
        assert_eq!(take(&receiver, &waker), Poll::Pending);
        for item in 0..5 {
            sender.force(item).unwrap();
        }
        assert_eq!(count.seen(), 1);
        assert_eq!(sender.poll_room(&Context::from_waker(Waker::noop())), Poll::Ready(Ok(3)));
        assert_eq!(take(&receiver, &waker), Poll::Ready(Some(vec![0, 1, 2, 3, 4])));
    }

    #[test]
    fn the_end_of_the_last_sender_comes_behind_its_items() {
        let (sender, receiver) = bounded(8);
        let (count, waker) = Count::pair();
        assert_eq!(take(&receiver, &waker), Poll::Pending);
        let other = sender.clone();
        drop(sender);
        assert_eq!(count.seen(), 0);
        other.force('a').unwrap();
        assert_eq!(take(&receiver, &waker), Poll::Ready(Some(vec!['a'])));
        assert!(!receiver.poll_abandoned(&Context::from_waker(&waker)));
        drop(other);
        assert_eq!(count.seen(), 2);
        assert_eq!(take(&receiver, &waker), Poll::Ready(None));
    }

    #[test]
    fn a_receiver_that_leaves_frees_the_senders() {
        let (sender, receiver) = bounded(1);
        let (count, waker) = Count::pair();
        let mut cx = Context::from_waker(&waker);
        sender.force(1).unwrap();
        let mut send = pin!(sender.send(2));
        assert_eq!(send.as_mut().poll(&mut cx), Poll::Pending);
        drop(receiver);
        assert_eq!(count.seen(), 1);
        assert_eq!(send.poll(&mut cx), Poll::Ready(Err(Gone)));
        assert_eq!(sender.force(3), Err(Gone));
    }

    #[test]
    fn weights_bound_what_gathers() {
        let (sender, receiver) = bounded(100);
        let cx = Context::from_waker(Waker::noop());
        sender.send_all(&mut VecDeque::from(["large"]), 150).unwrap();
        assert!(sender.poll_room(&cx).is_pending());
        assert_eq!(take(&receiver, Waker::noop()), Poll::Ready(Some(vec!["large"])));
        assert_eq!(sender.poll_room(&cx), Poll::Ready(Ok(100)));
    }

    #[test]
    fn silence_gives_memory_back() {
        let (sender, receiver) = bounded(1_000);
        for round in 0..2 {
            for item in 0..1_000 {
                sender.force(item).unwrap();
            }
            let mut items = VecDeque::new();
            let cx = Context::from_waker(Waker::noop());
            assert_eq!(receiver.poll_take(&cx, &mut items), Poll::Ready(true), "round {round}");
            items.clear();
            assert!(receiver.poll_take(&cx, &mut items).is_pending());
            assert_eq!(items.capacity() + lock(&receiver.shared.state).items.capacity(), 0);
        }
    }

    #[test]
    fn a_source_signals_once_until_it_is_looked_at() {
        let inbox = Inbox::new();
        let (count, task) = Count::pair();
        let cx = Context::from_waker(&task);
        let mut signals = Vec::new();
        assert!(inbox.poll_take(&cx, &mut signals).is_pending());
        let (sender, receiver) = bounded(8);
        let source = inbox.waker(7);
        assert_eq!(take(&receiver, &source), Poll::Pending);
        for item in 0..4 {
            sender.force(item).unwrap();
        }
        inbox.post(8);
        assert_eq!(count.seen(), 1);
        assert!(inbox.poll_take(&cx, &mut signals).is_ready());
        assert_eq!(signals, [7, 8]);
    }
}
