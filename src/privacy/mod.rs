//! What keeps visitors from being recognized: masked addresses, and visitor ids that change every
//! day; see guide/requests.md, "Privacy".

mod mask;
mod text;
mod visitor;

use clap::ValueEnum;

pub use mask::AddressMask;
pub use text::read_v4;
pub use visitor::VisitorKey;

/// A set of rules for what is sent (`--privacy`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum PrivacyRules {
    /// What the French data protection authority asks of statistics without consent: masked
    /// addresses, daily visitor ids, no users, no queries, only the hosts of referrers
    Cnil,
}
