//! What becomes of one delivery: attempts, a dead letter, or back to the broker.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tenantry_core::Error;
use tracing::Instrument as _;

use super::attempt::Trouble;
use super::delivery::Delivery;
use super::hands::Hand;
use super::lanes::Shared;
use crate::Message;
use crate::telemetry::{Settled, ended, processing};

/// How often the dead letters are asked to take one, before the broker is left to deliver it again.
const BURIALS: u32 = 5;

/// How often the database may go away while a message is handled, before that is taken for its fault.
const MOST_BREAKS: u32 = 20;

impl Shared {
    /// Handles a delivery until it is done with, and says to the broker what has become of it.
    pub(super) async fn settle(&self, delivery: &Delivery) -> Settled {
        let message = match &delivery.read {
            Ok(message) => message,
            Err(refusal) => return self.bury(delivery, refusal.reason, &refusal.detail).await,
        };
        let mut may_end_process = self.may_end_process(delivery);
        let mut is_new = true;
        let (mut attempts, mut outages, mut breaks) = (0, 0, 0);
        loop {
            if *self.stopped.borrow() {
                // As long as a request waits at the broker it would be given out again, to stand behind those of its key
                // that wait here and are given back after it. It is over if nobody can say so.
                let _ = self.asked.clone().wait_for(|asked| *asked).await;
                return self.give_back(delivery).await;
            }
            let hand = match may_end_process {
                true => self.hand_alone(message).await,
                false => Ok(self.unless_stopped(self.hands.one(message.tenant())).await),
            };
            let outcome = match hand {
                Ok(Some(hand)) => {
                    let outcome = self.attempt(message, hand, is_new).await;
                    // It has come to an end in this process.
                    (is_new, may_end_process) = (false, false);
                    outcome
                }
                Ok(None) => continue,
                Err(trouble) => Err(trouble),
            };
            let outcome = match outcome {
                // One that breaks each connection over which it is handled is to blame itself.
                Err(Trouble::Broken(error)) if breaks >= MOST_BREAKS => Err(Trouble::Failed(error)),
                Err(Trouble::Broken(error)) => {
                    breaks += 1;
                    Err(Trouble::Outage(error))
                }
                outcome => outcome,
            };
            match outcome {
                Ok(is_first) => {
                    if let Err(error) = delivery.receipt.accept().await {
                        // It comes again, and the inbox knows it.
                        tracing::debug!(target: "tenantry::outbox", %error, "not acknowledged");
                    }
                    return match is_first {
                        true => Settled::Handled,
                        false => Settled::Duplicate,
                    };
                }
                Err(Trouble::Outage(error) | Trouble::Broken(error)) => {
                    outages += 1;
                    self.wait_for_database(outages, &error).await;
                }
                Err(Trouble::Failed(error)) if delivery.receipt.refuse(&error) => {
                    return Settled::Released;
                }
                Err(Trouble::Failed(error)) => {
                    attempts += 1;
                    if attempts >= self.settings.attempts {
                        return self.bury(delivery, "failed", &error.to_string()).await;
                    }
                    self.rest(self.settings.policy.wait(attempts, rand::random()))
                        .await;
                }
                Err(Trouble::Poison(reason, error)) => {
                    return self.bury(delivery, reason, &error.to_string()).await;
                }
            }
        }
    }

    async fn attempt(&self, message: &Message, hand: Hand, is_new: bool) -> Result<bool, Trouble> {
        if is_new {
            self.metrics.begins(message);
        }
        let span = processing(self.system, &self.settings.name, message);
        let begun = Instant::now();
        let outcome = self.once(message).instrument(span.clone()).await;
        drop(hand);
        let failure = match &outcome {
            Ok(_) => None,
            Err(Trouble::Outage(_) | Trouble::Broken(_)) => Some("outage"),
            Err(Trouble::Failed(_)) => Some("failed"),
            Err(Trouble::Poison(..)) => Some("poison"),
        };
        self.metrics.attempted(begun.elapsed(), failure);
        let done = match &outcome {
            Ok(false) => "duplicate",
            _ => "ok",
        };
        ended(&span, done, failure);
        outcome
    }

    async fn wait_for_database(&self, outages: u32, error: &Error) {
        if outages == 1 {
            tracing::warn!(
                target: "tenantry::outbox",
                consumer = self.settings.name,
                %error,
                "the database takes nothing: messages wait"
            );
        }
        self.rest(self.settings.policy.wait(outages, rand::random()))
            .await;
    }

    /// Waits for hands; nothing once it is stopped.
    pub(super) async fn unless_stopped(
        &self,
        given: impl Future<Output = Option<Hand>>,
    ) -> Option<Hand> {
        let mut stopped = self.stopped.clone();
        tokio::select! {
            hand = given => hand,
            // Without anybody who could say so it is dropped.
            Ok(_) = stopped.wait_for(|stopped| *stopped) => None,
        }
    }

    async fn bury(&self, delivery: &Delivery, reason: &'static str, detail: &str) -> Settled {
        tracing::warn!(
            target: "tenantry::outbox",
            consumer = self.settings.name,
            reason,
            detail,
            message = delivery.read.as_ref().ok().map(|message| tracing::field::display(message.id())),
            "a message becomes a dead letter"
        );
        for attempt in 1..=BURIALS {
            if attempt > 1 && *self.stopped.borrow() {
                break;
            }
            let payload = delivery.read.as_ref().ok().map(Message::payload);
            match delivery.receipt.bury(payload, reason, detail).await {
                Ok(()) => return Settled::DeadLettered(reason),
                Err(error) => {
                    tracing::warn!(
                        target: "tenantry::outbox",
                        consumer = self.settings.name,
                        %error,
                        "a dead letter is not taken"
                    );
                }
            }
            self.rest(self.settings.policy.wait(attempt, rand::random()))
                .await;
        }
        // It comes again, and is buried then.
        self.give_back(delivery).await
    }

    /// Gives a delivery back; it comes again as well if that is lost, a little later.
    pub(super) async fn give_back(&self, delivery: &Delivery) -> Settled {
        if self.is_heard.load(Ordering::Relaxed) && delivery.receipt.release().await.is_err() {
            // Each of the others would wait for as long, while the service is to end.
            self.is_heard
                .store(!*self.stopped.borrow(), Ordering::Relaxed);
        }
        Settled::Released
    }

    /// Waits, and not for long once it is stopped.
    pub(super) async fn rest(&self, time: Duration) {
        let mut stopped = self.stopped.clone();
        tokio::select! {
            () = tokio::time::sleep(time) => {}
            _ = stopped.wait_for(|stopped| *stopped) => {}
        }
    }
}
