//! Which parts of a policy cannot do without the version.

use cutover_core::placeholder::has_version;

use super::Policy;

impl Policy {
    /// Whether probes expect a version.
    pub fn probe_needs_version(&self) -> bool {
        self.probe.check.needs_version()
    }

    /// The first key that contains `{version}`, as in `probe.expect` or `smoke "products"`. `None`: a deployment needs no version.
    pub fn needs_version(&self) -> Option<String> {
        let in_smoke = self.smoke.iter().find(|test| test.needs_version());
        let probe = self.probe_needs_version().then(|| "probe.expect".to_owned());
        let synthetic = self.soak.synthetic.as_ref();
        let synthetic = synthetic.filter(|asked| asked.texts().into_iter().any(has_version));
        let signal = self.signal.iter().find(|signal| signal.needs_version());
        probe
            .or_else(|| in_smoke.map(|test| format!("smoke \"{}\"", test.name)))
            .or_else(|| synthetic.map(|_| "soak.synthetic".to_owned()))
            .or_else(|| signal.map(|signal| format!("signal \"{}\"", signal.name)))
    }
}
