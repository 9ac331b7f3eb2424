//! One driver's share of the gauges of what waits for partners.

/// What the driver has shown last; dropping it takes that back.
#[derive(Default)]
pub(super) struct WaitingGauge {
    stanzas: usize,
    bytes: usize,
}

impl WaitingGauge {
    /// Shows how many stanzas wait, and their bytes.
    pub(super) fn show(&mut self, (stanzas, bytes): (usize, usize)) {
        if (stanzas, bytes) == (self.stanzas, self.bytes) {
            return;
        }
        let change = |before: usize, now: usize| now as f64 - before as f64;
        metrics::gauge!("edge_xmpp_waiting_stanzas").increment(change(self.stanzas, stanzas));
        metrics::gauge!("edge_xmpp_waiting_bytes").increment(change(self.bytes, bytes));
        (self.stanzas, self.bytes) = (stanzas, bytes);
    }
}

impl Drop for WaitingGauge {
    fn drop(&mut self) {
        self.show((0, 0));
    }
}
