//! What wakes a conversation beside its socket: the end of the daemon, and an alarm.
//!
//! To ask both of them again for each request would take longer than to look the token up. They are asked once, and then only where one
//! of them has rung, or where another task would have to be woken. What becomes of it is for the session.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use tokio::sync::watch;
use tokio::task::coop::has_budget_remaining;
use tokio::time::{Instant, Sleep};

/// The two, on whoever's stack they are.
pub(super) struct Bells<'a, F> {
    stopping: &'a watch::Receiver<bool>,
    stopped: Pin<&'a mut F>,
    alarm: Pin<&'a mut Sleep>,
    /// Whom both of them would wake.
    wakes: Option<Waker>,
}

/// Which one it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rung {
    Stopped,
    Alarm,
}

impl<'a, F: Future<Output = ()>> Bells<'a, F> {
    /// `stopped` is done once `stopping`, in which nobody has seen a change, has changed.
    pub(super) fn new(
        stopping: &'a watch::Receiver<bool>,
        stopped: Pin<&'a mut F>,
        alarm: Pin<&'a mut Sleep>,
    ) -> Self {
        Self { stopping, stopped, alarm, wakes: None }
    }

    /// Whether the daemon has not been told to stop.
    pub(super) fn is_quiet(&self) -> bool {
        self.stopping.has_changed().is_ok_and(|is_stopping| !is_stopping)
    }

    /// When the alarm rings.
    pub(super) fn alarm_at(&self) -> Instant {
        self.alarm.deadline()
    }

    /// Has the alarm ring at another time.
    pub(super) fn set_alarm(&mut self, at: Instant) {
        self.alarm.as_mut().reset(at);
        self.wakes = None;
    }

    /// Whether one has rung of those that are listened for; whoever asks is woken when one does. Who no longer listens for the end
    /// does not begin to again.
    pub(super) fn poll(&mut self, context: &mut Context<'_>, to_stopped: bool, to_alarm: bool) -> Poll<Rung> {
        let wakes_us = self.wakes.as_ref().is_some_and(|wakes| wakes.will_wake(context.waker()));
        let may_have_rung = to_stopped && !self.is_quiet() || to_alarm && self.alarm.is_elapsed();
        if wakes_us && !may_have_rung {
            return Poll::Pending;
        }
        if to_stopped && self.stopped.as_mut().poll(context).is_ready() {
            return Poll::Ready(Rung::Stopped);
        }
        if self.alarm.as_mut().poll(context).is_ready() {
            // Nobody is woken by it any more.
            self.wakes = None;
            return if to_alarm { Poll::Ready(Rung::Alarm) } else { Poll::Pending };
        }
        // A task that has been busy for long is told to come again, and neither of the two has noted whom to wake.
        self.wakes = has_budget_remaining().then(|| context.waker().clone());
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::pin::pin;
    use std::time::Duration;

    use futures_util::FutureExt as _;
    use tokio::task::coop::poll_proceed;

    use super::*;

    const HOUR: Duration = Duration::from_hours(1);

    async fn ended(stopping: &mut watch::Receiver<bool>) {
        let _ = stopping.wait_for(|stopping| *stopping).await;
    }

    /// In a task, as conversations are: only there a waker is known for the same one.
    async fn in_a_task(test: impl Future<Output = ()> + Send + 'static) {
        tokio::time::timeout(24 * HOUR, tokio::spawn(test)).await.expect("it rings within a day").unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn each_rings_however_often_was_asked_before() {
        in_a_task(async {
            let (stop, stopping) = watch::channel(false);
            let mut seen = stopping.clone();
            let start = Instant::now();
            let (stopped, alarm) = (pin!(ended(&mut seen)), pin!(tokio::time::sleep_until(start + HOUR)));
            let mut bells = Bells::new(&stopping, stopped, alarm);
            for _ in 0..3 {
                assert_eq!(poll_fn(|context| bells.poll(context, true, true)).now_or_never(), None);
            }
            let mut asked = 0;
            let alarm = poll_fn(|context| {
                asked += 1;
                bells.poll(context, true, true)
            });
            assert_eq!((alarm.await, asked), (Rung::Alarm, 2));
            assert_eq!(start.elapsed().as_secs(), HOUR.as_secs());
            bells.set_alarm(start + 2 * HOUR);
            tokio::spawn(async move {
                tokio::time::sleep(HOUR / 2).await;
                stop.send_replace(true);
            });
            assert_eq!(poll_fn(|context| bells.poll(context, true, true)).await, Rung::Stopped);
            assert!(!bells.is_quiet() && start.elapsed() < 2 * HOUR);
            assert_eq!(poll_fn(|context| bells.poll(context, false, true)).await, Rung::Alarm);
        })
        .await;
    }

    #[tokio::test(start_paused = true)]
    async fn an_alarm_that_nobody_listens_for_is_heard_once_somebody_does() {
        in_a_task(async {
            let (_stop, stopping) = watch::channel(false);
            let mut seen = stopping.clone();
            let (stopped, alarm) = (pin!(ended(&mut seen)), pin!(tokio::time::sleep(HOUR)));
            let mut bells = Bells::new(&stopping, stopped, alarm);
            let unheard = poll_fn(|context| bells.poll(context, true, false));
            assert!(tokio::time::timeout(2 * HOUR, unheard).await.is_err());
            let heard = poll_fn(|context| bells.poll(context, true, true));
            assert_eq!(heard.now_or_never(), Some(Rung::Alarm));
        })
        .await;
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_asks_is_woken_though_another_asked_before() {
        in_a_task(async {
            let (_stop, stopping) = watch::channel(false);
            let mut seen = stopping.clone();
            let (stopped, alarm) = (pin!(ended(&mut seen)), pin!(tokio::time::sleep(HOUR)));
            let mut bells = Bells::new(&stopping, stopped, alarm);
            assert!(bells.poll(&mut Context::from_waker(Waker::noop()), true, true).is_pending());
            let rung = poll_fn(|context| bells.poll(context, true, true));
            assert_eq!(tokio::time::timeout(2 * HOUR, rung).await, Ok(Rung::Alarm));
        })
        .await;
    }

    #[tokio::test(start_paused = true)]
    async fn they_ring_also_where_the_task_had_no_time_left_when_it_asked() {
        in_a_task(async {
            let (_stop, stopping) = watch::channel(false);
            let mut seen = stopping.clone();
            let start = Instant::now();
            let (stopped, alarm) = (pin!(ended(&mut seen)), pin!(tokio::time::sleep(HOUR)));
            let mut bells = Bells::new(&stopping, stopped, alarm);
            let mut has_time = true;
            let rung = poll_fn(|context| {
                while has_time && let Poll::Ready(progress) = poll_proceed(context) {
                    progress.made_progress();
                }
                has_time = false;
                bells.poll(context, true, true)
            });
            assert_eq!(tokio::time::timeout(2 * HOUR, rung).await, Ok(Rung::Alarm));
            assert_eq!(start.elapsed().as_secs(), HOUR.as_secs());
        })
        .await;
    }
}
