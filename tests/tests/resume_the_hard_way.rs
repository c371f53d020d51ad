//! A connection is cut at every frame, and at random bytes: what the application is handed is every event, once and in
//! order.
#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

mod cable;

use std::time::Duration;

use arcp_tests::link::{Break, Cut, Moment, Notice, Script, World};
use arcp_tests::random::Random;
use arcp_tests::trace::{Direction, Fate};

const EVENTS: u64 = 200;

/// Progress, logs and a result in chunks: two hundred events, then the end.
fn script() -> Script {
    (1..=EVENTS).fold(Script::new(), |script, number| match number {
        EVENTS => script.chunk("", false),
        n if n % 4 == 0 => script.chunk(&piece(n), true),
        n if n % 4 == 1 => script.progress(n, EVENTS),
        n => script.log(&format!("line {n}")),
    })
}

fn piece(number: u64) -> String {
    format!("piece {number}; ")
}

fn kinds() -> Vec<&'static str> {
    (1..=EVENTS)
        .map(|number| match number % 4 {
            0 => "result_chunk",
            1 => "progress",
            _ => "log",
        })
        .collect()
}

/// What differs between worlds besides their cuts.
#[derive(Debug, Clone, Copy, Default)]
struct Weather {
    /// The seed of a store that takes its time.
    slow_store: Option<u64>,
}

/// How many frames a run without cuts takes in each direction.
struct Counted {
    up: u64,
    down: u64,
}

fn world(weather: Weather) -> World {
    let mut world = World::new();
    if let Some(seed) = weather.slow_store {
        world.slow_store(Duration::from_millis(7), seed);
    }
    world.agent("a", script().returns("null"));
    world.client_with(|config| config.ack_interval = Duration::from_millis(5));
    world.submit(0, "a", "the key", "[1]");
    world
}

/// Runs the job with these cuts. Fails unless everything is there, once and in order.
fn run(cuts: &[Cut], weather: Weather) -> World {
    let mut world = world(weather);
    world.cuts.extend(cuts.iter().copied());
    world.run_until("the job's end", |world| world.application(0).ended() > 0);
    world.run_until("the last acknowledgement", is_acknowledged);
    // Whatever might come twice.
    world.run_for(Duration::from_secs(1));
    let application = world.application(0);
    let story = application.story(&world.first_job(0));
    let expected: String = (1..EVENTS).filter(|number| number % 4 == 0).map(piece).collect();
    let fault = if story.positions != (1..=EVENTS + 1).collect::<Vec<_>>() {
        format!("positions {:?}", story.positions)
    } else if story.kinds != kinds() || story.ends != 1 {
        format!("kinds {:?}, ends {}", story.kinds, story.ends)
    } else if story.result.as_ref() != Ok(&expected) {
        format!("the result is {:?}", story.result)
    } else if !application.complaints().is_empty() {
        format!("{:?}", application.complaints())
    } else if world.started_jobs() != 1 {
        format!("{} jobs were started", world.started_jobs())
    } else if application.connects().0 != application.connects().1 + 1 {
        format!("connects and resumes: {:?}", application.connects())
    } else {
        return world;
    };
    panic!("{fault}\nwith {cuts:?} in {weather:?}\n{}", world.trace.lines());
}

/// Whether the newest acknowledgement names the highest number and has arrived. That number is the job's end, which may have
/// come twice: a submit that is repeated after the end is answered with the whole history (D-25).
fn is_acknowledged(world: &World) -> bool {
    let newest = |direction, kind: &str| {
        world.trace.frames().rev().find(|(of, text, _)| *of == direction && text.contains(kind))
    };
    let (Some((_, end, _)), Some((_, ack, fate))) =
        (newest(Direction::Down, "\"event_seq\""), newest(Direction::Up, "session.ack"))
    else {
        return false;
    };
    let value = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
    fate == Fate::Delivered && value(ack)["payload"]["last_processed_seq"] == value(end)["event_seq"]
}

fn counted(weather: Weather) -> Counted {
    let world = run(&[], weather);
    let counted = Counted { up: world.written(Direction::Up), down: world.written(Direction::Down) };
    assert!(counted.up > 20 && counted.down >= EVENTS + 3, "{} up, {} down", counted.up, counted.down);
    counted
}

/// Cuts once at every frame of a direction, at each of its moments.
fn cut_everywhere(direction: Direction, how: Break, weather: Weather) {
    let counted = counted(weather);
    let frames = if direction == Direction::Up { counted.up } else { counted.down };
    let mut resumes = 0;
    for frame in 1..=frames {
        for moment in [Moment::Written, Moment::Before, Moment::After] {
            let world = run(&[Cut { direction, frame, moment, how }], weather);
            assert!(world.cuts.is_empty(), "{direction:?} {frame} {moment:?} was not cut");
            resumes += world.application(0).connects().1;
        }
    }
    // All but the cuts before the first welcome has arrived lead to a resume.
    let cuts = usize::try_from(frames * 3).unwrap();
    assert!(resumes >= cuts - 6, "{resumes} resumes of {cuts} cuts");
}

#[test]
fn cut_at_every_frame_of_the_runtime() {
    cut_everywhere(Direction::Down, Break::CLEAN, Weather::default());
}

#[test]
fn cut_at_every_frame_of_the_client() {
    cut_everywhere(Direction::Up, Break::CLEAN, Weather::default());
}

#[test]
fn cut_at_every_frame_with_a_slow_store() {
    let weather = Weather { slow_store: Some(1) };
    cut_everywhere(Direction::Up, Break::CLEAN, weather);
    let frames = counted(weather).down;
    // Every frame once, at a moment that varies.
    for frame in 1..=frames {
        let moment = [Moment::Written, Moment::Before, Moment::After][usize::try_from(frame % 3).unwrap()];
        let how = Break::CLEAN;
        run(&[Cut { direction: Direction::Down, frame, moment, how }], Weather { slow_store: Some(frame) });
    }
}

#[test]
fn the_runtime_does_not_notice() {
    cut_everywhere(Direction::Up, Break::HALF_OPEN, Weather::default());
    for frame in 1..=counted(Weather::default()).down {
        let moment = [Moment::Written, Moment::Before, Moment::After][usize::try_from(frame % 3).unwrap()];
        let notice = if frame % 2 == 0 { Notice::Never } else { Notice::After(Duration::from_millis(frame)) };
        let how = Break { notice, late: frame % 5 != 0 };
        run(&[Cut { direction: Direction::Down, frame, moment, how }], Weather::default());
    }
}

/// The welcome that answers a resume is lost, twice in a row: the old token stays good (D-5).
#[test]
fn the_welcome_is_lost() {
    for frame in (1..=EVENTS).step_by(5) {
        let cut = |frame, moment| Cut { direction: Direction::Down, frame, moment, how: Break::CLEAN };
        // Frames that arrived are counted, so that the next one is the welcome again.
        let cuts =
            [cut(frame, Moment::After), cut(frame + 1, Moment::Before), cut(frame + 1, Moment::Before)];
        let world = run(&cuts, Weather { slow_store: frame.is_multiple_of(2).then_some(frame) });
        assert!(world.cuts.is_empty());
        let welcomes = world.trace.frames().filter(|(_, text, _)| text.contains("session.welcome"));
        let lost = welcomes.filter(|(.., fate)| *fate == Fate::Lost).count();
        assert_eq!(lost, 2, "{}", world.trace.lines());
    }
}

/// Several cuts in one run; the second likely hits the hello, the welcome, or what follows it.
#[test]
fn one_cut_after_the_other() {
    for seed in 0..400 {
        let mut random = Random::new(seed);
        let mut counts = [0, 0];
        let mut cuts = Vec::new();
        for index in 0..2 + random.below(4) {
            let direction = *random.of(&[Direction::Up, Direction::Down]);
            let step = if index == 0 || random.below(3) == 0 { 80 } else { 4 };
            let frame = &mut counts[direction as usize];
            *frame += 1 + random.below(step);
            let frame = *frame;
            let moment = *random.of(&[Moment::Written, Moment::Before, Moment::After]);
            let notice = *random.of(&[
                Notice::AtOnce,
                Notice::AtOnce,
                Notice::After(Duration::from_millis(3)),
                Notice::Never,
            ]);
            cuts.push(Cut { direction, frame, moment, how: Break { notice, late: random.below(2) == 0 } });
        }
        let weather = Weather { slow_store: (random.below(2) == 0).then_some(seed) };
        run(&cuts, weather);
    }
}
