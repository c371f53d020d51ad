//! Agents that try out their lease.

use std::collections::BTreeMap;
use std::convert::Infallible;

use arcp_driver::{AgentError, Capability, Denial, ErrorCode, JobContext, OperationError};
use arcp_proto::lease::parse_budget;
use serde::{Deserialize, Serialize};

use super::{limit, stopped};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Tools {
    calls: Vec<String>,
    /// Of each call, as `USD:0.10`.
    cost: Option<String>,
}

/// Calls tools that do nothing, goes on where the lease forbids one, and returns how many calls were permitted.
pub(super) async fn tools(job: JobContext, Tools { calls, cost }: Tools) -> Result<u64, AgentError> {
    limit("calls", u64::try_from(calls.len()).unwrap_or(u64::MAX), 1_000)?;
    if let Some(cost) = &cost {
        parse_budget(cost).map_err(|refusal| AgentError::invalid(format!("`cost`: {refusal}")))?;
    }
    let mut permitted = 0;
    for tool in &calls {
        match job.tool(tool, &BTreeMap::<(), ()>::new(), async || Ok::<_, Infallible>("done")).await {
            Ok(_) => permitted += 1,
            Err(OperationError::Denied(Denial::Stopped)) => return Err(stopped()),
            Err(OperationError::Denied(_)) => continue,
            Err(error) => return Err(error.into()),
        }
        if let Some(cost) = &cost {
            job.cost("cost.tool", cost).await?;
        }
    }
    Ok(permitted)
}

/// What the lease says to one target.
#[derive(Serialize)]
pub(super) struct Answer {
    capability: String,
    target: String,
    permitted: bool,
    /// The spelling that was judged, and that would have to be used.
    canonical: Option<String>,
    code: Option<&'static str>,
    why: Option<String>,
}

/// Asks the lease for each target of each capability, and does nothing with those that are permitted.
pub(super) async fn check(
    job: JobContext,
    questions: BTreeMap<String, Vec<String>>,
) -> Result<Vec<Answer>, AgentError> {
    let count = questions.values().map(Vec::len).fold(0_usize, usize::saturating_add);
    limit("targets", u64::try_from(count).unwrap_or(u64::MAX), 1_000)?;
    let mut answers = Vec::with_capacity(count);
    for (name, targets) in questions {
        let capability = Capability::parse(&name).ok_or_else(|| {
            AgentError::invalid(
                "a capability is fs.read, fs.write, net.fetch, tool.call, agent.delegate, model.use or \
                 x-vendor.<vendor>.<name>",
            )
        })?;
        for target in targets {
            let asked = job.perform(capability.clone(), &target, async |canonical| {
                Ok::<_, Infallible>(canonical.into_string())
            });
            let (canonical, refused) = match asked.await {
                Ok(canonical) => (Some(canonical), None),
                Err(OperationError::Denied(Denial::Stopped)) => return Err(stopped()),
                Err(OperationError::Denied(denial)) => (None, Some(OperationError::Denied(denial))),
                Err(error) => return Err(error.into()),
            };
            answers.push(Answer {
                capability: name.clone(),
                target,
                permitted: refused.is_none(),
                canonical,
                code: refused.as_ref().map(OperationError::code).map(ErrorCode::as_str),
                why: refused.map(|refused| refused.to_string()),
            });
        }
    }
    Ok(answers)
}
