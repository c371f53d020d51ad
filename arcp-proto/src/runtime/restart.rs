//! Jobs that are run again after the process that ran them has ended: what their agents keep, and how they go on.
//!
//! An agent that may be run again keeps its own state in checkpoints. After a restart it is started with the last one, under
//! the same job id; what it says then continues the log and every stream. What it had said after the checkpoint is there as
//! well, and it is told how much that is.

use alloc::boxed::Box;

use crate::chunk::ChunkWriter;
use crate::error::ApiMisuse;
use crate::runtime::agent::{Checkpoint, MAX_CHECKPOINT_BYTES, Restart, Streamed};
use crate::runtime::job::Job;
use crate::runtime::rows::{ChunkRow, JobRow};
use crate::runtime::store::Record;
use crate::runtime::{Effect, JobHandle, RuntimeEndpoint};
use crate::wire::RawJson;

impl RuntimeEndpoint {
    /// An agent's own state. Of a job that is never run again nothing is kept, nor while a result is collected for a submitter
    /// that reads no chunks: what is collected is in memory only, so the agent has to begin before it.
    pub(super) fn checkpoint(&mut self, handle: JobHandle, state: RawJson) -> Result<(), ApiMisuse> {
        let job = self.jobs.get(handle).ok_or(ApiMisuse::UnknownHandle)?;
        if !job.agent_runs {
            return Err(ApiMisuse::JobEnded);
        }
        let (bytes, limit) = (state.len(), MAX_CHECKPOINT_BYTES);
        if bytes > limit {
            return Err(ApiMisuse::TooLarge { bytes, limit });
        }
        if job.restartable && job.collected.is_none() {
            let record = Record::Checkpoint { job: job.key, state };
            self.log.append(record, 64 + bytes as u64);
        }
        Ok(())
    }

    /// What a recovered job has done before, if it is to be run again.
    pub(super) fn restart_of(&self, row: &JobRow) -> Option<Box<Restart>> {
        let record = &row.record;
        let may_go_on = record.restartable
            && record.parent.is_none()
            && self.config.agents.is_restartable(&record.agent)
            && row.restarts < self.config.limits.restarts;
        let was_running = record.started && row.end.is_none() && row.stopping.is_none();
        (may_go_on && was_running).then(|| {
            let checkpoint = row.checkpoint.clone();
            Box::new(Restart {
                checkpoint: checkpoint.map(|row| Checkpoint { state: row.state, position: row.position }),
                position: row.positions.last(),
                streamed: row.chunks.map(|chunks| Streamed {
                    chunks: chunks.next_seq,
                    bytes: chunks.decoded_bytes,
                    is_complete: chunks.is_complete,
                }),
            })
        })
    }

    /// Starts a job again once that is recorded, so that one that brings its process down does not do so for ever. One
    /// that has lost its credential waits for another.
    pub(super) fn run_again(&mut self, handle: JobHandle) {
        let Some(job) = self.jobs.get(handle).filter(|job| !job.lost_credential) else { return };
        let position = self.log.append(Record::Started { job: job.key }, 64);
        self.run_after(position, Effect::Start(handle));
    }
}

impl Job {
    /// Goes on with a streamed result.
    pub(super) fn resume_chunks(&mut self, chunks: Option<ChunkRow>, most: u64) {
        let Some(row) = chunks else { return };
        let so_far = (row.next_seq, row.decoded_bytes);
        self.chunks = Some(ChunkWriter::resume(row.result, most, row.encoding, so_far, row.is_complete));
        self.streams_chunks = true;
    }
}
