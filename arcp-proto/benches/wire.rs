//! One frame: how long it takes to read and to write, beside serde_json on the same bytes.

use std::hint::black_box;
use std::sync::Arc;

use arcp_proto::id::{JobKey, SessionKey};
use arcp_proto::time::UnixTime;
use arcp_proto::trace::TraceId;
use arcp_proto::wire::delivery::{Frame, Line};
use arcp_proto::wire::event::{Content, EventKind, EventPayload, LoggedEvent};
use arcp_proto::wire::peer::EndShape;
use arcp_proto::wire::{Envelope, RawJson, ScanLimits};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

fn numbered() -> (Arc<Line>, Arc<LoggedEvent>) {
    let session = SessionKey::parse("sess_01KZZSPQFWRQJ5E577ZYXMHSQ1").expect("a session id");
    let job = JobKey::parse("job_01KZZSPSCGTYZ5S2V2CG4ASNXD").expect("a job id");
    let trace = TraceId::parse("7c9f1e2a5b3d4806a1f2c3d4e5f60718").expect("a trace id");
    let line = Arc::new(Line::new(session, trace, job, EndShape::PLAIN, 1 << 20));
    let body = RawJson::try_from(r#"{"level":"info","message":"loaded 250 rows of the supplier's feed"}"#);
    let content = Content::Event { kind: EventKind::Log, body: body.expect("a body") };
    let ts = UnixTime::from_millis(1_786_699_803_750);
    (line, Arc::new(LoggedEvent { ts, pos: Some(41), content }))
}

fn frames(criterion: &mut Criterion) {
    let (line, event) = numbered();
    let frame = Frame::Numbered { line: Arc::clone(&line), seq: 41, event: Arc::clone(&event) };
    let text = frame.clone().encode();
    let reordered = format!(
        "{{\"payload\":{},{}}}",
        &text[text.find("\"payload\":").expect("a payload") + 10..text.len() - 1],
        &text[1..text.find(",\"payload\":").expect("a payload")]
    );
    let mut group = criterion.benchmark_group("frame");
    group.throughput(Throughput::Bytes(text.len() as u64));
    group.bench_function("encode, new string", |bencher| bencher.iter(|| black_box(&frame).clone().encode()));
    group.bench_function("encode, reused buffer", |bencher| {
        let mut buffer = String::with_capacity(1_024);
        bencher.iter(|| {
            buffer.clear();
            black_box(&frame).encode_into(&mut buffer);
            buffer.len()
        });
    });
    group.bench_function("decode, our member order", |bencher| {
        bencher.iter(|| {
            let envelope =
                Envelope::decode(black_box(text.as_bytes()), &ScanLimits::CLIENT).expect("a frame");
            EventPayload::read(&envelope.payload).expect("an event").pos
        });
    });
    group.bench_function("decode, another member order", |bencher| {
        bencher.iter(|| {
            let envelope =
                Envelope::decode(black_box(reordered.as_bytes()), &ScanLimits::CLIENT).expect("a frame");
            EventPayload::read(&envelope.payload).expect("an event").pos
        });
    });
    group.bench_function("serde_json::Value, for comparison", |bencher| {
        bencher.iter(|| serde_json::from_str::<serde_json::Value>(black_box(&text)).expect("JSON"));
    });
    group.finish();
}

criterion_group!(benches, frames);
criterion_main!(benches);
