use super::*;
use crate::wire::scan::{ScanLimits, check_value};
use alloc::string::ToString;
use alloc::vec;

fn fields(object: &str) -> Fields<'_> {
    check_value(object, &ScanLimits::RUNTIME, 0).expect("a valid object");
    Fields::of(object)
}

#[test]
fn null_is_absent_except_in_opaque_slots() {
    let fields = fields(r#"{"a":null,"b" : [ null ] , "c":"null"}"#);
    assert_eq!(fields.opaque("a"), Some("null"));
    assert_eq!(fields.present("a"), None);
    assert_eq!(fields.opaque("d"), None);
    assert_eq!(fields.present("b"), Some("[ null ]"));
    assert_eq!(fields.string("a", 1..=2), Ok(None));
    assert_eq!(fields.string("c", 0..=9), Ok(Some("null".into())));
    assert_eq!(fields.len(), 3);
}

#[test]
fn objects_are_equal_if_their_members_are() {
    assert_eq!(fields(r#"{"a":1,"b":2}"#), fields(r#"{ "a" : 1 , "b" : 2 }"#));
    for other in ["{}", r#"{"a":1}"#, r#"{"a":1,"b":3}"#, r#"{"a":1,"c":2}"#, r#"{"a":1,"b":2,"c":3}"#] {
        assert_ne!(fields(r#"{"a":1,"b":2}"#), fields(other), "{other}");
    }
}

#[test]
fn debug_shows_names_only() {
    let text = r#"{"token":"canary","payload":{"secret":"canary"}}"#;
    assert_eq!(alloc::format!("{:?}", fields(text)), r#"{"token", "payload"}"#);
    let scanned = crate::wire::scan::scan(text.as_bytes(), &ScanLimits::RUNTIME).expect("a valid object");
    let shown = alloc::format!("{scanned:?}");
    assert!(shown.contains("secret") && !shown.contains("canary"), "{shown}");
}

#[test]
fn errors_tell_absent_from_wrong() {
    let fields = fields(r#"{"n":"x"}"#);
    let wrong = fields.boolean("n").expect_err("a string");
    assert_eq!((wrong.member(), wrong.is_missing()), ("n", false));
    let absent = fields.required_id("m").expect_err("nothing");
    assert_eq!(
        (absent.within("o").member(), true),
        ("o.m", fields.required_id("m").unwrap_err().is_missing())
    );
}

#[test]
fn errors_name_the_member_and_what_is_allowed() {
    let fields = fields(r#"{"nonce":"","n":1.0,"o":[],"deep":{"x":1}}"#);
    let message = |error: FieldError| error.to_string();
    assert_eq!(
        fields.required_string("nonce", 1..=128).map_err(message),
        Err("`nonce` must be a string of 1..=128 bytes".into())
    );
    assert_eq!(
        fields.required_string("none", 1..=128).map_err(message),
        Err("`none` is required and must be a string of 1..=128 bytes".into())
    );
    assert_eq!(fields.u64("n", 1..=5).map_err(message), Err("`n` must be an integer of 1..=5".into()));
    assert_eq!(fields.object("o").map_err(message), Err("`o` must be an object".into()));
    let inner = fields.required_object("deep").expect("an object");
    assert_eq!(
        inner.boolean("x").map_err(|error| message(error.within("deep"))),
        Err("`deep.x` must be true or false".into())
    );
}

#[test]
fn strings_are_unescaped_and_measured_in_bytes() {
    let fields = fields(r#"{"s":"\ud83d\ude00","p":"plain","\u006eame":"n"}"#);
    assert_eq!(fields.string("s", 4..=4), Ok(Some("😀".into())));
    assert!(fields.string("s", 0..=3).is_err());
    assert!(matches!(fields.string("p", 0..=5), Ok(Some(Cow::Borrowed("plain")))));
    assert_eq!(fields.string("name", 1..=1), Ok(Some("n".into())));
    assert_eq!(fields.unknown(&["s", "p", "name"]), None);
    assert_eq!(fields.unknown(&["s", "p"]).as_deref(), Some("name"));
}

#[test]
fn ids_have_no_control_characters() {
    let long =
        alloc::format!(r#"{{"a":"x\u0000","b":"x\u007f","c":"\u0080","d":"","e":"{}"}}"#, "e".repeat(129));
    let fields = fields(&long);
    for bad in ["a", "b", "d", "e"] {
        assert!(fields.id(bad).is_err(), "{bad}");
    }
    assert_eq!(fields.id("c"), Ok(Some("\u{80}".into())));
    assert_eq!(fields.id("f"), Ok(None));
    assert!(fields.required_id("f").is_err_and(|error| error.is_missing()));
}

#[test]
fn integers_are_lexemes() {
    assert_eq!(u64_of("0"), Some(0));
    assert_eq!(u64_of("-0"), Some(0));
    assert_eq!(u64_of("18446744073709551615"), Some(u64::MAX));
    assert_eq!(i64_of("-9223372036854775808"), Some(i64::MIN));
    assert_eq!(i64_of("9223372036854775807"), Some(i64::MAX));
    for bad in ["1.0", "1e3", "\"1\"", "18446744073709551616", "-1", "00", "", "-", "+1", "true"] {
        assert_eq!(u64_of(bad), None, "{bad}");
    }
    for bad in ["9223372036854775808", "-9223372036854775809", "-", "--1", "1E0"] {
        assert_eq!(i64_of(bad), None, "{bad}");
    }
    let fields = fields(r#"{"a":5,"b":-2}"#);
    assert_eq!(fields.u64("a", 1..=5), Ok(Some(5)));
    assert!(fields.u64("a", 1..=4).is_err());
    assert_eq!(fields.required_i64("b", -2..=0), Ok(-2));
    assert!(fields.required_u64("b", 0..=9).is_err());
}

#[test]
fn arrays_and_their_limits() {
    let fields = fields(r#"{"a":[ "x" ,"\n"],"b":[1,{"c":[2]},null],"e":[]}"#);
    assert_eq!(fields.strings("a", 2, 1..=1), Ok(Some(vec!["x".into(), "\n".into()])));
    assert!(fields.strings("a", 1, 1..=1).is_err());
    assert!(fields.strings("b", 9, 0..=9).is_err());
    assert_eq!(fields.array("b", 3), Ok(Some(vec!["1", r#"{"c":[2]}"#, "null"])));
    assert!(fields.array("b", 2).is_err());
    assert_eq!(fields.array("e", 0), Ok(Some(vec![])));
}

#[test]
fn money_and_advisory_members() {
    let fields = fields(r#"{"n":1.50e0,"s":"1.50","b":true,"o":{}}"#);
    assert_eq!(fields.number_or_string("n"), Ok(Some(Lexeme::Number("1.50e0"))));
    assert_eq!(fields.number_or_string("s"), Ok(Some(Lexeme::String("1.50".into()))));
    assert!(fields.number_or_string("b").is_err());
    assert_eq!(fields.advisory_string("b"), None);
    assert_eq!(fields.advisory_string("s").as_deref(), Some("1.50"));
    assert!(fields.advisory_object("o").is_some_and(|object| object.is_empty()));
    assert!(fields.advisory_object("s").is_none());
}
