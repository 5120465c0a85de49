//! A batch in doubt: Matomo is asked which of its hits it has, and how the batch goes on from there.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::batch::Batch;
use super::delivery::{Delivery, LONG, Next, Who};
use super::doubt::{LookupError, present};
use super::window::{HitOutcome, Window};
use crate::error::Result;
use crate::recorder::InDoubt;

/// What is known of a batch in doubt.
pub(super) struct Doubt {
    /// When it was sent, if no answer came: the server may still be at it.
    pub unanswered_since: Option<Instant>,
    /// What is to be sent again goes as two halves.
    pub halve: bool,
    pub retry_after: Option<Duration>,
    pub detail: String,
}

impl Delivery {
    /// Nobody knows what Matomo has of a batch: it is asked, hit by hit, and only what it lacks is sent again.
    pub(super) fn resolve(
        &mut self,
        window: &mut Window,
        mut batch: Batch,
        doubt: Doubt,
    ) -> Result<Next> {
        let shared = Arc::clone(&self.shared);
        shared.console.debug(1, || doubt.detail.clone());
        let answered = doubt.unanswered_since.is_none();
        let timeout = shared.options.timeout;
        // Without an answer the server may still be at it; one that we gave up waiting for is given as long again.
        let looks = match (answered, doubt.halve) {
            (true, _) => &[0][..],
            (false, true) => &[1],
            (false, false) => &[1, 2],
        };
        for times in looks {
            let since = doubt
                .unanswered_since
                .map_or(Duration::ZERO, |sent| sent.elapsed());
            let left = timeout.saturating_mul(*times).saturating_sub(since);
            if left >= LONG {
                shared.console.note(format!(
                    "{}; waiting {} s before Matomo is asked what it has of that",
                    doubt.detail,
                    left.as_secs()
                ));
            }
            if shared.stop.wait(left) && !answered {
                self.books.leave_in_doubt(window, &batch.requests);
                return Ok(Next::Done);
            }
            let jsons: Vec<&[u8]> = batch
                .requests
                .iter()
                .map(|request| window.json(*request))
                .collect();
            let marked = |request: &u32| window.unit(*request).marked;
            let marked = batch.requests.iter().all(marked);
            let present = match present(&shared.api, &jsons, marked) {
                Ok(present) => present,
                // Told to stop, it is left to the next run to ask.
                Err(_) if shared.stop.requested() => {
                    self.books.leave_in_doubt(window, &batch.requests);
                    return Ok(Next::Done);
                }
                Err(LookupError::NotNow(why)) => {
                    self.books.leave_in_doubt(window, &batch.requests);
                    return Ok(Next::Stop(why));
                }
                Err(LookupError::Never(why)) => {
                    return self.follow_policy(window, batch, doubt, &why);
                }
            };
            let sent = batch.requests.len();
            let mut present = present.into_iter();
            batch.requests.retain(|request| {
                let there = present.next() == Some(true);
                if there {
                    self.books.settle(window, *request, HitOutcome::Imported);
                }
                !there
            });
            if batch.requests.is_empty() {
                return Ok(Next::Done);
            }
            // A part of it was taken: what is left has failed no more often than anything else.
            if batch.requests.len() < sent {
                batch.attempts = 0;
                batch.successes_before = self.shared.learnt.successes();
            }
        }
        Ok(self.once_more(batch, doubt))
    }

    /// Matomo cannot be asked: `--in-doubt` says what is done.
    fn follow_policy(
        &mut self,
        window: &mut Window,
        batch: Batch,
        doubt: Doubt,
        why: &str,
    ) -> Result<Next> {
        let place = self.books.place(window, &batch.requests);
        let what = format!(
            "{} hits of {place} are in doubt ({}), and Matomo cannot be asked for them ({why})",
            batch.requests.len(),
            doubt.detail
        );
        match self.shared.options.in_doubt {
            InDoubt::Stop => {
                self.books.leave_in_doubt(window, &batch.requests);
                Ok(Next::Stop(format!("{what}; --in-doubt=stop")))
            }
            InDoubt::Skip => {
                self.shared
                    .console
                    .warn_incomplete(format!("{what}: not sent again (--in-doubt=skip)"));
                self.books
                    .settle_all(window, &batch.requests, HitOutcome::InDoubt);
                Ok(Next::Done)
            }
            InDoubt::Resend => {
                self.shared
                    .console
                    .warn_incomplete(format!("{what}: sent again, some may be there twice"));
                let requests = batch.requests.clone();
                let next = self.once_more(batch, doubt);
                match next {
                    // That was the last attempt: nobody knows of them to the end.
                    Next::Stop(_) => self.books.leave_in_doubt(window, &requests),
                    _ => requests.iter().for_each(|request| window.doubt(*request)),
                }
                Ok(next)
            }
        }
    }

    /// Another attempt for a batch that the server answered with an error or not at all. When it has answered so in
    /// all attempts, the hit that does it is looked for: in halves, each tried once, but for a single hit, which is
    /// not refused before it failed in all attempts by itself.
    fn once_more(&self, batch: Batch, doubt: Doubt) -> Next {
        let Doubt {
            unanswered_since,
            halve,
            retry_after,
            detail,
        } = doubt;
        let answered = unanswered_since.is_none();
        let exhausted = !self.shared.options.retry.allows_after(batch.attempts);
        let who = if answered { Who::Me } else { Who::Everyone };
        match batch.requests.len() {
            1 if answered && exhausted => Next::Suspect(batch, detail),
            1 => self.again(batch, retry_after, detail, who),
            _ if answered && (batch.probe || exhausted) => Next::Halves(
                Batch {
                    probe: true,
                    successes_before: self.shared.learnt.successes(),
                    ..batch
                },
                detail,
            ),
            _ if halve => Next::Halves(batch, detail),
            _ => self.again(batch, retry_after, detail, who),
        }
    }
}
