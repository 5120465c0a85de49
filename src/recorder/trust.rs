//! Whether Matomo still lets us write to a site: asked where it refuses all hits of a batch, though it took others of
//! that site before. A token that has run out (those of `--login` hold for 48 hours), or a site that is gone, would
//! otherwise have the rest of a log refused, batch by batch.

use serde::Deserialize;

use super::batch::Batch;
use super::delivery::Delivery;
use super::window::Window;
use crate::matomo::api::ApiError;
use crate::matomo::outcome::Acknowledged;

pub(super) enum Trust {
    /// What was refused was refused for itself.
    Kept,
    /// The token or the site is no good any more, or nobody can tell: nothing of the batch is done.
    Gone(String),
    /// The program was told to stop meanwhile: nothing of the batch is done.
    Unsaid,
}

#[derive(Deserialize)]
struct Asked {
    idsite: String,
}

impl Delivery {
    pub(super) fn trust(&self, window: &Window, batch: &Batch, committed: &Acknowledged) -> Trust {
        if committed.tracked > 0 || committed.lost > 0 {
            return Trust::Kept;
        }
        if batch.requests.len() == 1 && self.shared.learnt.trusts() {
            return Trust::Kept;
        }
        let first = batch.requests.first().map(|request| window.json(*request));
        let asked = first.and_then(|json| serde_json::from_slice::<Asked>(json).ok());
        let Some(Asked { idsite }) = asked else {
            return Trust::Kept;
        };
        let why = match self.shared.api.site(&idsite) {
            Ok(_) => {
                self.shared.learnt.trust();
                return Trust::Kept;
            }
            Err(ApiError::Interrupted) => return Trust::Unsaid,
            Err(ApiError::Refused(why) | ApiError::Failed(why) | ApiError::Unavailable(why)) => why,
        };
        Trust::Gone(format!(
            "Matomo refused all {} hits of {}, and asked whether the token still holds for site {idsite}: {why}",
            batch.requests.len(),
            self.books.place(window, &batch.requests)
        ))
    }
}
