//! The trait that asks for the values of signals, such as queries of Prometheus.

use std::time::Duration;

use crate::policy::Signal;

/// A client for the systems that signals come from.
pub trait Signals: Send + Sync + 'static {
    /// Asks for the value of a query as of `ago` before now, on the clock of the other side. `None`: the query has no result.
    /// Fails with one line if there is no answer within the timeout of the signal, or none that is one number.
    fn value(
        &self,
        signal: &Signal,
        query: &str,
        ago: Duration,
    ) -> impl Future<Output = Result<Option<f64>, String>> + Send;
}
