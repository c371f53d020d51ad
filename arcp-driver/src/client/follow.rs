//! The jobs a session follows, and who in the application listens to each.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex};

use arcp_proto::client::{ClosedReason, JobCredentials, RequestId};
use arcp_proto::id::JobId;
use arcp_proto::wire::credential::Credential;
use arcp_proto::wire::event::EventPayload;
use arcp_proto::wire::job::{Ended, FinalStatus};

use crate::queue::{Receiver, Sender, bounded, lock};

/// One handle's part in a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct FollowerId(u64);

/// What a handle hears of its job.
#[derive(Debug, Clone)]
pub(crate) enum News {
    /// An event; without one that could be read, if it could not.
    Event(Credit, Option<EventPayload>),
    Ended(Credit, Box<Ended>),
    /// The job had ended before, and nothing of it is replayed.
    WasOver(FinalStatus),
    /// The runtime had forgotten the job, so it was begun again under this id.
    Restarted(JobId),
    /// Events of the session, perhaps of this job, are lost.
    Lost {
        from: u64,
        to: u64,
    },
    /// Events of the job are lost.
    Missing {
        from: u64,
        to: u64,
    },
    Closed(Arc<ClosedReason>),
}

/// The number to give back once the application has an event. Shared where several handles follow one job: the last of
/// them gives it back.
#[derive(Debug, Clone)]
pub(crate) struct Credit {
    number: Option<u64>,
    shared: Option<Arc<()>>,
}

impl Credit {
    /// The number, if it falls to this handle to give it back.
    fn settle(self) -> Option<u64> {
        match self.shared {
            Some(shared) => Arc::into_inner(shared).and(self.number),
            None => self.number,
        }
    }
}

/// Numbers the application has given back, as runs of neighbours.
#[derive(Debug, Default)]
pub(crate) struct Taken {
    runs: Vec<(u64, u64)>,
    count: usize,
}

impl Taken {
    pub(crate) fn add(&mut self, credit: Credit) {
        let Some(number) = credit.settle() else { return };
        self.count += 1;
        match self.runs.last_mut() {
            Some((_, last)) if *last + 1 == number => *last = number,
            _ => self.runs.push((number, number)),
        }
    }

    pub(crate) fn add_all(&mut self, news: impl IntoIterator<Item = News>) {
        for news in news {
            if let News::Event(credit, _) | News::Ended(credit, _) = news {
                self.add(credit);
            }
        }
    }

    pub(crate) const fn len(&self) -> usize {
        self.count
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The numbers, in the order in which they were taken.
    pub(super) fn numbers(&self) -> impl Iterator<Item = u64> {
        self.runs.iter().flat_map(|(first, last)| *first..=*last)
    }
}

/// One handle's queue. It holds whatever comes: the core reads no more than what its limits of untaken events allow.
struct Follower {
    id: FollowerId,
    queue: Sender<News>,
    /// Not yet in the queue; moved there once per turn.
    fresh: VecDeque<News>,
}

/// Everybody who follows one job.
struct Job {
    followers: Vec<Follower>,
    /// The submits they came from; none of those who subscribed.
    requests: Vec<RequestId>,
    credentials: Known,
    /// It comes with the job it was delegated for.
    is_child: bool,
    /// The last position that followers were told.
    pos: u64,
    has_fresh: bool,
}

/// All followed jobs.
#[derive(Default)]
pub(super) struct Jobs {
    jobs: HashMap<JobId, Job>,
    /// Those that something fresh is for.
    fresh: Vec<JobId>,
    /// What nobody can take any more.
    orphans: Taken,
    next: u64,
}

/// What a handle is made of.
pub(crate) struct Feed {
    pub(crate) id: FollowerId,
    pub(crate) queue: Receiver<News>,
    pub(crate) credentials: Known,
}

/// The credentials of a job, seen by the handles on it at any time.
pub(crate) type Known = Arc<Mutex<JobCredentials>>;

/// Nobody is left who follows a job.
pub(super) enum Unfollowed {
    /// Its frames come as long as this session lasts.
    Own,
    Subscribed,
}

impl Jobs {
    /// Adds a follower. `request` is the submit it comes from.
    pub(super) fn follow(&mut self, job: &JobId, request: Option<RequestId>) -> Feed {
        let (sender, queue) = bounded(usize::MAX);
        let id = FollowerId(self.next);
        self.next += 1;
        let follower = Follower { id, queue: sender, fresh: VecDeque::new() };
        let job = self.jobs.entry(job.clone()).or_insert_with(|| Job {
            followers: Vec::new(),
            requests: Vec::new(),
            credentials: Known::default(),
            is_child: false,
            pos: 0,
            has_fresh: false,
        });
        let credentials = job.credentials.clone();
        job.requests.extend(request);
        job.followers.push(follower);
        Feed { id, queue, credentials }
    }

    /// Adds a follower of a child.
    pub(super) fn follow_child(&mut self, id: &JobId) -> Feed {
        let feed = self.follow(id, None);
        if let Some(job) = self.jobs.get_mut(id) {
            job.is_child = true;
        }
        feed
    }

    /// Adds a follower that asks for what lies behind this position. Of a job that is followed already nothing is replayed
    /// (D-14): it is told what it misses.
    pub(super) fn follow_from(&mut self, id: &JobId, pos: u64) -> Feed {
        let last = self.jobs.get(id).map_or(0, |job| job.pos);
        let feed = self.follow(id, None);
        if pos < last
            && let Some(follower) = self.jobs.get_mut(id).and_then(|job| job.followers.last_mut())
        {
            let _ = follower.queue.force(News::Missing { from: pos + 1, to: last });
        }
        feed
    }

    /// A job that came from this submit goes on as `new`. `false` if there is none. Of several submits of the job the
    /// first one told moves it for all.
    pub(super) fn restart(&mut self, request: RequestId, new: &JobId) -> bool {
        let old = self.jobs.iter().find(|(_, job)| job.requests.contains(&request)).map(|(id, _)| id.clone());
        if old.as_ref() == Some(new) {
            return true;
        }
        let Some(mut job) = old.and_then(|old| self.jobs.remove(&old)) else { return false };
        (job.has_fresh, job.pos) = (false, 0);
        for follower in &mut job.followers {
            follower.fresh.push_back(News::Restarted(new.clone()));
        }
        match self.jobs.get_mut(new) {
            // Another submit with the key was answered first, and these miss what that one has heard.
            Some(there) => {
                if there.pos > 0 {
                    for follower in &mut job.followers {
                        follower.fresh.push_back(News::Missing { from: 1, to: there.pos });
                    }
                }
                there.followers.append(&mut job.followers);
                there.requests.append(&mut job.requests);
            }
            None => drop(self.jobs.insert(new.clone(), job)),
        }
        if let Some(job) = self.jobs.get_mut(new)
            && !job.has_fresh
        {
            job.has_fresh = true;
            self.fresh.push(new.clone());
        }
        true
    }

    /// A follower leaves. Says so, and of which job, if it was the last one.
    pub(super) fn unfollow(&mut self, id: &JobId, follower: FollowerId) -> Option<(JobId, Unfollowed)> {
        let is_of = |job: &Job| job.followers.iter().any(|known| known.id == follower);
        let id = match self.jobs.get(id) {
            Some(job) if is_of(job) => id.clone(),
            // Over, or begun again under an id that the handle had not heard of.
            _ => self.jobs.iter().find(|(_, job)| is_of(job)).map(|(id, _)| id.clone())?,
        };
        let job = self.jobs.get_mut(&id)?;
        job.followers.retain(|known| known.id != follower);
        if !job.followers.is_empty() {
            return None;
        }
        let is_own = job.is_child || !job.requests.is_empty();
        let unfollowed = if is_own { Unfollowed::Own } else { Unfollowed::Subscribed };
        self.jobs.remove(&id);
        Some((id, unfollowed))
    }

    /// The runtime has told the credentials of a job.
    pub(super) fn give(&self, job: &JobId, credentials: Vec<Credential>) {
        if let Some(job) = self.jobs.get(job) {
            *lock(&job.credentials) = JobCredentials::new(credentials);
        }
    }

    /// An event for whoever follows the job. `false`, if nobody does.
    pub(super) fn event(&mut self, job: &JobId, number: Option<u64>, event: Option<EventPayload>) -> bool {
        if let (Some(job), Some(event)) =
            (self.jobs.get(job), event.as_ref().filter(|event| event.is_rotation()))
        {
            lock(&job.credentials).hear(event);
        }
        if let (Some(pos), Some(job)) = (event.as_ref().and_then(|event| event.pos), self.jobs.get_mut(job)) {
            job.pos = pos;
        }
        self.tell_numbered(job, number, |credit| News::Event(credit, event))
    }

    /// The end of a job. `false`, if nobody follows it.
    pub(super) fn ended(&mut self, job: &JobId, number: Option<u64>, ended: Box<Ended>) -> bool {
        let told = self.tell_numbered(job, number, |credit| News::Ended(credit, ended));
        self.finish(job);
        told
    }

    /// A job that was over before it was subscribed to.
    pub(super) fn was_over(&mut self, job: &JobId, status: FinalStatus) {
        self.tell(job, News::WasOver(status));
        self.finish(job);
    }

    /// Something that concerns all jobs.
    pub(super) fn tell_all(&mut self, news: &News) {
        let mut ids: Vec<JobId> = self.jobs.keys().cloned().collect();
        // Not in the order of hashes, which differs from run to run.
        ids.sort();
        for id in ids {
            self.tell(&id, news.clone());
        }
    }

    fn tell_numbered(&mut self, id: &JobId, number: Option<u64>, news: impl FnOnce(Credit) -> News) -> bool {
        let Some(job) = self.jobs.get_mut(id) else { return false };
        let shared = (job.followers.len() > 1).then(|| Arc::new(()));
        Self::put(&mut self.fresh, id, job, news(Credit { number, shared }));
        true
    }

    pub(super) fn tell(&mut self, id: &JobId, news: News) {
        if let Some(job) = self.jobs.get_mut(id) {
            Self::put(&mut self.fresh, id, job, news);
        }
    }

    fn put(fresh: &mut Vec<JobId>, id: &JobId, job: &mut Job, news: News) {
        if !job.has_fresh {
            job.has_fresh = true;
            fresh.push(id.clone());
        }
        let Some((last, others)) = job.followers.split_last_mut() else { return };
        for follower in others {
            follower.fresh.push_back(news.clone());
        }
        last.fresh.push_back(news);
    }

    /// Nothing more comes of a job.
    fn finish(&mut self, id: &JobId) {
        if let Some(mut job) = self.jobs.remove(id) {
            lock(&job.credentials).forget();
            job.hand_out(&mut self.orphans);
        }
    }

    /// Moves what is fresh to the handles, one lock for each. Returns the numbers of what nobody can take any more.
    pub(super) fn hand_out(&mut self) -> Taken {
        for id in self.fresh.drain(..) {
            if let Some(job) = self.jobs.get_mut(&id) {
                job.hand_out(&mut self.orphans);
            }
        }
        std::mem::take(&mut self.orphans)
    }
}

impl Job {
    fn hand_out(&mut self, orphans: &mut Taken) {
        self.has_fresh = false;
        for follower in &mut self.followers {
            if !follower.fresh.is_empty() && follower.queue.send_all(&mut follower.fresh, 0).is_err() {
                orphans.add_all(follower.fresh.drain(..));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(name: &str) -> JobId {
        JobId::new(name).unwrap()
    }

    fn hear(feed: &Feed) -> Vec<News> {
        let mut news = VecDeque::new();
        let cx = std::task::Context::from_waker(std::task::Waker::noop());
        let _ = feed.queue.poll_take(&cx, &mut news);
        news.into()
    }

    fn numbers(taken: &Taken) -> Vec<u64> {
        taken.numbers().collect()
    }

    fn event(pos: Option<u64>) -> Option<EventPayload> {
        let body = arcp_proto::wire::RawJson::empty_object();
        Some(EventPayload { kind: arcp_proto::wire::event::EventKind::Log, ts: None, pos, body })
    }

    #[test]
    fn neighbours_are_given_back_as_runs() {
        let mut taken = Taken::default();
        for number in [1, 2, 3, 7, 8, 5] {
            taken.add(Credit { number: Some(number), shared: None });
        }
        taken.add(Credit { number: None, shared: None });
        assert_eq!(taken.runs, [(1, 3), (7, 8), (5, 5)]);
        assert_eq!(numbers(&taken), [1, 2, 3, 7, 8, 5]);
        assert_eq!(taken.len(), 6);
    }

    #[test]
    fn the_last_of_several_handles_gives_a_number_back() {
        let mut jobs = Jobs::default();
        let (first, second) = (jobs.follow(&job("a"), None), jobs.follow(&job("a"), None));
        assert!(jobs.event(&job("a"), Some(1), None));
        assert!(jobs.hand_out().is_empty());
        let mut taken = Taken::default();
        taken.add_all(hear(&first));
        assert!(taken.is_empty());
        taken.add_all(hear(&second));
        assert_eq!(numbers(&taken), [1]);
    }

    #[test]
    fn what_comes_too_late_for_a_handle_is_given_back() {
        let mut jobs = Jobs::default();
        let feed = jobs.follow(&job("a"), None);
        assert!(jobs.event(&job("a"), Some(1), None));
        let id = feed.id;
        drop(feed);
        assert_eq!(numbers(&jobs.hand_out()), [1]);
        assert!(matches!(jobs.unfollow(&job("a"), id), Some((_, Unfollowed::Subscribed))));
        assert!(!jobs.event(&job("a"), Some(2), None));
    }

    #[test]
    fn who_comes_late_to_a_job_that_is_followed_is_told_what_it_misses() {
        let mut jobs = Jobs::default();
        let first = jobs.follow_from(&job("a"), 0);
        for pos in 1..=4 {
            assert!(jobs.event(&job("a"), Some(pos), event(Some(pos))));
        }
        let late = jobs.follow_from(&job("a"), 1);
        let live = jobs.follow(&job("a"), None);
        assert!(jobs.event(&job("a"), Some(5), event(Some(5))));
        jobs.hand_out();
        assert_eq!(hear(&first).len(), 5);
        assert!(matches!(&hear(&late)[..], [News::Missing { from: 2, to: 4 }, News::Event(..)]));
        assert!(matches!(&hear(&live)[..], [News::Event(..)]));
        assert!(hear(&jobs.follow_from(&job("a"), 5)).is_empty());
    }

    /// What an endpoint calls its first submits.
    fn submits<const N: usize>() -> [RequestId; N] {
        use arcp_proto::client::{ClientEndpoint, Submission};
        use arcp_proto::time::{Instant, Now, UnixTime};
        let now = Now { mono: Instant::from_micros(0), unix: UnixTime::from_millis(0) };
        let config = arcp_proto::config::ClientConfig::new("token");
        let entropy = Box::new(crate::entropy::OsEntropy::new().unwrap());
        let mut client = ClientEndpoint::new(config, entropy, now);
        std::array::from_fn(|_| {
            let input = arcp_proto::wire::RawJson::empty_object();
            client.submit(now, Submission::new("a", input)).unwrap()
        })
    }

    #[test]
    fn a_job_that_begins_again_keeps_its_followers() {
        let [first, second, other] = submits();
        let mut jobs = Jobs::default();
        let feeds = [jobs.follow(&job("a"), Some(first)), jobs.follow(&job("a"), Some(second))];
        assert!(jobs.restart(first, &job("b")) && jobs.restart(second, &job("b")));
        assert!(!jobs.restart(other, &job("b")));
        assert!(jobs.event(&job("b"), Some(2), None) && !jobs.event(&job("a"), Some(3), None));
        jobs.hand_out();
        for feed in &feeds {
            assert!(matches!(&hear(feed)[..], [News::Restarted(new), News::Event(..)] if *new == job("b")));
        }
    }

    #[test]
    fn a_job_that_begins_again_joins_those_who_follow_it_already() {
        let [first, second] = submits();
        let mut jobs = Jobs::default();
        let (old, new) = (jobs.follow(&job("a"), Some(first)), jobs.follow(&job("b"), Some(second)));
        assert!(jobs.event(&job("b"), Some(1), event(Some(1))));
        assert!(jobs.restart(first, &job("b")));
        assert!(jobs.event(&job("b"), Some(2), event(Some(2))));
        jobs.hand_out();
        assert!(matches!(
            &hear(&old)[..],
            [News::Restarted(_), News::Missing { from: 1, to: 1 }, News::Event(..)]
        ));
        assert!(matches!(&hear(&new)[..], [News::Event(..), News::Event(..)]));
    }
}
