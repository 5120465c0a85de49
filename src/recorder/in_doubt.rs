//! `--in-doubt`: what happens to unconfirmed hits, for batches of this run and of an interrupted
//! one (guide/guarantees.md, "Unconfirmed batches").

use clap::ValueEnum;

use crate::matomo::visit_log::LookupError;

/// When Matomo is asked which hits it has of a request that it has not answered, in time-outs since
/// the request was sent. The server may still be working on it, so what is missing is sent again
/// only after the last time.
pub const UNANSWERED_LOOKUPS: [u32; 2] = [1, 2];

/// The policy for unconfirmed hits that Matomo cannot be asked about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum InDoubt {
    /// Send them again: none is lost, some may be counted twice
    #[default]
    Resend,
    /// Do not send them again: none is counted twice, some may be lost
    Skip,
    /// Stop the import
    Stop,
}

/// What to do with unconfirmed hits.
#[derive(Debug, PartialEq, Eq)]
pub enum Decision {
    /// Settle each hit by Matomo's answer: whether it has the hit, in the order of the question.
    Settle(Vec<bool>),
    /// Send all hits again and print this warning.
    Resend(String),
    /// Count all hits as in doubt, do not send them again, and print this warning.
    Skip(String),
    /// Leave the hits to the next run and stop with this message.
    Stop(String),
    /// Leave the hits to the next run. The run is already stopping.
    Leave,
}

impl InDoubt {
    /// Decides about hits that were looked up in Matomo. The policy applies only if Matomo cannot
    /// be asked.
    ///
    /// `stopping` is whether the run is shutting down. `subject` names the hits and begins the
    /// message, for example `10 hits of access.log:11-20 are unconfirmed`.
    pub fn decide(
        self,
        lookup: Result<Vec<bool>, LookupError>,
        stopping: bool,
        subject: &str,
    ) -> Decision {
        let why = match lookup {
            Ok(recorded) => return Decision::Settle(recorded),
            Err(_) if stopping => return Decision::Leave,
            Err(LookupError::NotNow(why)) => {
                return Decision::Stop(format!(
                    "{subject}, and Matomo cannot be asked about them now ({why}); run the same \
                     command again later"
                ));
            }
            Err(LookupError::Never(why)) => why,
        };
        let problem = format!("{subject}, and Matomo cannot be asked about them ({why})");
        match self {
            Self::Resend => {
                Decision::Resend(format!("{problem}: sent again, some may be counted twice"))
            }
            Self::Skip => Decision::Skip(format!("{problem}: not sent again (--in-doubt=skip)")),
            Self::Stop => Decision::Stop(format!("{problem}; --in-doubt=stop")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SUBJECT: &str = "2 hits of a.log:1-2 are unconfirmed";
    const POLICIES: [InDoubt; 3] = [InDoubt::Resend, InDoubt::Skip, InDoubt::Stop];

    fn decide(policy: InDoubt, lookup: Result<Vec<bool>, LookupError>) -> Decision {
        policy.decide(lookup, false, SUBJECT)
    }

    #[test]
    fn an_answer_settles_each_hit() {
        for policy in POLICIES {
            let decision = decide(policy, Ok(vec![true, false]));
            assert_eq!(decision, Decision::Settle(vec![true, false]));
        }
    }

    #[test]
    fn the_policy_applies_if_matomo_cannot_be_asked() {
        let never = || Err(LookupError::Never("no right to view".to_owned()));
        let problem =
            format!("{SUBJECT}, and Matomo cannot be asked about them (no right to view)");
        let expected = [
            Decision::Resend(format!("{problem}: sent again, some may be counted twice")),
            Decision::Skip(format!("{problem}: not sent again (--in-doubt=skip)")),
            Decision::Stop(format!("{problem}; --in-doubt=stop")),
        ];
        assert_eq!(POLICIES.map(|policy| decide(policy, never())), expected);
    }

    #[test]
    fn hits_wait_for_the_next_run_while_matomo_is_away() {
        for policy in POLICIES {
            let Decision::Stop(message) = decide(policy, Err(LookupError::NotNow("503".into())))
            else {
                panic!("{policy:?} does not stop");
            };
            assert!(message.contains("asked about them now (503)"), "{message}");
        }
    }

    #[test]
    fn a_run_that_is_stopping_leaves_the_hits_to_the_next() {
        for policy in POLICIES {
            let lookup = Err(LookupError::Never(String::new()));
            assert_eq!(policy.decide(lookup, true, SUBJECT), Decision::Leave);
        }
    }
}
