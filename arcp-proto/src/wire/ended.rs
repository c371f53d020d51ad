//! The end of a job as a client reads it (protocol §3.4).

use alloc::string::ToString;

use crate::error::ErrorCode;
use crate::id::JobId;
use crate::wire::RawJson;
use crate::wire::error::WireFault;
use crate::wire::job::{Ended, FinalStatus};
use crate::wire::members::{advisory_time, any, opaque, tolerant_number, tolerant_string};
use crate::wire::read::{Fields, string_of};
use crate::wire::session::{ErrorPayload, write_time};
use crate::wire::write::ObjectWriter;

impl Ended {
    /// Reads `job.result` or `job.error`; `message_type` says which. A job must not stay open because its end is
    /// spelled oddly, so little can be wrong.
    ///
    /// # Errors
    /// `job_id` is no id or `code` no string.
    pub fn read(fields: &Fields<'_>, message_type: &str) -> Result<Self, WireFault> {
        let is_error = message_type == "job.error";
        let spelled = fields.present("final_status");
        let named = spelled.and_then(string_of);
        let known = named.as_deref().and_then(FinalStatus::parse);
        let mut error = ErrorPayload::read(fields)?;
        let status = match known {
            // An error is never a success, whatever it says.
            Some(FinalStatus::Success) if is_error => FinalStatus::of(error.known_code()),
            Some(status) => status,
            None if is_error => FinalStatus::of(error.known_code()),
            None if spelled.is_none() => FinalStatus::Success,
            None => FinalStatus::Error,
        };
        let raw_status = match known {
            Some(_) => None,
            None => named.map(Into::into).or_else(|| spelled.map(ToString::to_string)),
        };
        if !is_error && fields.present("code").is_none() {
            error.code = status.code().as_str().to_string();
        }
        let succeeded = status == FinalStatus::Success;
        let result_id = tolerant_string(fields, "result_id").filter(|_| succeeded);
        let result = match (succeeded, &result_id) {
            (false, _) => None,
            (true, Some(_)) => any(fields, "result").or_else(|| any(fields, "output")),
            (true, None) => opaque(fields, "result")
                .or_else(|| opaque(fields, "output"))
                .or_else(|| Some(RawJson::null())),
        };
        Ok(Self {
            job_id: error.job_id.clone(),
            pos: tolerant_number(fields, "pos"),
            status,
            raw_status,
            result,
            result_id,
            result_size: tolerant_number(fields, "result_size").filter(|_| succeeded),
            summary: tolerant_string(fields, "summary"),
            completed_at: advisory_time(fields, "completed_at"),
            error: (!succeeded).then_some(error),
        })
    }

    /// The `type` of the message that says this.
    #[must_use]
    pub const fn message_type(&self) -> &'static str {
        if self.error.is_some() { "job.error" } else { "job.result" }
    }

    /// Writes the members.
    pub fn write(&self, out: &mut ObjectWriter<'_>) {
        out.optional_str("job_id", self.job_id.as_ref().map(JobId::as_str))
            .optional_u64("pos", self.pos)
            .str("final_status", self.raw_status.as_deref().unwrap_or_else(|| self.status.as_str()));
        if let Some(result) = &self.result {
            out.raw("result", result.as_str());
        }
        out.optional_str("result_id", self.result_id.as_deref())
            .optional_u64("result_size", self.result_size);
        if let Some(error) = &self.error {
            error.write_error(out);
        }
        out.optional_str("summary", self.summary.as_deref());
        write_time(out, "completed_at", self.completed_at);
    }
}

impl FinalStatus {
    /// The code of an end with this status that names none.
    const fn code(self) -> ErrorCode {
        match self {
            Self::Cancelled => ErrorCode::Cancelled,
            Self::TimedOut => ErrorCode::Timeout,
            Self::Success | Self::Error => ErrorCode::InternalError,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(message_type: &str, text: &str) -> Ended {
        Ended::read(&Fields::of(text), message_type).unwrap()
    }

    #[test]
    fn an_error_is_never_a_success() {
        for (text, status) in [
            (r#"{"final_status":"success","code":"TIMEOUT"}"#, FinalStatus::TimedOut),
            (r#"{"final_status":"success","code":"INTERNAL_ERROR","result":1}"#, FinalStatus::Error),
            (r#"{"final_status":"cancelled","code":"TIMEOUT"}"#, FinalStatus::Cancelled),
        ] {
            let ended = read("job.error", text);
            assert_eq!((ended.status, ended.message_type()), (status, "job.error"), "{text}");
            assert!(ended.result.is_none(), "{text}");
        }
        let ended = read("job.result", r#"{"final_status":"success","result":1}"#);
        assert_eq!((ended.status, ended.message_type()), (FinalStatus::Success, "job.result"));
    }

    #[test]
    fn a_code_is_kept_where_one_is_named() {
        let code = |message_type, text| read(message_type, text).error.map(|error| error.code);
        let named = r#"{"final_status":"error","code":"BUDGET_EXHAUSTED"}"#;
        assert_eq!(code("job.result", named).as_deref(), Some("BUDGET_EXHAUSTED"));
        assert_eq!(code("job.error", named).as_deref(), Some("BUDGET_EXHAUSTED"));
        assert_eq!(code("job.result", r#"{"final_status":"timed_out"}"#).as_deref(), Some("TIMEOUT"));
    }
}
