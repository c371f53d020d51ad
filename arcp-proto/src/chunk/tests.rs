use super::*;
use crate::id::Ulid;
use crate::wire::emission::{MAX_CHUNK_BYTES, split_utf8};
use alloc::string::ToString;

fn writer() -> ChunkWriter {
    ChunkWriter::new(ResultKey::from_ulid(Ulid::from_bits(5)), MAX_RESULT_BYTES)
}

fn chunk(chunk_seq: u64, encoding: ChunkEncoding, data: &str, more: bool) -> ResultChunk {
    ResultChunk { result_id: "r".to_string(), chunk_seq, data: data.to_string(), encoding, more }
}

/// What a client reads of `content`.
fn received(content: &Content) -> ResultChunk {
    let Content::Chunk { result, chunk_seq, encoding, data, more, .. } = content else { panic!("no chunk") };
    ResultChunk {
        result_id: result.to_string(),
        chunk_seq: *chunk_seq,
        data: data.decode().expect("a string"),
        encoding: *encoding,
        more: *more,
    }
}

#[test]
fn what_is_written_is_put_together_again() {
    let text = "sku,\"match\"\n\u{0}é😀".repeat(200);
    let mut writer = writer();
    let mut assembler = Assembler::new();
    for piece in split_utf8(&text, 50) {
        let content = writer.push(ChunkEmission::utf8(piece, true).expect("small")).expect("in order");
        assembler.push(&received(&content));
    }
    assert_eq!(writer.outcome(), None);
    assembler.push(&received(&writer.finish().expect("not finished yet")));
    assert_eq!(writer.finish(), None);
    let Some(Outcome::Streamed { result, size }) = writer.outcome() else { panic!("finished") };
    let whole = assembler.finish(Some(&result.to_string()), Some(size)).expect("complete");
    assert_eq!(whole.as_text(), Some(text.as_str()));
}

#[test]
fn bytes_travel_as_base64() {
    let bytes: Vec<u8> = (0..=255).collect();
    let mut writer = writer();
    let mut assembler = Assembler::new();
    for (index, piece) in bytes.chunks(100).enumerate() {
        let emission = ChunkEmission::base64(piece, index < 2).expect("small");
        assembler.push(&received(&writer.push(emission).expect("in order")));
    }
    assert!(writer.is_finished());
    let whole = assembler.finish(None, Some(256)).expect("complete");
    assert_eq!((whole.as_text(), &whole.bytes), (None, &bytes));
}

#[test]
fn a_writer_keeps_one_encoding_and_one_end() {
    let mut writer = writer();
    assert!(!writer.has_begun());
    writer.push(ChunkEmission::utf8("a", true).expect("small")).expect("the first");
    assert!(writer.has_begun());
    assert!(!writer.is_finished());
    let other = writer.push(ChunkEmission::base64(b"b", true).expect("small"));
    assert!(matches!(other, Err(ChunkRefused::Misuse(_))), "{other:?}");
    writer.push(ChunkEmission::utf8("c", false).expect("small")).expect("the last");
    let late = writer.push(ChunkEmission::utf8("d", false).expect("small")).expect_err("after the last");
    assert_eq!(late.terminal(), None);
    assert_eq!(writer.bytes(), 2);
}

#[test]
fn a_result_has_a_cap() {
    let mut writer = writer();
    let piece = ChunkEmission::base64(&std::vec![0; MAX_CHUNK_BYTES], true).expect("exactly the limit");
    assert!(matches!(
        ChunkEmission::base64(&std::vec![0; MAX_CHUNK_BYTES + 1], true),
        Err(ApiMisuse::Chunk(_))
    ));
    for _ in 0..512 {
        writer.push(piece.clone()).expect("up to the limit");
    }
    assert_eq!(writer.bytes(), MAX_RESULT_BYTES);
    let refused = writer.push(ChunkEmission::base64(b"x", true).expect("small")).expect_err("over the limit");
    assert_eq!(
        refused.terminal().map(|error| error.details),
        Some(crate::error::Details::Limit(Limit::ResultBytes))
    );
    assert!(writer.finish().is_some());
}

#[test]
fn a_received_result_has_the_same_cap() {
    let piece = "x".repeat(MAX_CHUNK_BYTES);
    let mut assembler = Assembler::new();
    for chunk_seq in 0..512 {
        assembler.push(&chunk(chunk_seq, ChunkEncoding::Utf8, &piece, true));
    }
    assert_eq!((assembler.bytes(), assembler.fault()), (MAX_RESULT_BYTES, None));
    assembler.push(&chunk(512, ChunkEncoding::Utf8, "x", true));
    assert_eq!(assembler.fault(), Some(ResultFault::TooLarge));
}

#[test]
fn tolerated_spellings() {
    use ChunkEncoding::{Base64, Utf8};
    let mut assembler = Assembler::new();
    assembler.push(&chunk(0, Base64, "QQ", true));
    assembler.push(&chunk(1, Base64, "Qg==", true));
    // No last chunk at all.
    assert_eq!(assembler.clone().finish(Some("r"), None).map(|whole| whole.bytes), Ok(b"AB".to_vec()));
    assembler.push(&chunk(2, Utf8, "", false));
    assert_eq!(assembler.finish(Some("r"), Some(2)).map(|whole| whole.bytes), Ok(b"AB".to_vec()));
    assert_eq!(Assembler::new().finish(Some("r"), Some(0)).map(|whole| whole.bytes), Ok(Vec::new()));
}

#[test]
fn broken_results_are_named() {
    use ChunkEncoding::{Base64, Utf8};
    let fault = |chunks: &[ResultChunk]| {
        let mut assembler = Assembler::new();
        chunks.iter().for_each(|chunk| assembler.push(chunk));
        assembler.finish(Some("r"), None).err()
    };
    let first = chunk(0, Utf8, "x", true);
    let hole = Some(ResultFault::Hole { expected: 1, found: 2 });
    assert_eq!(fault(&[first.clone(), chunk(2, Utf8, "y", true), chunk(1, Utf8, "y", true)]), hole);
    assert_eq!(fault(&[chunk(5, Utf8, "x", true)]), Some(ResultFault::Hole { expected: 0, found: 5 }));
    let repeat = Some(ResultFault::Hole { expected: 1, found: 0 });
    assert_eq!(fault(&[first.clone(), first.clone()]), repeat);
    let other = ResultChunk { result_id: "s".to_string(), ..chunk(1, Utf8, "y", true) };
    assert_eq!(fault(&[first.clone(), other]), Some(ResultFault::SecondResult));
    let after = [chunk(0, Utf8, "x", false), chunk(1, Utf8, "", false)];
    assert_eq!(fault(&after), Some(ResultFault::AfterLast));
    let mixed = [first.clone(), chunk(1, Base64, "eA==", true)];
    assert_eq!(fault(&mixed), Some(ResultFault::EncodingChanged));
    assert_eq!(fault(&[chunk(0, Base64, "@@@", false)]), Some(ResultFault::Undecodable(0)));
    assert_eq!(fault(&[]), Some(ResultFault::Incomplete));

    let mut assembler = Assembler::new();
    assembler.push(&first);
    let wrong = ResultFault::WrongSize { received: 1, announced: 2 };
    assert_eq!(assembler.clone().finish(Some("r"), Some(2)), Err(wrong));
    assert_eq!(assembler.clone().finish(Some("s"), None), Err(ResultFault::SecondResult));
    assembler.push_unreadable();
    assert_eq!(assembler.finish(Some("r"), None), Err(ResultFault::Unreadable));
}

#[test]
fn who_joins_late_gets_an_incomplete_result() {
    let mut assembler = Assembler::joined_late();
    assembler.push(&chunk(3, ChunkEncoding::Utf8, "x", false));
    assert_eq!(assembler.fault(), Some(ResultFault::Incomplete));
    let mut assembler = Assembler::joined_late();
    assembler.push(&chunk(0, ChunkEncoding::Utf8, "x", false));
    assert!(assembler.finish(Some("r"), Some(1)).is_ok());
}
