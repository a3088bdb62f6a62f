use super::*;
use crate::base::limits::{CONFIG_BYTES, CONFIG_DEPTH, CONFIG_FAULTS};
use proptest::prelude::*;
use std::collections::HashMap;

/// Files and variables in memory.
#[derive(Default)]
struct World {
    files: HashMap<&'static str, Vec<u8>>,
    variables: HashMap<&'static str, String>,
}

impl World {
    fn file(mut self, name: &'static str, text: impl Into<Vec<u8>>) -> World {
        self.files.insert(name, text.into());
        self
    }

    fn variable(mut self, name: &'static str, text: impl Into<String>) -> World {
        self.variables.insert(name, text.into());
        self
    }
}

impl Environment for World {
    fn read(&self, path: &Path, max: usize) -> Result<Vec<u8>, String> {
        let file = path.to_str().and_then(|p| self.files.get(p));
        match file {
            Some(bytes) if bytes.len() > max => Err("file too large".to_owned()),
            Some(bytes) => Ok(bytes.clone()),
            None => Err(format!("open {}: no such file", path.display())),
        }
    }

    fn variable(&self, name: &str) -> Option<String> {
        self.variables.get(name).cloned()
    }
}

fn none() -> World {
    World::default()
}

fn read(text: &str) -> Document {
    parse("c", text, &none()).unwrap_or_else(|report| panic!("{report}"))
}

fn json(text: &str) -> String {
    read(text).root.json()
}

/// The places and texts of the faults, a line each.
fn faults_in(text: &str, world: &World) -> Vec<String> {
    let report = parse("c", text, world).unwrap_err();
    let line = |fault: &Fault| match fault.at {
        Some(at) => format!("{}: {}", report.sources.place(at), fault.text),
        None => fault.text.clone(),
    };
    report.faults.iter().map(line).collect()
}

fn faults(text: &str) -> Vec<String> {
    faults_in(text, &none())
}

#[test]
fn keys_and_separators() {
    for (text, expected) in [
        ("", "{}"),
        (" \r\n # c\r\n // c\n", "{}"),
        ("a=1", r#"{"a":1}"#),
        ("a : 1\r\nb = 2\r\n", r#"{"a":1,"b":2}"#),
        ("a\t1; b 2, c: 3", r#"{"a":1,"b":2,"c":3}"#),
        (
            "\"a b\": 1\n' c': 2\n\"d\"3\n\"\": 4",
            r#"{"":4," c":2,"a b":1,"d":3}"#,
        ),
        // Without a separator, the value may be on the next line.
        ("a\n{ b\n 1 }", r#"{"a":{"b":1}}"#),
        ("a { b:\n1 }", r#"{"a":{"b":1}}"#),
        ("\u{feff}a: 1", r#"{"a":1}"#),
        ("a.b/c#d 1", r#"{"a.b/c#d":1}"#),
        ("include: 1, b: 2", r#"{"b":2,"include":1}"#),
        ("'include' 1", r#"{"include":1}"#),
    ] {
        assert_eq!(json(text), expected, "{text:?}");
    }
}

#[test]
fn bare_values() {
    for (text, expected) in [
        ("true", "true"),
        ("YES", "true"),
        ("On", "true"),
        ("False", "false"),
        ("no", "false"),
        ("off", "false"),
        ("offer", r#""offer""#),
        ("0", "0"),
        ("-0", "0"),
        ("007", "7"),
        ("9223372036854775807", "9223372036854775807"),
        ("-9223372036854775808", "-9223372036854775808"),
        ("1k", "1000"),
        ("1kb", "1024"),
        ("1Ki", "1024"),
        ("1KiB", "1024"),
        ("2m", "2000000"),
        ("-2MB", "-2097152"),
        ("3g", "3000000000"),
        ("3Gi", "3221225472"),
        ("4t", "4000000000000"),
        ("5p", "5000000000000000"),
        ("5PiB", "5629499534213120"),
        ("6e", "6000000000000000000"),
        ("6EB", "6917529027641081856"),
        ("1kbb", r#""1kbb""#),
        ("2Pie", r#""2Pie""#),
        ("10b", r#""10b""#),
        ("1e10", r#""1e10""#),
        ("0.5", "0.5"),
        ("-2.50", "-2.5"),
        ("100.0", "100"),
        ("0.0000001", "1e-7"),
        ("123456789012345678901234.0", "1.2345678901234569e+23"),
        ("10s", r#""10s""#),
        ("1.5h", r#""1.5h""#),
        ("127.0.0.1:4222", r#""127.0.0.1:4222""#),
        ("10.0.0.0/8", r#""10.0.0.0/8""#),
        (":80", r#"":80""#),
        ("nats://u:p@h:4222", r#""nats://u:p@h:4222""#),
        ("//host/#x", r#""//host/#x""#),
        ("#x", r##""#x""##),
        ("1#x", r##""1#x""##),
        ("0.5# c", "0.5"),
        ("-1//c", "-1"),
        ("2016-05-04T18:53:41Z#c", r#""2016-05-04T18:53:41Z""#),
        ("2024-east", r#""2024-east""#),
        ("null", r#""null""#),
        (r"a\x41\tb\\", r#""aA\tb\\""#),
        (r"\xc3\xa9", r#""é""#),
        (r"\\$x", r#""\\$x""#),
        ("true'", r#""true""#),
        ("12'", r#""12'""#),
        ("é<&>\u{2028}", r#""é\u003c\u0026\u003e\u2028""#),
        ("$2a$11$ab.c/D", r#""$2a$11$ab.c/D""#),
        ("$2b$11$x", r#""$2b$11$x""#),
        ("$2y$11$x", r#""$2y$11$x""#),
    ] {
        let value = expected;
        let expected = format!("{{\"v\":{value}}}");
        for text in [format!("v: {text}"), format!("v={text}\r\n")] {
            assert_eq!(json(&text), expected, "{text:?}");
        }
        // Comments in the value would hide what follows.
        if !text.contains(['#', '/']) {
            let array = json(&format!("v [{text}]"));
            assert_eq!(array, format!("{{\"v\":[{value}]}}"), "{text:?}");
        }
    }
}

#[test]
fn strings_and_blocks() {
    for (text, expected) in [
        ("''", r#""""#),
        (r"'a\n\'", r#""a\\n\\""#),
        ("'a\nb'", r#""a\nb""#),
        (r#""a\"\\\t\r\n\x7cb""#, r#""a\"\\\t\r\n|b""#),
        ("\"a\nb # c\"", r#""a\nb # c""#),
        ("(\nx ) y\n)z\n)\n", r#""\nx ) y\n)z\n""#),
        ("(x\r\n)\r\n", r#""x\r\n""#),
        ("(x\n)", r#""x\n""#),
    ] {
        assert_eq!(json(&format!("v {text}")), format!("{{\"v\":{expected}}}"));
    }
}

#[test]
fn arrays_and_maps() {
    for (text, expected) in [
        ("[]", "[]"),
        ("[1,2]", "[1,2]"),
        ("[ 1, 2, ]", "[1,2]"),
        ("[\n1 # c\n 2 // c\n\n3\n]", "[1,2,3]"),
        ("[1\n,2]", "[1,2]"),
        ("[/tmp, 'x']", r#"["/tmp","x"]"#),
        ("[[1], {a: 1}]", r#"[[1],{"a":1}]"#),
        ("[ {a: 1}\n {b: x} ]", r#"[{"a":1},{"b":"x"}]"#),
        ("{}", "{}"),
        ("{a:1;b:2,c:3\nd:4}", r#"{"a":1,"b":2,"c":3,"d":4}"#),
        ("{ # c\n a 1 // c\n , 'b' 2; }", r#"{"a":1,"b":2}"#),
    ] {
        assert_eq!(json(&format!("v {text}")), format!("{{\"v\":{expected}}}"));
    }
}

#[test]
fn a_file_may_stand_in_braces() {
    for text in [
        "{a: 1, b: {c: [true]}}",
        "{\n\"a\": 1,\n\"b\":{\"c\":[true]}\n}\n# end",
        "{ { a: 1 } # c\n b { c [yes] } }",
        "{a: 1} {b {c [on]}}",
        // A closing brace too many is forgiven at the end and behind a value.
        "a: 1\nb { c [true] }\n}\n",
        "a: 1 }\nb { c [true] }}",
    ] {
        assert_eq!(json(text), r#"{"a":1,"b":{"c":[true]}}"#, "{text:?}");
    }
}

#[test]
fn the_last_of_several_values_counts() {
    let document = read("a: 1, b: $a, a: 3");
    let keys: Vec<&str> = document.root.iter().map(|e| e.key.as_str()).collect();
    assert_eq!(keys, ["a", "b"]);
    assert_eq!(document.root.json(), r#"{"a":3,"b":1}"#);
    let a = document.root.get("a").unwrap();
    assert!(a.used);
    assert_eq!(document.sources.place(a.key_at).to_string(), "c:1:14");
    assert_eq!(document.sources.place(a.value.at).to_string(), "c:1:17");
}

#[test]
fn large_maps_find_their_keys() {
    let text: String = (0..500).map(|i| format!("k{} {i}\n", i % 400)).collect();
    let document = read(&text);
    assert_eq!(document.root.len(), 400);
    for i in 0..400 {
        let entry = document.root.get(&format!("k{i}")).unwrap();
        let last = if i < 100 { i + 400 } else { i };
        assert!(matches!(entry.value.kind, Kind::Int(n) if n == last));
    }
    assert!(document.root.get("k400").is_none() && document.root.get("K1").is_none());
}

#[test]
fn variables_look_outward_and_then_into_the_environment() {
    let world = none()
        .variable("NUM", "22")
        .variable("EMPTY", "")
        .variable("MAP", "{ q: [ $NUM ], r: $q } # c\n")
        .variable("INDIRECT", "$NUM;")
        .variable("x", "from outside");
    for (text, expected) in [
        ("x: 1, y: $x", r#"{"x":1,"y":1}"#),
        (
            "x: 1, m { y: $x, x: 2, z: [ $x, { x: 3, w: $x } ] }, y $x",
            r#"{"m":{"x":2,"y":1,"z":[2,{"w":3,"x":3}]},"x":1,"y":1}"#,
        ),
        ("m { v: 1 }, m { w: $m }", r#"{"m":{"w":{"v":1}}}"#),
        ("a: $NUM, b: $INDIRECT", r#"{"a":22,"b":22}"#),
        ("a: $EMPTY", r#"{"a":""}"#),
        ("a: $MAP", r#"{"a":{"q":[22],"r":[22]}}"#),
        ("'$': 1, a: $$", r#"{"$":1,"a":1}"#),
        ("{ a: 1 }, b: $a", r#"{"a":1,"b":1}"#),
    ] {
        match parse("c", text, &world) {
            Ok(document) => assert_eq!(document.root.json(), expected),
            Err(report) => panic!("{report}"),
        }
    }
    let used = read("x: 1, y: 2, m { z: $x }");
    let flags: Vec<bool> = used.root.iter().map(|e| e.used).collect();
    assert_eq!(flags, [true, false, false]);
}

#[test]
fn variables_that_stand_for_nothing_are_all_told() {
    let world = none()
        .variable("LOOP", "[ $BACK ]")
        .variable("BACK", "$LOOP")
        .variable("BAD", "a b")
        .variable("DEAF", "$GONE");
    assert_eq!(
        faults_in(
            "a: $a\nb: [ $LOOP ]\nc {\n d: $BAD } \ne: $DEAF\nf: $",
            &world
        ),
        [
            "c:1:4: variable reference for 'a' on line 1 can not be found",
            "c:2:6: variable reference for 'LOOP' on line 2 could not be parsed: \
             variable reference for 'BACK' on line 1 could not be parsed: \
             variable reference for 'LOOP' on line 1 could not be parsed: \
             variable reference cycle for 'LOOP'",
            "c:4:5: variable reference for 'BAD' on line 4 could not be parsed: \
             there is more than one value: quote text",
            "c:5:4: variable reference for 'DEAF' on line 5 could not be parsed: \
             variable reference for 'GONE' on line 1 can not be found",
            "c:6:4: variable reference for '' on line 6 can not be found",
        ]
    );
}

#[test]
fn chains_of_environment_variables_are_bounded() {
    /// Where the variable `n` stands for `$n+1`, up to a last one.
    struct Chain(u32);
    impl Environment for Chain {
        fn read(&self, _: &Path, _: usize) -> Result<Vec<u8>, String> {
            Err("no file".to_owned())
        }

        fn variable(&self, name: &str) -> Option<String> {
            let n: u32 = name.parse().ok()?;
            Some(if n == self.0 {
                "7".to_owned()
            } else {
                format!("${}", n + 1)
            })
        }
    }
    let short = parse("c", "a: $1", &Chain(16)).unwrap();
    assert_eq!(short.root.json(), r#"{"a":7}"#);
    let report = parse("c", "a: $1", &Chain(100_000)).unwrap_err();
    let text = &report.faults[0].text;
    assert!(
        text.ends_with("variables stand for each other over 16 times"),
        "{text}"
    );
}

#[test]
fn includes_are_relative_and_merge_their_keys() {
    let world = none()
        .file(
            "/etc/n/main.conf",
            "x: 1\na { include './sub/a.conf' # c\n y: $z }\ninclude other.conf;\nx: $w",
        )
        .file("/etc/n/sub/a.conf", "include \"../b.conf\"\nz: $b")
        .file("/etc/n/b.conf", "{ b: 7 }")
        .file("/etc/n/other.conf", "x: 2, w: 3, $x: $x");
    let document = load(Path::new("/etc/n/main.conf"), &world).unwrap();
    assert_eq!(
        document.root.json(),
        r#"{"$x":2,"a":{"b":7,"y":7,"z":7},"w":3,"x":3}"#
    );
    let b = match &document.root.get("a").unwrap().value.kind {
        Kind::Map(map) => map.get("b").unwrap().clone(),
        other => panic!("{other:?}"),
    };
    assert!(b.used);
    let place = document.sources.place(b.value.at).to_string();
    assert_eq!(place, "/etc/n/b.conf:1:6");
    // Outer keys are not seen.
    let world = none().file("i", "y: $x");
    assert_eq!(
        faults_in("x: 1\ninclude i", &world),
        ["i:1:4: variable reference for 'x' on line 1 can not be found"]
    );
    // A leading slash does not make a path absolute.
    let world = none().file("d/i", "y: 1").file("d/c", "include /i");
    assert!(load(Path::new("d/c"), &world).is_ok());
}

#[test]
fn includes_that_fail_are_all_told() {
    let world = none()
        .file("a", "include b")
        .file("b", "x: [\ninclude ./a")
        .file("d", "include './d'")
        .file("e", "ok: 1\nbad: }\nrest: 1");
    assert_eq!(
        faults_in(
            "include none\ninclude d\ninclude 'e'\ny: $rest\nz: 99e\ninclude ''",
            &world
        ),
        [
            "c:1:9: cannot include 'none': open none: no such file",
            "c:5:4: integer '99e' is out of range",
            "c:6:9: include needs the name of a file",
            "d:1:9: files include each other: d -> d",
            "e:2:6: expected a value",
        ]
    );
    let world = world.file("b", "q: 1\ninclude ./x/../a");
    assert_eq!(
        faults_in("include a", &world),
        ["b:2:9: files include each other: a -> b -> a"]
    );
}

#[test]
fn syntax_errors_say_what_and_where() {
    for (text, fault) in [
        ("a: \n", "c:1:4: expected a value"),
        ("a =", "c:1:4: expected a value"),
        ("a: ;", "c:1:4: expected a value"),
        ("x { a }", "c:1:7: expected a value"),
        ("é b\n\na", "c:3:2: expected a value"),
        ("a\n}", "c:2:1: expected a value for 'a'"),
        ("= 1", "c:1:1: expected a key, got '='"),
        ("a: 1,,b: 2", "c:1:6: expected a key, got ','"),
        (
            "a: 1 b: 2",
            "c:1:6: expected a new line, ',' or ';' after the value, got 'b'",
        ),
        (
            "a: \"1\"é",
            "c:1:7: expected a new line, ',' or ';' after the value, got 'é'",
        ),
        (
            "a [1 2]",
            "c:1:6: expected a new line, ',' or ']' after the value, got '2'",
        ),
        ("a [,1]", "c:1:4: expected a value or ']', got ','"),
        ("a [1", "c:1:3: this '[' is never closed"),
        ("a {\n b 1\n", "c:1:3: this '{' is never closed"),
        ("{ b: 1\n", "c:1:1: this '{' is never closed"),
        ("a 'b", "c:1:3: the closing quote is missing"),
        ("a \"b\\\"", "c:1:3: the closing quote is missing"),
        ("'a: 1", "c:1:1: the closing quote of this key is missing"),
        (
            "a (\nb\n )\n",
            "c:1:3: this '(' is never closed: that takes a line with just ')'",
        ),
        (
            "a: \"x\\y\"",
            "c:1:6: unknown escape: there are \\xHH, \\t, \\n, \\r, \\\" and \\\\",
        ),
        (
            "a: x\\x4\n",
            "c:1:5: expected two hexadecimal digits after '\\x'",
        ),
        (
            "a: \"\\xe9\"",
            "c:1:4: the escapes in this text do not make UTF-8",
        ),
        ("a: .5", "c:1:4: text that begins with '.' must be quoted"),
        ("a: -x", "c:1:4: text that begins with '-' must be quoted"),
        ("/a 1", "c:1:1: a key that begins with '/' must be quoted"),
        (
            "cluster{ a: 1 }",
            "c:1:8: '{' must stand apart from the key, or the key in quotes",
        ),
        ("}\na: 1", "c:1:1: no '{' belongs to this '}'"),
        (
            "include = x",
            "c:1:9: include needs the name of a file, in quotes if it begins with '='",
        ),
        ("a: \0", "c:1:4: a NUL byte"),
        (
            "a: 9223372036854775808",
            "c:1:4: integer '9223372036854775808' is out of range",
        ),
        ("a: 10eb", "c:1:4: integer '10eb' is out of range"),
        ("a: -10E", "c:1:4: integer '-10E' is out of range"),
        (
            "a: 2015-02-29T00:00:00Z",
            "c:1:4: there is no date '2015-02-29T00:00:00Z'",
        ),
        (
            "a: 2016-02-29T24:00:00Z",
            "c:1:4: there is no date '2016-02-29T24:00:00Z'",
        ),
    ] {
        assert_eq!(faults(text), [fault], "{text:?}");
    }
    let long = format!("a: {}.0", "9".repeat(400));
    let fault = format!("c:1:4: number '{}...' is out of range", "9".repeat(40));
    assert_eq!(faults(&long), [fault]);
}

#[test]
fn text_that_is_not_utf8_is_refused_where_it_is_not() {
    let world = none().file("f", b"a: 1\r\nb: \"\xc3\xa9\xff\"\r\n");
    let report = load(Path::new("f"), &world).unwrap_err();
    assert_eq!(
        report.to_string(),
        "f:2:6: the text is not UTF-8: byte 0xff\n   2 | b: \"é\u{fffd}\"\n     |      ^"
    );
    let missing = load(Path::new("g"), &world).unwrap_err();
    assert_eq!(missing.to_string(), "open g: no such file");
}

#[test]
fn snippets_point_at_the_column() {
    for (text, shown) in [
        (
            "a: 1\nport: \n",
            "c:2:7: expected a value\n   2 | port: \n     |       ^",
        ),
        (
            "a: 1\t\tb\u{1b}",
            "c:1:7: expected a new line, ',' or ';' after the value, got 'b'\n   \
             1 | a: 1        b\u{fffd}\n     |             ^",
        ),
        (
            "\u{feff}é:",
            "c:1:3: expected a value\n   1 | é:\n     |   ^",
        ),
    ] {
        let report = parse("c", text, &none()).unwrap_err();
        assert_eq!(report.to_string(), shown);
    }
    let report = parse("c", "include \x1b[2J", &none()).unwrap_err();
    let shown = report.to_string();
    assert!(shown.starts_with("c:1:9: cannot include '\u{fffd}[2J': open"));
    assert!(!shown.contains('\x1b'));
    let long = format!("{}a: 1 x{}", "b: 1, ".repeat(100), ", c: 1".repeat(100));
    let report = parse("c", &long, &none()).unwrap_err();
    let shown = report.to_string();
    let mut lines = shown.lines().skip(1);
    let (line, caret) = (lines.next().unwrap(), lines.next().unwrap());
    assert!(
        line.starts_with("   1 | ...") && line.ends_with("..."),
        "{line}"
    );
    assert!(line.len() < 115, "{line}");
    assert_eq!(&line[caret.find('^').unwrap()..][..3], "x, ");
}

#[test]
fn nesting_is_bounded() {
    let nested = |depth: usize| format!("a {}{}", "[".repeat(depth), "]".repeat(depth));
    let too_deep = "maps and arrays are nested more than 128 levels deep";
    read(&nested(CONFIG_DEPTH));
    assert_eq!(
        faults(&nested(CONFIG_DEPTH + 1)),
        [format!("c:1:131: {too_deep}")]
    );
    let braces = "{".repeat(100_000);
    assert_eq!(faults(&braces), [format!("c:1:129: {too_deep}")]);
    let maps = "a {".repeat(100_000);
    assert_eq!(faults(&maps).len(), 1);
    // Variables nest, too.
    let mut text = "v0: x\n".to_owned();
    for i in 1..=CONFIG_DEPTH + 1 {
        text += &format!("v{i}: [ $v{} ]\n", i - 1);
    }
    assert_eq!(faults(&text), [format!("c:130:9: {too_deep}")]);
}

#[test]
fn variables_cannot_multiply_without_bound() {
    let mut text = "v0: [1, 2, 3, 4, 5, 6, 7, 8, 9, 10 ]\n".to_owned();
    for i in 1..30 {
        let before = i - 1;
        text += &format!("v{i}: [ {} ]\n", format!("$v{before} , ").repeat(10));
    }
    let told = faults(&text);
    assert_eq!(told.len(), 1);
    assert!(told[0].ends_with("variables stand for too much: the configuration is too large"));
    // Neither can long texts.
    let text = format!("v: '{}'\na [ {} ]", "x".repeat(1 << 20), "$v\n".repeat(100));
    assert_eq!(faults(&text).len(), 1);
    read(&format!(
        "v: '{}'\na [ {} ]",
        "x".repeat(1 << 20),
        "$v\n".repeat(50)
    ));
}

#[test]
fn what_is_read_is_bounded() {
    let world = none()
        .file("large", vec![b' '; CONFIG_BYTES / 2])
        .file("small", "x: 1");
    assert_eq!(
        faults_in("include small\ninclude large\ninclude large\n", &world),
        ["c:3:9: cannot include 'large': file too large"]
    );
    let many = "a: $a\n".repeat(CONFIG_FAULTS + 5);
    let told = faults(&many.replace("a:", "b:"));
    assert_eq!(told.len(), CONFIG_FAULTS + 1);
    assert_eq!(told[CONFIG_FAULTS], "5 more errors are not shown");
    // Each file includes the next.
    let names: Vec<&'static str> = vec![
        "1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11", "12", "13", "14", "15", "16",
        "17", "18",
    ];
    let mut world = none();
    for pair in names.windows(2) {
        world = world.file(pair[0], format!("include '{}'", pair[1]));
    }
    assert_eq!(
        faults_in("include '1'", &world),
        ["16:1:9: includes are nested more than 16 levels deep"]
    );
}

#[test]
fn digests_are_those_of_the_reference() {
    for (text, digest) in [
        (
            "max_payload: 10mb\nmax_pending: 1mb",
            "sha256:b1d186263b3341d6e83468f17543aca893349a12e945a9a538fb31b727b34fdd",
        ),
        (
            "# c\n { 'foo': bar }",
            "sha256:226e49e13d16e5e8aa0d62e58cd63361bf097d3e2b2444aa3044334628a2e8de",
        ),
        (
            "BAR_USERS = { users = [ {user = \"bar\"} ]}
             hello = 'world'
             accounts {
               QUUX_USERS = [ { user: quux }]
               bar = $BAR_USERS
               quux = { users = $QUUX_USERS }
             }
             very { nested { env { VAR = 'NESTED', quux = $VAR }}}",
            "sha256:bddb282343249c26d3edcef9bfaa9d2711505fc67210380e871405ba394a9186",
        ),
        (
            "BAR_USERS = { users = [ {user = \"foo\"} ]}
             bar = $BAR_USERS
             accounts { users = $BAR_USERS }",
            "sha256:b0e2ba0b8ec2cb75681b5c5d61789cda0c9942c2f9fe16cdb7f6703364485360",
        ),
    ] {
        assert_eq!(read(text).digest(), digest, "{text}");
    }
}

/// All values that hold no others.
fn leaves() -> impl Strategy<Value = Kind> {
    let date = (
        0..10_000_u16,
        1..13_u8,
        1..29_u8,
        0..24_u8,
        0..60_u8,
        0..60_u8,
    );
    prop_oneof![
        any::<bool>().prop_map(Kind::Bool),
        any::<i64>().prop_map(Kind::Int),
        prop::num::f64::NORMAL.prop_map(Kind::Float),
        (-1000..1000_i32).prop_map(|n| Kind::Float(f64::from(n) / 8.0)),
        date.prop_map(|(year, month, day, hour, minute, second)| Kind::Date(Date {
            year,
            month,
            day,
            hour,
            minute,
            second
        })),
        any::<String>().prop_map(Kind::Text),
        "[ -~\n\r\t\0]{0,12}".prop_map(Kind::Text),
        "(true|\\$2a\\$1|\\$x|12|1\\.5|-|10s|\\(|#|//)".prop_map(Kind::Text),
    ]
}

/// Keys that can be written: those with both kinds of quotes only bare.
fn keys() -> BoxedStrategy<String> {
    prop_oneof!["[a-z]{1,3}", "[^\"\0]{0,5}", "[^'\0]{0,5}", "a[\"'b]{2,4}"].boxed()
}

/// Values whose JSON has no escape that is unknown here, and no exponent.
fn plain_leaves() -> impl Strategy<Value = Kind> {
    prop_oneof![
        any::<bool>().prop_map(Kind::Bool),
        any::<i64>().prop_map(Kind::Int),
        (-1000..1000_i32).prop_map(|n| Kind::Float(f64::from(n) / 8.0)),
        "[a-zé0-9{}\\[\\]:,;#/'$\"\\\\\t\r\n -]{0,10}".prop_map(Kind::Text),
    ]
}

fn plain_keys() -> BoxedStrategy<String> {
    "[a-zé0-9{}:,#/' -]{0,5}".boxed()
}

/// Values that hold others, some levels deep.
fn trees(
    leaf: impl Strategy<Value = Kind> + 'static,
    keys: BoxedStrategy<String>,
) -> impl Strategy<Value = Kind> {
    leaf.prop_recursive(5, 60, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6)
                .prop_map(|kinds| Kind::Array(kinds.into_iter().map(value).collect())),
            maps(keys.clone(), inner).prop_map(Kind::Map),
        ]
    })
}

fn maps(
    keys: BoxedStrategy<String>,
    kinds: impl Strategy<Value = Kind>,
) -> impl Strategy<Value = Map> {
    prop::collection::vec((keys, kinds), 0..20).prop_map(|entries| {
        let mut map = Map::default();
        for (key, kind) in entries {
            map.insert(Entry {
                key,
                key_at: Position::default(),
                value: value(kind),
                used: false,
            });
        }
        map
    })
}

fn value(kind: Kind) -> Value {
    let at = Position::default();
    Value { kind, at }
}

/// Whether two values are the same, wherever they stand.
fn same(a: &Kind, b: &Kind) -> bool {
    match (a, b) {
        (Kind::Bool(a), Kind::Bool(b)) => a == b,
        (Kind::Int(a), Kind::Int(b)) => a == b,
        (Kind::Float(a), Kind::Float(b)) => a.to_bits() == b.to_bits(),
        (Kind::Date(a), Kind::Date(b)) => a == b,
        (Kind::Text(a), Kind::Text(b)) => a == b,
        (Kind::Array(a), Kind::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(&a.kind, &b.kind))
        }
        (Kind::Map(a), Kind::Map(b)) => same_maps(a, b),
        _ => false,
    }
}

fn same_maps(a: &Map, b: &Map) -> bool {
    let mut pairs = a.iter().zip(b.iter());
    a.len() == b.len() && pairs.all(|(a, b)| a.key == b.key && same(&a.value.kind, &b.value.kind))
}

proptest! {
    #[test]
    fn what_is_printed_is_read_back(map in maps(keys(), trees(leaves(), keys()))) {
        let text = print(&map);
        let back = parse("c", &text, &none()).map_err(|r| TestCaseError::fail(r.to_string()))?;
        prop_assert!(same_maps(&map, &back.root), "{text}");
        prop_assert_eq!(map.json(), back.root.json());
    }

    #[test]
    fn json_is_accepted_and_means_the_same(map in maps(plain_keys(), trees(plain_leaves(), plain_keys()))) {
        let json = map.json();
        let back = parse("c", &json, &none()).map_err(|r| TestCaseError::fail(r.to_string()))?;
        prop_assert_eq!(back.root.json(), json);
    }

    #[test]
    fn any_text_is_read_or_refused_in_its_place(
        text in "([a-c ${}\\[\\]\"'(),;:=#/\n\r\\\\.0-9-]|é|\\x41|include |\\$a|1k){0,40}"
    ) {
        match parse("c", &text, &none()) {
            Ok(document) => {
                let back = parse("c", &print(&document.root), &none())
                    .map_err(|r| TestCaseError::fail(r.to_string()))?;
                prop_assert!(same_maps(&document.root, &back.root));
            }
            Err(report) => {
                for fault in &report.faults {
                    let place = report.sources.place(fault.at.unwrap());
                    prop_assert!(place.line <= text.split('\n').count());
                    prop_assert!(report.sources.show(fault).ends_with('^'));
                }
            }
        }
    }
}
