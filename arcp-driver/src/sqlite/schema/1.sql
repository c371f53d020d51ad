-- Sessions: `row` is the state of one, `chain` the sum over all it was delivered.
CREATE TABLE sessions (
    id INTEGER PRIMARY KEY,
    key BLOB NOT NULL UNIQUE,
    chain INTEGER NOT NULL,
    crc INTEGER NOT NULL,
    row BLOB NOT NULL
) STRICT;

-- Jobs: `record` is how one was accepted. Without it the job is forgotten, but a session still has events of it.
CREATE TABLE jobs (
    id INTEGER PRIMARY KEY,
    key BLOB NOT NULL UNIQUE,
    crc INTEGER,
    record BLOB
) STRICT;

-- What became of a job: apart, because it is written with every event.
CREATE TABLE job_states (
    job INTEGER PRIMARY KEY,
    crc INTEGER NOT NULL,
    state BLOB NOT NULL
) STRICT;

-- Every event once, in its job's log.
CREATE TABLE events (
    job INTEGER NOT NULL,
    position INTEGER NOT NULL,
    origin INTEGER NOT NULL,
    crc INTEGER NOT NULL,
    data BLOB NOT NULL,
    PRIMARY KEY (job, position)
) STRICT, WITHOUT ROWID;

-- A session's stream: `count` numbers up to `last_seq` stand for as many positions of one job from `first_position` on.
-- An event of the session only is `notice`, at position 0.
CREATE TABLE deliveries (
    session INTEGER NOT NULL,
    last_seq INTEGER NOT NULL,
    count INTEGER NOT NULL,
    job INTEGER NOT NULL,
    first_position INTEGER NOT NULL,
    chain_before INTEGER NOT NULL,
    chain_after INTEGER NOT NULL,
    notice BLOB,
    PRIMARY KEY (session, last_seq)
) STRICT, WITHOUT ROWID;

-- Which events a job's log may not give up.
CREATE INDEX deliveries_by_job ON deliveries (job, first_position, count);

CREATE TABLE credentials (
    key BLOB PRIMARY KEY,
    crc INTEGER NOT NULL,
    record BLOB NOT NULL
) STRICT, WITHOUT ROWID;
