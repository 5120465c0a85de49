//! Visitor ids that change every day, from a keyed hash. Without the key, neither the address nor
//! the id of another day can be computed.

use ring::hmac::{self, HMAC_SHA256};
use ring::rand::{SecureRandom, SystemRandom};

/// Separates the key from what else is computed from the same secret.
const PURPOSE: &[u8] = b"import-logs daily visitor ids 1";

/// The key of visitor ids. Ids of different keys have nothing in common.
#[derive(Clone, Debug)]
pub struct VisitorKey(hmac::Key);

impl VisitorKey {
    /// Returns `None` if the system provides no random numbers.
    pub fn random() -> Option<Self> {
        let mut secret = [0; 32];
        SystemRandom::new().fill(&mut secret).ok()?;
        Some(Self::of_secret(&secret))
    }

    /// The same secret always makes the same key.
    pub fn of_secret(secret: &[u8]) -> Self {
        let key = hmac::sign(&hmac::Key::new(HMAC_SHA256, secret), PURPOSE);
        Self(hmac::Key::new(HMAC_SHA256, key.as_ref()))
    }

    /// The id of a visitor of a site on one day, counted from 1970.
    pub fn id(&self, site: &str, day: i32, visitor: &[u8], agent: &[u8]) -> u64 {
        let mut hash = hmac::Context::with_key(&self.0);
        hash.update(&day.to_be_bytes());
        for text in [site.as_bytes(), visitor, agent] {
            // With its length, a text cannot be taken for another one and the next.
            hash.update(&(text.len() as u64).to_be_bytes());
            hash.update(text);
        }
        let hash = hash.sign();
        let first = hash.as_ref().first_chunk().copied();
        u64::from_be_bytes(first.unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_depend_on_key_site_day_visitor_and_agent() {
        let key = VisitorKey::of_secret(&[7; 16]);
        let id = key.id("1", 20_000, b"visitor", b"agent");
        let same = VisitorKey::of_secret(&[7; 16]);
        assert_eq!(id, same.id("1", 20_000, b"visitor", b"agent"));
        for other in [
            VisitorKey::of_secret(&[8; 16]).id("1", 20_000, b"visitor", b"agent"),
            key.id("2", 20_000, b"visitor", b"agent"),
            key.id("1", 20_001, b"visitor", b"agent"),
            key.id("1", 20_000, b"visitos", b"agent"),
            key.id("1", 20_000, b"visitora", b"gent"),
        ] {
            assert_ne!(id, other);
        }
    }

    #[test]
    fn ids_never_change() {
        // HMAC-SHA256, computed with Python's `hmac`.
        let key = VisitorKey::of_secret(&std::array::from_fn::<u8, 16, _>(|index| index as u8));
        let id = key.id("1", 19_857, &[203, 0, 113, 9], b"Mozilla/5.0");
        assert_eq!(format!("{id:016x}"), "edc600c63402e165");
    }

    #[test]
    fn two_runs_have_different_keys() {
        let id = |key: VisitorKey| key.id("1", 1, b"visitor", b"agent");
        let [one, other] = [VisitorKey::random(), VisitorKey::random()].map(Option::unwrap);
        assert_ne!(id(one), id(other));
    }
}
