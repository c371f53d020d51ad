//! What is asked for, as whoever asks puts it together (protocol §3.1, §5.1, §5.5).

use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::time::Duration;

use super::{COST_BUDGET, Capability, EXPIRES_AT, Lease};
use crate::error::WireError;
use crate::feature::{Feature, Features};
use crate::time::UnixTime;
use crate::wire::{Fields, RawJson, object_text};

/// A lease to ask for: patterns by namespace, amounts of money, and an end (protocol §5).
///
/// ```
/// use std::time::Duration;
///
/// use arcp_proto::lease::LeaseRequest;
/// use arcp_proto::time::UnixTime;
///
/// let asked = LeaseRequest::default()
///     .grant("tool.call", ["search.*"])
///     .budget("USD:1.00")
///     .expires_in(Duration::from_secs(600));
/// let (lease, constraints) = asked.to_json(UnixTime::from_millis(0))?;
/// assert_eq!(lease.unwrap().as_str(), r#"{"tool.call":["search.*"],"cost.budget":["USD:1.00"]}"#);
/// assert_eq!(constraints.unwrap().as_str(), r#"{"expires_at":"1970-01-01T00:10:00.000Z"}"#);
/// # Ok::<(), arcp_proto::error::WireError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LeaseRequest {
    /// In the order in which they were first named.
    namespaces: Vec<(String, Vec<String>)>,
    end: Option<End>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    At(UnixTime),
    After(Duration),
}

impl LeaseRequest {
    /// Asks for `patterns` of a namespace: `fs.read`, `fs.write`, `net.fetch`, `tool.call`, `agent.delegate`, `model.use`
    /// or `x-vendor.<vendor>.<name>`. Several calls add up. At most 32 namespaces with 64 patterns each; the rules of
    /// patterns are those of protocol §5.2.
    #[must_use]
    pub fn grant<P: Into<String>>(
        mut self,
        namespace: impl Into<String>,
        patterns: impl IntoIterator<Item = P>,
    ) -> Self {
        let namespace = namespace.into();
        let patterns = patterns.into_iter().map(Into::into);
        match self.namespaces.iter_mut().find(|(name, _)| *name == namespace) {
            Some((_, known)) => known.extend(patterns),
            None => self.namespaces.push((namespace, patterns.collect())),
        }
        self
    }

    /// Limits what may be spent in one currency, as `USD:1.00`: 1 to 18 digits, optionally a dot and 1 to 9 more. Several
    /// calls name several currencies, at most 16, none twice.
    #[must_use]
    pub fn budget(self, amount: impl Into<String>) -> Self {
        self.grant(COST_BUDGET, [amount])
    }

    /// Ends the lease, and the job with it, at this time.
    #[must_use]
    pub const fn expires_at(mut self, time: UnixTime) -> Self {
        self.end = Some(End::At(time));
        self
    }

    /// Ends the lease, and the job with it, this long after it was asked for, by the clock of whoever asks.
    #[must_use]
    pub const fn expires_in(mut self, span: Duration) -> Self {
        self.end = Some(End::After(span));
        self
    }

    /// Whether nothing is asked for.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.namespaces.is_empty() && self.end.is_none()
    }

    /// The objects `lease_request` and `lease_constraints`, asked for at `now`; `None` where nothing is asked for.
    ///
    /// # Errors
    /// `INVALID_REQUEST` as [`Lease::parse`] gives it, of which a past end is no part: that is judged by the clock of who
    /// grants.
    pub fn to_json(&self, now: UnixTime) -> Result<(Option<RawJson>, Option<RawJson>), WireError> {
        let request = object_text(|object| {
            for (name, patterns) in &self.namespaces {
                object.strings(name, patterns.iter().map(String::as_str));
            }
        });
        let request = (!self.namespaces.is_empty()).then(|| parsed(request)).transpose()?;
        let end = self.end.map(|end| match end {
            End::At(time) => time,
            End::After(span) => now.after(span),
        });
        let constraints = end.map(|at| {
            parsed(object_text(|object| {
                object.str(EXPIRES_AT, &at.to_string());
            }))
        });
        let constraints = constraints.transpose()?;
        Lease::parse(request.as_ref(), constraints.as_ref(), Features::EVERY, UnixTime::MIN)?;
        Ok((request, constraints))
    }
}

fn parsed(text: String) -> Result<RawJson, WireError> {
    RawJson::parse(text)
        .map_err(|error| WireError::invalid(alloc::format!("the lease cannot be sent: {error}")))
}

/// What must be negotiated before these two members may be sent (D-42).
pub(crate) fn needed_features(
    lease_request: Option<&RawJson>,
    lease_constraints: Option<&RawJson>,
) -> Features {
    let names = |object: Option<&RawJson>, name: &str| {
        object.is_some_and(|object| Fields::of(object.as_str()).present(name).is_some())
    };
    let needs = [
        (Feature::CostBudget, names(lease_request, COST_BUDGET)),
        (Feature::ModelUse, names(lease_request, Capability::ModelUse.as_str())),
        (Feature::LeaseExpiresAt, names(lease_constraints, EXPIRES_AT)),
    ];
    needs.into_iter().filter_map(|(feature, is_needed)| is_needed.then_some(feature)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;

    const NOW: UnixTime = UnixTime::from_millis(1_786_699_800_000);

    fn texts(asked: &LeaseRequest) -> (Option<String>, Option<String>) {
        let (request, constraints) = asked.to_json(NOW).unwrap();
        let text = |raw: Option<RawJson>| raw.map(|raw| raw.as_str().to_string());
        (text(request), text(constraints))
    }

    #[test]
    fn nothing_asked_for_is_absent() {
        assert_eq!(texts(&LeaseRequest::default()), (None, None));
        assert!(LeaseRequest::default().is_empty());
        let end = LeaseRequest::default().expires_at(NOW);
        assert_eq!(texts(&end).0, None);
        assert!(!end.is_empty());
    }

    #[test]
    fn calls_add_up_and_keep_their_order() {
        let asked = LeaseRequest::default()
            .grant("tool.call", ["b"])
            .budget("USD:1.00")
            .grant("fs.read", ["/w/**"])
            .grant("tool.call", ["a", "b.*"])
            .budget("credits:5")
            .expires_at(NOW)
            .expires_in(Duration::from_millis(1));
        let (request, constraints) = texts(&asked);
        assert_eq!(
            request.unwrap(),
            r#"{"tool.call":["b","a","b.*"],"cost.budget":["USD:1.00","credits:5"],"fs.read":["/w/**"]}"#
        );
        assert_eq!(constraints.unwrap(), r#"{"expires_at":"2026-08-14T09:30:00.001Z"}"#);
    }

    #[test]
    fn what_no_runtime_would_take_is_named() {
        let refused = |asked: LeaseRequest| asked.to_json(NOW).unwrap_err().message.to_string();
        let ask = LeaseRequest::default;
        for (asked, named) in [
            (ask().grant("tool.cal", ["x"]), "namespace other than"),
            (ask().grant("fs.read", ["relative"]), "`lease_request.fs.read[0]`"),
            (ask().grant("tool.call", ["ok", ""]), "`lease_request.tool.call[1]`"),
            (ask().budget("1.00 USD"), "`lease_request.cost.budget[0]`: an amount is"),
            (ask().budget("USD:1").budget("USD:2"), "once only"),
            (ask().grant("tool.call", (0..65).map(|number| format!("t{number}"))), "at most 64"),
            (ask().grant("tool.call", ["x".repeat(40_000)]), "32768 bytes"),
            ((0..33).fold(ask(), |ask, n| ask.grant(format!("x-vendor.v.n{n}"), ["*"])), "32 namespaces"),
        ] {
            let said = refused(asked);
            assert!(said.contains(named), "{said}");
        }
    }

    #[test]
    fn an_end_that_has_passed_is_for_the_runtime_to_judge() {
        assert!(LeaseRequest::default().expires_at(UnixTime::from_millis(0)).to_json(NOW).is_ok());
    }

    #[test]
    fn what_it_needs_follows_from_what_it_names() {
        let needs = |asked: LeaseRequest| {
            let (request, constraints) = asked.to_json(NOW).unwrap();
            needed_features(request.as_ref(), constraints.as_ref())
        };
        let ask = LeaseRequest::default;
        assert_eq!(needs(ask().grant("tool.call", ["*"])), Features::NONE);
        assert_eq!(needs(ask().budget("USD:1")), Features::NONE.with(Feature::CostBudget));
        assert_eq!(needs(ask().grant("model.use", ["m"])), Features::NONE.with(Feature::ModelUse));
        assert_eq!(needs(ask().expires_at(NOW)), Features::NONE.with(Feature::LeaseExpiresAt));
    }
}
