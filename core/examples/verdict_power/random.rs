//! Random numbers from a seed.

/// SplitMix64 (Steele, Lea, Flood 2014).
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Above 0 and below 1.
    pub(crate) fn uniform(&mut self) -> f64 {
        ((self.next() >> 11) as f64 + 0.5) / (1u64 << 53) as f64
    }

    pub(crate) fn chance(&mut self, probability: f64) -> bool {
        self.uniform() < probability
    }

    /// How many of `n` happen: by inversion, in halves where the number would be large.
    pub(crate) fn binomial(&mut self, n: u64, probability: f64) -> u64 {
        if probability > 0.5 {
            return n - self.binomial(n, 1.0 - probability);
        }
        if n as f64 * probability > 30.0 {
            return self.binomial(n / 2, probability) + self.binomial(n - n / 2, probability);
        }
        if probability <= 0.0 {
            return 0;
        }
        let ratio = probability / (1.0 - probability);
        let mut weight = (n as f64 * (-probability).ln_1p()).exp();
        let mut left = self.uniform();
        let mut count = 0;
        while left > weight && count < n {
            left -= weight;
            weight *= ratio * (n - count) as f64 / (count + 1) as f64;
            count += 1;
        }
        count
    }

    /// Normal, by Box and Muller.
    pub(crate) fn normal(&mut self) -> f64 {
        let radius = (-2.0 * self.uniform().ln()).sqrt();
        radius * (2.0 * std::f64::consts::PI * self.uniform()).cos()
    }
}
