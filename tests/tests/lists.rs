//! Jobs of a principal, found again from elsewhere, over real WebSockets, on both drivers.
#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

use arcp_driver::{AgentError, Client, EventBody, FinalStatus, JobContext, JobEntry, JobError, Runtime};
use arcp_tests::over_both_drivers;
use arcp_tests::stack::{Stack, url};
use serde_json::Value;

async fn echo(_: JobContext, input: Value) -> Result<Value, AgentError> {
    Ok(input)
}

/// Says each step it takes, then waits to be told to stop.
async fn wait(job: JobContext, steps: u64) -> Result<(), AgentError> {
    for step in 1..=steps {
        job.progress(step).of(steps).await?;
    }
    job.stopping().await;
    Ok(())
}

async fn serve<S: Stack>() -> (S::Serving, String) {
    let builder = Runtime::builder().bearer("token", "alice").bearer("other", "bob");
    let runtime = builder.agent("echo@1.0.0", echo).agent("wait", wait).build().unwrap();
    let (serving, address) = S::serve(runtime).await;
    (serving, url(address))
}

async fn connect<S: Stack>(url: &str, token: &str) -> Client {
    S::connect(url.to_owned()).token(token).await.unwrap()
}

fn ids(jobs: &[JobEntry]) -> Vec<&str> {
    jobs.iter().map(|job| job.job_id.as_str()).collect()
}

/// Somebody else of the same principal finds a running job in a list and goes on where the list left off.
async fn a_job_is_found_and_followed_from_elsewhere<S: Stack>() {
    let (serving, url) = serve::<S>().await;
    let submitter = connect::<S>(&url, "token").await;
    for number in 0..5 {
        assert_eq!(
            submitter.submit("echo").input(&number).await.unwrap().result::<u64>().await.unwrap(),
            number
        );
    }
    let mut job = submitter.submit("wait").input(&3).await.unwrap();
    for _ in 0..3 {
        job.next().await.unwrap().unwrap();
    }

    let client = connect::<S>(&url, "token").await;
    let all = client.jobs().page_size(2).all().await.unwrap();
    assert_eq!(all.len(), 6);
    assert!(all.windows(2).all(|pair| pair[0].job_id > pair[1].job_id), "newest first, none twice: {all:?}");
    let running = client.jobs().status("running").all().await.unwrap();
    assert_eq!(ids(&running), [job.id().as_str()]);
    assert_eq!(ids(&client.jobs().agent("wait").all().await.unwrap()), [job.id().as_str()]);
    let finished = client.jobs().status("success").agent("echo@1.0.0").page_size(4).all().await.unwrap();
    assert_eq!(ids(&finished), ids(&all)[1..]);

    // Three events were received, so three are stored; the watch begins behind the first two.
    let [entry] = &running[..] else { panic!("{running:?}") };
    let last = entry.last_event_seq.unwrap();
    let mut watch = client.subscribe(&entry.job_id).history().after_origin(last - 1).await.unwrap();
    let third = watch.next().await.unwrap().unwrap();
    assert!(matches!(third.body(), Ok(EventBody::Progress { current, .. }) if current.to_u64() == Some(3)));
    job.cancel().reason("found").await.unwrap();
    let end = watch.output().await;
    assert!(matches!(end, Err(JobError::Failed { status: FinalStatus::Cancelled, .. })), "{end:?}");
    assert_eq!(client.jobs().next().await.unwrap().unwrap().status.as_deref(), Some("cancelled"));

    let stranger = connect::<S>(&url, "other").await;
    assert!(stranger.jobs().all().await.unwrap().is_empty(), "another principal sees nothing of it");
    S::shut_down(serving).await;
}

/// Jobs that were there from the first page to the last come once each, whatever happens between the pages.
async fn pages_are_stable_while_jobs_come_and_end<S: Stack>() {
    let (serving, url) = serve::<S>().await;
    let client = connect::<S>(&url, "token").await;
    let mut waiting = Vec::new();
    for _ in 0..9 {
        waiting.push(client.submit("wait").input(&0).await.unwrap());
    }
    let expected: Vec<String> = waiting.iter().rev().map(|job| job.id().as_str().to_owned()).collect();
    let mut listed = Vec::new();
    let mut jobs = client.jobs().page_size(2);
    while let Some(job) = jobs.next().await {
        listed.push(job.unwrap().job_id.as_str().to_owned());
        client.submit("echo").await.unwrap().result::<Value>().await.unwrap();
        if let Some(mut job) = waiting.pop() {
            job.cancel().await.unwrap();
            assert!(job.output().await.is_err());
        }
    }
    assert_eq!(listed, expected);
    S::shut_down(serving).await;
}

over_both_drivers!(a_job_is_found_and_followed_from_elsewhere, pages_are_stable_while_jobs_come_and_end);
