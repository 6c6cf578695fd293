//! What changes demand, and how two demands become one.

use std::collections::BTreeSet;

/// A rule, by its place in the config: the first is 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RuleId(pub usize);

/// What a change means for the server. The strongest wins, so the order of the variants is the policy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Then {
    /// The server is not concerned.
    #[default]
    Nothing,
    /// Browsers are told; the server stays.
    Reload,
    /// The server is restarted the way `[server] restart` says.
    Restart,
    /// The server is started afresh, never handed over.
    Cold,
}

/// What the changes seen so far demand. [`join`](Plan::join) is a least upper bound (commutative,
/// associative, idempotent), so neither batching nor order ever changes the answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// The rules that are due: each runs unless what it made last is what it would make now.
    pub rules: BTreeSet<RuleId>,
    /// Of these, the rules that run regardless.
    pub forced: BTreeSet<RuleId>,
    /// What the server is owed besides what the rules will owe it.
    pub then: Then,
}

impl Plan {
    /// Makes this plan demand what either of the two demands.
    pub fn join(&mut self, other: Plan) {
        self.rules.extend(other.rules);
        self.forced.extend(other.forced);
        self.then = self.then.max(other.then);
    }

    /// Whether nothing is demanded.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty() && self.then == Then::Nothing
    }
}
