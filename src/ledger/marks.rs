//! The marks of requests (`pv_id`), as the ledger keeps them: one behind the other.

use crate::hit_id::HitId;
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Marks(String);

impl Marks {
    pub fn iter(&self) -> impl Iterator<Item = HitId> {
        let (marks, _) = self.0.as_bytes().as_chunks();
        marks.iter().copied()
    }
}

impl<'m> FromIterator<&'m HitId> for Marks {
    fn from_iter<I: IntoIterator<Item = &'m HitId>>(marks: I) -> Self {
        let letters = marks.into_iter().flatten();
        Self(letters.map(|letter| char::from(*letter)).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_come_back() {
        let marks = [b"abcdef", b"012XYZ"];
        let kept: Marks = marks.into_iter().collect();
        let json = serde_json::to_string(&kept).unwrap();
        assert_eq!(json, "\"abcdef012XYZ\"");
        let read: Marks = serde_json::from_str(&json).unwrap();
        assert_eq!(read.iter().collect::<Vec<_>>(), marks.map(|mark| *mark));
    }
}
