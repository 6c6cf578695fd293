//! Chance that can be had again: a number decides a whole test.

use std::hash::{BuildHasher as _, RandomState};

/// splitmix64.
pub struct Dice(u64);

impl Dice {
    /// Begins with DEVWATCH_SEED, or anywhere, and prints where: a test that failed is run again with that.
    pub fn seeded() -> Dice {
        let seed = std::env::var("DEVWATCH_SEED").map_or_else(
            |_| RandomState::new().hash_one(0),
            |seed| seed.parse().expect("DEVWATCH_SEED is a number"),
        );
        println!("DEVWATCH_SEED={seed}");
        Dice(seed)
    }

    /// From 0 to `limit`, without it.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % limit
    }

    /// One of these.
    pub fn one<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len() as u64) as usize]
    }

    /// Whether it happens that is to happen so many times in a hundred.
    pub fn percent(&mut self, chance: u64) -> bool {
        self.below(100) < chance
    }
}
