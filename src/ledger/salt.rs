//! The salt: what makes one ledger's `pv_id`s differ from another's.

use ring::rand::{SecureRandom, SystemRandom};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// Random bytes that make this ledger's `pv_id`s its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Salt(pub [u8; 16]);

impl Salt {
    pub fn draw() -> Result<Self> {
        let mut salt = [0; 16];
        match SystemRandom::new().fill(&mut salt) {
            Ok(()) => Ok(Self(salt)),
            Err(_) => Err(Error::stopped(
                "the system gives no random numbers: see to /dev/urandom",
            )),
        }
    }
}

impl From<Salt> for String {
    fn from(salt: Salt) -> Self {
        format!("{:032x}", u128::from_be_bytes(salt.0))
    }
}

impl TryFrom<String> for Salt {
    type Error = &'static str;

    fn try_from(text: String) -> std::result::Result<Self, Self::Error> {
        match u128::from_str_radix(&text, 16) {
            Ok(number) if text.len() == 32 => Ok(Self(number.to_be_bytes())),
            _ => Err("no salt"),
        }
    }
}
