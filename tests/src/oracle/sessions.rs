//! Sessions: who may open and continue them, with which token, from where (SES-1 to SES-4, SES-8, SES-11, SEQ-9).

use super::frames::{features_of, token_hash};
use super::read::{Envelope, Reply, hash};
use super::requests::{Asked, Request};
use super::{Oracle, Tokens, read};

impl Oracle {
    /// The runtime gives the store a session that was there before.
    pub(super) fn session_changes(&mut self, session: usize, tokens: Tokens) {
        let before = self.sessions[session].live;
        if tokens.is_dead {
            if !before.is_dead {
                self.judge_death(session);
            }
            self.sessions[session].live.is_dead = true;
            return;
        }
        if tokens.epoch == 1 && tokens.current != before.current {
            self.fail("SES-8", format_args!("the id of a session is given to another"));
            return;
        }
        if before.is_dead {
            self.fail("SES-2", format_args!("a dead session is opened again"));
        }
        if tokens.epoch == before.epoch {
            // The newest token was confirmed.
            self.sessions[session].live.confirmed |= tokens.confirmed;
            if tokens.confirmed {
                self.sessions[session].live.previous = None;
            }
            return;
        }
        if tokens.epoch != before.epoch + 1 {
            self.fail("SES-4", format_args!("epoch {} follows {}", tokens.epoch, before.epoch));
        }
        let may = |token: &[u8; 32]| {
            *token == before.current || !before.confirmed && before.previous.as_ref() == Some(token)
        };
        if !tokens.previous.as_ref().is_some_and(may) {
            self.fail("SES-1", format_args!("a session is continued with a token that is no longer good"));
        } else if tokens.current == before.current || Some(tokens.current) == before.previous {
            self.fail("SES-1", format_args!("a session is given the same token again"));
        }
        let state = &mut self.sessions[session];
        state.live = Tokens { confirmed: false, ..tokens };
        // The connection before is fenced from here on.
        state.link = None;
    }

    fn judge_death(&mut self, session: usize) {
        let state = &self.sessions[session];
        let now = self.now.mono.as_micros();
        let window_over =
            state.detached_at.is_some_and(|since| now.saturating_sub(since) >= self.config.window);
        // A log that is over its limit loses whole blocks, which in these worlds may be all of it.
        let overrun = state.given > state.floor + self.config.replay_events;
        if !window_over && !overrun && !self.lost_place(session) && !self.was_full {
            self.early_deaths.push((session, self.appends.len() as u64));
        }
    }

    fn lost_place(&self, session: usize) -> bool {
        let state = &self.sessions[session];
        let is_lost = |job: usize| self.jobs[job].let_go > 0 || self.jobs[job].is_forgotten;
        state.lost_history || self.wall_jumped || state.streams.iter().any(|stream| is_lost(stream.job))
    }

    /// A runtime tells its store of the sessions that cannot go on without something before it lets go of that.
    pub(super) fn judge_early_deaths(&mut self) {
        if self.early_deaths.is_empty() {
            return;
        }
        for (session, append) in std::mem::take(&mut self.early_deaths) {
            if self.lost_place(session) {
                continue;
            }
            if self.is_committed(append) {
                self.fail("SES-2", format_args!("a session dies before its window is over"));
            } else {
                self.early_deaths.push((session, append));
            }
        }
    }

    pub(super) fn welcome(&mut self, link: usize, reply: &Reply<'_>, envelope: &Envelope<'_>) {
        let id = reply.session_id.as_ref().or(envelope.session_id.as_ref());
        let key = id.map_or(0, |id| read::ulid(id.as_str()));
        let Some(session) = self.session(key) else {
            self.fail("SEQ-6", format_args!("a welcome to a session that is not stored"));
            return;
        };
        if self.connections[link].session.is_some() {
            self.fail("SES-4", format_args!("a second welcome on one connection"));
            return;
        }
        if !self.is_committed(self.sessions[session].append) {
            self.fail("SEQ-6", format_args!("a welcome before its session is committed"));
            return;
        }
        let token = reply.resume_token.as_ref().map_or("", read::Text::as_str).to_owned();
        let stored = self.sessions[session].live.current;
        if token.as_bytes().windows(8).any(|part| stored.windows(8).any(|kept| kept == part)) {
            self.fail("SES-5", format_args!("what is stored of a token shows a part of it"));
            return;
        }
        if token_hash(&token) != self.sessions[session].live.current {
            self.fail("SES-2", format_args!("a welcome with another token than the stored one"));
            return;
        }
        let names = reply.capabilities.as_ref().and_then(|capabilities| capabilities.features.as_deref());
        let announced = features_of(names.unwrap_or_default());
        let is_tainted = self.is_meddled;
        let hello = self.connections[link].hello.clone().unwrap_or_default();
        if !is_tainted {
            self.judge_welcome(link, session, &hello, announced);
        }
        let is_unsure = self.connections[link].is_tainted && hello.token.is_some();
        self.connections[link].is_unsure = is_unsure;
        let state = &mut self.sessions[session];
        let base = match (hello.token, hello.last) {
            (None, _) => 0,
            (Some(_), Some(last)) if !is_unsure => last,
            (Some(_), Some(_)) => state.acked,
            (Some(_), None) => state.acked,
        };
        let sent = state.sent;
        state.acked = state.acked.max(if hello.token.is_some() { base } else { 0 });
        state.link = Some(link);
        state.detached_at = None;
        state.welcomed = true;
        state.token_text = token;
        state.is_tainted |= is_tainted;
        self.skip(session, sent, base);
        self.connections[link].session = Some(session);
        self.connections[link].last = base;
        // Silence counts from the welcome.
        self.connections[link].heard_at = self.now.mono.as_micros();
        // Answers to submits that were made on earlier connections come here.
        for request in self.requests.iter_mut().filter(|request| request.session == Some(session)) {
            request.link = link;
        }
    }

    /// Somebody claims to have numbers that were never sent, which it may: streams go on behind them.
    pub(super) fn skip(&mut self, session: usize, sent: u64, base: u64) {
        for seq in sent + 1..=base {
            let index = usize::try_from(seq - 1).unwrap_or(usize::MAX);
            let Some(entry) = self.sessions[session].log.get(index).copied() else { return };
            if entry.pos > 0 {
                self.follow(session, entry.job, seq, entry.pos);
            }
            self.sessions[session].sent = seq;
        }
    }

    fn judge_welcome(&mut self, link: usize, session: usize, hello: &super::Hello, announced: u16) {
        // Where others can read, nobody is offered credentials.
        let shown = if self.connections[link].is_private { u16::MAX } else { !(1 << 7) };
        let state = &self.sessions[session];
        if state.principal != hello.principal {
            let property = if hello.token.is_some() { "SES-3" } else { "SES-6" };
            let owner = state.principal.clone();
            self.fail(property, format_args!("{} is welcomed to {owner}'s session", hello.principal));
            return;
        }
        let Some(token) = hello.token else {
            if state.welcomed || state.key == hello.session {
                self.fail("SES-8", format_args!("a fresh hello opens a session that was there"));
            } else if announced != hello.features & self.config.features & shown {
                self.fail("SES-7", format_args!("features {announced:b} for {:b}", hello.features));
            }
            return;
        };
        let (max, floor) = (state.log.len() as u64, state.floor);
        let last = hello.last.unwrap_or(state.acked);
        if Some(token) != state.live.previous {
            self.fail(
                "SES-1",
                format_args!("a session is continued on a connection that did not show its token"),
            );
        } else if hello.session != 0 && hello.session != state.key {
            self.fail(
                "SES-3",
                format_args!("a token continues another session than the one it was shown for"),
            );
        } else if hello.features & state.features != state.features || announced != state.features & shown {
            self.fail("SES-3", format_args!("a session goes on with other features"));
        } else if last > max {
            self.fail("SEQ-9", format_args!("a resume behind number {last} of {max} is accepted"));
        } else if last < floor {
            // What it asks for cannot be delivered.
            self.fail(
                "SEQ-8",
                format_args!("a resume behind number {last} below the floor {floor} is accepted"),
            );
        }
    }

    /// A `session.error`: the answer to a request, to a hello, or the announcement of an end.
    pub(super) fn session_error(&mut self, link: usize, reply: &Reply<'_>) {
        let code = reply.code.as_ref().map(read::Text::as_str).unwrap_or_default();
        if let Some(request) = reply.request_id.as_ref() {
            let id = hash(request.as_str().as_bytes());
            self.refused(link, id, code, reply);
            if self.connections[link].session.is_some() {
                return;
            }
        }
        match self.connections[link].session {
            None => self.hello_refused(link, code, reply),
            Some(session) => {
                if code == "HEARTBEAT_LOST" {
                    self.judge_silence(link);
                }
                let says = |text: &str| reply.details.is_some_and(|details| details.get().contains(text));
                self.sessions[session].lost_history |= says("\"history\"");
                let is_open = |request: &Request| {
                    request.link == link
                        && matches!(request.asked, Asked::Unknown)
                        && request.is_read
                        && !request.is_over
                };
                if code == "INVALID_REQUEST" && !self.is_meddled && self.requests.iter().any(is_open) {
                    self.fail("WIR-2", format_args!("a connection ends for a type that is not known"));
                    return;
                }
                let replaced = self.sessions[session].link != Some(link);
                if replaced
                    && !says("taken_over")
                    && !self.sessions[session].live.is_dead
                    && code != "INVALID_REQUEST"
                {
                    self.fail("SES-4", format_args!("{code} on a connection that was replaced"));
                }
            }
        }
    }

    fn judge_silence(&mut self, link: usize) {
        let silence = self.now.mono.as_micros().saturating_sub(self.connections[link].heard_at);
        if silence < 2 * self.config.heartbeat {
            self.fail("SES-11", format_args!("a connection is given up after {silence} µs of silence"));
        }
    }

    fn hello_refused(&mut self, link: usize, code: &str, reply: &Reply<'_>) {
        let connection = &self.connections[link];
        let Some(hello) = connection.hello.clone().filter(|_| connection.hello_read && !self.is_meddled)
        else {
            return;
        };
        let Some(token) = hello.token else { return };
        let is_resume = reply.details.is_some_and(|details| details.get().contains("\"resume\""));
        if self.is_behind() {
            return;
        }
        let named = self.sessions.iter().rposition(|session| {
            let live = &session.live;
            session.stored.is_some()
                && (live.current == token || !live.confirmed && live.previous == Some(token))
                && session.principal == hello.principal
                && (hello.session == 0 || hello.session == session.key)
        });
        let Some(session) = named else {
            if !matches!(code, "UNAUTHENTICATED" | "INTERNAL_ERROR" | "RESUME_WINDOW_EXPIRED") {
                // It may be good, of another principal's session.
                let shown = |session: &super::Session| {
                    session.live.current == token || session.live.previous == Some(token)
                };
                let property = if self.sessions.iter().any(shown) { "SES-3" } else { "SES-2" };
                self.fail(property, format_args!("{code} tells that a token is good which is not"));
            }
            return;
        };
        let state = &self.sessions[session];
        let (max, floor) = (state.log.len() as u64, state.floor);
        let last = hello.last.unwrap_or(state.acked);
        let has_features = hello.features & state.features == state.features;
        match code {
            "UNAUTHENTICATED" if is_resume && !state.live.is_dead => {
                self.fail("SES-2", format_args!("a good token is refused"));
            }
            "RESUME_WINDOW_EXPIRED"
                if !state.live.is_dead && last >= floor.max(state.acked).max(state.let_go) =>
            {
                self.fail(
                    "SEQ-9",
                    format_args!("a resume behind number {last} is refused, the floor is {floor}"),
                );
            }
            "INVALID_REQUEST" if has_features && last <= max => {
                self.fail("SEQ-9", format_args!("a resume behind number {last} of {max} is refused"));
            }
            _ => {}
        }
    }
}
