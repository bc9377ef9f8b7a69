//! Tables in Markdown, and work on both processors.

use crate::random::Random;

pub(crate) fn head(title: &str, columns: &[&str]) {
    println!("\n### {title}\n\n| {} |", columns.join(" | "));
    println!("|{}", "---|".repeat(columns.len()));
}

pub(crate) fn row(cells: &[String]) {
    println!("| {} |", cells.join(" | "));
}

pub(crate) fn percent(part: f64) -> String {
    format!("{:.2} %", 100.0 * part)
}

/// Mean and 90th percentile.
pub(crate) struct Times(pub(crate) Vec<f64>);

impl Times {
    pub(crate) fn mean(&self) -> f64 {
        self.0.iter().sum::<f64>() / self.0.len().max(1) as f64
    }

    pub(crate) fn p90(&self) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        sorted.get(sorted.len() * 9 / 10).copied().unwrap_or(f64::NAN)
    }
}

/// Runs so many trials, each with its own seed, on as many threads as there are processors.
pub(crate) fn trials<T: Send>(seed: u64, count: u64, one: impl Fn(&mut Random) -> T + Sync) -> Vec<T> {
    let threads = std::thread::available_parallelism().map_or(1, |count| count.get() as u64);
    let one = &one;
    std::thread::scope(|scope| {
        let work = (0..threads).map(|thread| {
            scope.spawn(move || {
                let mine = (thread..count).step_by(threads as usize);
                mine.map(|trial| {
                    one(&mut Random::new(seed.wrapping_mul(1_000_003).wrapping_add(trial << 20)))
                })
                .collect()
            })
        });
        let handles: Vec<std::thread::ScopedJoinHandle<'_, Vec<T>>> = work.collect();
        handles.into_iter().flat_map(|handle| handle.join().unwrap_or_default()).collect()
    })
}
