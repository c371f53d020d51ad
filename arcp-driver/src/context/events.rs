//! Events with options, each awaited to be emitted.

use std::future::IntoFuture;

use arcp_proto::error::ApiMisuse;
use arcp_proto::wire::RawJson;
use arcp_proto::wire::event::{Emission, LogLevel};
use serde::Serialize;

use super::{Emit, JobContext, Quantity, encode};

macro_rules! emitted {
    ($($event:ident),*) => {
        $(impl<'a> IntoFuture for $event<'a> {
            type Output = Result<(), ApiMisuse>;
            type IntoFuture = Emit<'a>;

            fn into_future(self) -> Emit<'a> {
                let job = self.job;
                job.emit_checked(self.emission())
            }
        })*
    };
}

emitted!(Progress, Log, Status, Metric, Artifact);

/// How far a job is; made by [`JobContext::progress`].
#[must_use = "nothing is emitted unless this is awaited"]
pub struct Progress<'a> {
    job: &'a JobContext,
    current: Quantity,
    total: Option<Quantity>,
    units: Option<&'a str>,
    message: Option<&'a str>,
}

impl<'a> Progress<'a> {
    pub(super) const fn new(job: &'a JobContext, current: Quantity) -> Self {
        Self { job, current, total: None, units: None, message: None }
    }

    /// Where the end is; at least the current number.
    pub fn of(mut self, total: impl Into<Quantity>) -> Self {
        self.total = Some(total.into());
        self
    }

    /// What is counted.
    pub const fn units(mut self, units: &'a str) -> Self {
        self.units = Some(units);
        self
    }

    /// A line for people.
    pub const fn message(mut self, message: &'a str) -> Self {
        self.message = Some(message);
        self
    }

    fn emission(self) -> Result<Emission, ApiMisuse> {
        match (&self.current, &self.total) {
            (Quantity::Count(current), None) => {
                Emission::progress_count(*current, None, self.units, self.message)
            }
            (Quantity::Count(current), Some(Quantity::Count(total))) => {
                Emission::progress_count(*current, Some(*total), self.units, self.message)
            }
            (current, total) => Emission::progress(
                current.to_f64(),
                total.as_ref().map(Quantity::to_f64),
                self.units,
                self.message,
            ),
        }
    }
}

/// A log line; made by [`JobContext::log`] and its short forms.
#[must_use = "nothing is emitted unless this is awaited"]
pub struct Log<'a> {
    job: &'a JobContext,
    level: LogLevel,
    message: &'a str,
    attributes: Result<Option<RawJson>, ApiMisuse>,
}

impl<'a> Log<'a> {
    pub(super) const fn new(job: &'a JobContext, level: LogLevel, message: &'a str) -> Self {
        Self { job, level, message, attributes: Ok(None) }
    }

    /// More about it, for machines. Must serialize to a JSON object.
    pub fn attributes<T: Serialize + ?Sized>(mut self, attributes: &T) -> Self {
        self.attributes = encode("attributes", attributes).map(Some);
        self
    }

    fn emission(self) -> Result<Emission, ApiMisuse> {
        Emission::log(self.level, self.message, self.attributes?.as_ref())
    }
}

/// The phase a job is in; made by [`JobContext::status`].
#[must_use = "nothing is emitted unless this is awaited"]
pub struct Status<'a> {
    job: &'a JobContext,
    phase: &'a str,
    message: Option<&'a str>,
    details: Result<Option<RawJson>, ApiMisuse>,
}

impl<'a> Status<'a> {
    pub(super) const fn new(job: &'a JobContext, phase: &'a str) -> Self {
        Self { job, phase, message: None, details: Ok(None) }
    }

    /// A line for people.
    pub const fn message(mut self, message: &'a str) -> Self {
        self.message = Some(message);
        self
    }

    /// More about it, for machines.
    pub fn details<T: Serialize + ?Sized>(mut self, details: &T) -> Self {
        self.details = encode("details", details).map(Some);
        self
    }

    fn emission(self) -> Result<Emission, ApiMisuse> {
        Emission::status(self.phase, self.message, self.details?.as_ref())
    }
}

/// A number with a name; made by [`JobContext::metric`].
#[must_use = "nothing is emitted unless this is awaited"]
pub struct Metric<'a> {
    job: &'a JobContext,
    name: &'a str,
    value: Quantity,
    unit: Option<&'a str>,
    dimensions: Vec<(&'a str, &'a str)>,
}

impl<'a> Metric<'a> {
    pub(super) const fn new(job: &'a JobContext, name: &'a str, value: Quantity) -> Self {
        Self { job, name, value, unit: None, dimensions: Vec::new() }
    }

    /// What is measured.
    pub const fn unit(mut self, unit: &'a str) -> Self {
        self.unit = Some(unit);
        self
    }

    /// One more dimension; each name once.
    pub fn dimension(mut self, name: &'a str, value: &'a str) -> Self {
        self.dimensions.push((name, value));
        self
    }

    fn emission(self) -> Result<Emission, ApiMisuse> {
        Emission::metric(self.name, &self.value.into_text("value")?, self.unit, &self.dimensions)
    }
}

/// Something stored elsewhere; made by [`JobContext::artifact`].
#[must_use = "nothing is emitted unless this is awaited"]
pub struct Artifact<'a> {
    job: &'a JobContext,
    uri: &'a str,
    content_type: &'a str,
    byte_size: Option<u64>,
    sha256: Option<&'a str>,
}

impl<'a> Artifact<'a> {
    pub(super) const fn new(job: &'a JobContext, uri: &'a str, content_type: &'a str) -> Self {
        Self { job, uri, content_type, byte_size: None, sha256: None }
    }

    /// Its size in bytes, at most 2⁵³−1.
    pub const fn byte_size(mut self, bytes: u64) -> Self {
        self.byte_size = Some(bytes);
        self
    }

    /// Its SHA-256 as 64 hex digits.
    pub const fn sha256(mut self, hash: &'a str) -> Self {
        self.sha256 = Some(hash);
        self
    }

    fn emission(self) -> Result<Emission, ApiMisuse> {
        Emission::artifact_ref(self.uri, self.content_type, self.byte_size, self.sha256)
    }
}
