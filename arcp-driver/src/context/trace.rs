//! What a job tells tracing systems (protocol §7).

use std::sync::atomic::Ordering;

use arcp_proto::error::ApiMisuse;

use super::JobContext;

impl JobContext {
    /// A `traceparent` header for a tool or another system: the job's trace, with a span id that was not used before in
    /// this job. It holds nothing but ids.
    #[must_use]
    pub fn traceparent(&self) -> String {
        let [.., a, b, c, d, e, f, g, h] = self.job.key.ulid().bits().to_be_bytes();
        let span = self.job.spans.fetch_add(1, Ordering::Relaxed) + 1;
        self.job.trace_id.traceparent(mixed(u64::from_be_bytes([a, b, c, d, e, f, g, h]) ^ mixed(span)))
    }

    /// What a span about this job is labelled with: `arcp.session_id`, `arcp.job_id`, `arcp.agent`,
    /// `arcp.lease.capabilities` (names of namespaces only), `arcp.lease.expires_at` and `arcp.budget.remaining`, as far as
    /// there are such.
    ///
    /// # Errors
    /// [`ApiMisuse::JobEnded`].
    pub async fn span_attributes(&self) -> Result<Vec<(&'static str, String)>, ApiMisuse> {
        let left = self.remaining().await?;
        let left: Vec<_> = left.iter().map(|(currency, amount)| format!("{currency}:{amount}")).collect();
        let capabilities: Vec<_> = self.job.lease.namespaces().collect();
        let attributes = [
            ("arcp.session_id", self.job.session.map(|session| session.to_string())),
            ("arcp.job_id", Some(self.job.key.to_string())),
            ("arcp.agent", Some(self.job.agent.to_string())),
            ("arcp.lease.capabilities", (!capabilities.is_empty()).then(|| capabilities.join(","))),
            ("arcp.lease.expires_at", self.job.lease.expires_at().map(|at| at.to_string())),
            ("arcp.budget.remaining", (!left.is_empty()).then(|| left.join(","))),
        ];
        Ok(attributes.into_iter().filter_map(|(name, value)| Some((name, value?))).collect())
    }
}

/// A bijection that spreads neighbours far apart, so that the spans of one job and of different jobs differ.
const fn mixed(bits: u64) -> u64 {
    let bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}
