//! Why a question to the API brought no answer.

use thiserror::Error as ThisError;

use super::reply::Again;
use crate::error::Error;

/// Why a question brought no answer. The texts say what, where and what to do.
#[derive(Clone, Debug, PartialEq, Eq, ThisError)]
pub enum ApiError {
    /// Matomo answered that it will not: no such site, no right to, a bad token.
    #[error("{0}")]
    Refused(String),
    /// No answer that can be used, in all attempts: none at all, a failure, or something odd.
    #[error("{0}")]
    Failed(String),
    /// Not reached in all attempts, or turned away for now: later it may go well.
    #[error("{0}")]
    Away(String),
    /// The program was told to stop while it waited for an answer, or to ask again.
    #[error("stopped while waiting for Matomo")]
    Interrupted,
}

impl From<ApiError> for Error {
    fn from(error: ApiError) -> Self {
        match error {
            ApiError::Interrupted => Self::interrupted(error.to_string()),
            ApiError::Refused(why) | ApiError::Failed(why) | ApiError::Away(why) => {
                Self::stopped(why)
            }
        }
    }
}

/// What is said of a question that brought no answer in so many attempts.
pub(super) fn gave_up(Again { away, detail, .. }: Again, attempts: u32) -> ApiError {
    let told = match attempts {
        1 => detail,
        n => format!("{detail} (tried {n} times)"),
    };
    match away {
        true => ApiError::Away(told),
        false => ApiError::Failed(told),
    }
}
