use crate::cli::command::{self, Surroundings};
use crate::cli::report::text::Colours;
use crate::segmentation::seal::{Generation, SealKeys};
use crate::telemetry::record::{Happening, MARK, Record, What};
use jiff::{SignedDuration, Timestamp};
use std::ffi::OsString;
use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex};

fn began() -> Timestamp {
    "2026-11-26T03:00:00Z".parse().unwrap()
}

fn seal_keys() -> SealKeys {
    SealKeys::new(Generation::from_random(&[7; 36], began()).unwrap())
}

fn a_log(closed: bool) -> Vec<String> {
    let lines = Arc::new(Mutex::new(Vec::new()));
    let kept = lines.clone();
    let out = Box::new(move |line: &str| kept.lock().unwrap().push(line.to_owned()));
    let record = Record::to([3; 8], "operator-0", out);
    record.use_keys(&seal_keys(), began());
    record.write(began(), Happening::of(What::KeyRevoked).cluster("KeyRevocation", "leak"));
    record.mark(began() + MARK);
    if closed {
        record.close(began() + MARK);
    }
    let lines = lines.lock().unwrap();
    lines.clone()
}

struct Told {
    code: u8,
    out: String,
    err: String,
}

fn ask(folder: &Path, arguments: &[&str], stdin: &str, after: SignedDuration) -> Told {
    let own = ["kubectl-scoped_secrets", "verify-log"];
    let named = |word: &&str| match word.strip_prefix("@") {
        Some(file) => folder.join(file).into_os_string(),
        None => OsString::from(word),
    };
    let words = own.iter().map(OsString::from).chain(arguments.iter().map(named));
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let clock = || began() + after;
    let around = Surroundings { clock: &clock, colours: Colours(false), terminal: false };
    let code = command::run(words, &around, &mut stdin.as_bytes(), &mut out, &mut err);
    Told { code, out: String::from_utf8(out).unwrap(), err: String::from_utf8(err).unwrap() }
}

fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("seal"), &*seal_keys().to_stored().unwrap()).unwrap();
    let (whole, mut goes_on) = (a_log(true), a_log(false));
    fs::write(folder.path().join("whole.log"), whole.join("\n")).unwrap();
    fs::write(folder.path().join("open.log"), goes_on.join("\n")).unwrap();
    fs::write(folder.path().join("half.log"), whole[2..].join("\n")).unwrap();
    goes_on.remove(1);
    goes_on[1] = goes_on[1].replace("\"Mark\"", "\"Murk\"");
    fs::write(folder.path().join("altered.log"), goes_on.join("\n")).unwrap();
    fs::write(folder.path().join("none.log"), "nothing\n").unwrap();
    folder
}

#[test]
fn logs_are_clean_or_say_what_is_wrong() {
    let folder = folder();
    let printed = ask(folder.path(), &["--print-key", "--key-file", "@seal"], "", SignedDuration::ZERO);
    assert_eq!(printed.code, 0, "{}", printed.err);
    fs::write(folder.path().join("keys"), &printed.out).unwrap();
    let (soon, later) = (SignedDuration::from_secs(100), SignedDuration::from_hours(9));
    for (log, after, code, words) in [
        (
            "@whole.log",
            later,
            0,
            &["clean", "process 0303030303030303 of pod operator-0: 4 genuine lines", "and closed"][..],
        ),
        ("@open.log", soon, 0, &["clean", "not closed", "not found by this: a process without any line"]),
        ("@open.log", later, 1, &["RecordEndMissing", "number 3", "without a closing line"]),
        (
            "@half.log",
            later,
            1,
            &["RecordMissing", "the beginning of process 0303030303030303 is missing: its lines up to number 2"],
        ),
        (
            "@altered.log",
            soon,
            1,
            &["RecordAltered", "line 2 was altered or made up", "number 3 of process", "1 finding"],
        ),
        ("@none.log", soon, 1, &["RecordMissing", "no line of the record"]),
    ] {
        for key in ["@seal", "@keys"] {
            let told = ask(folder.path(), &["--key-file", key, log], "", after);
            assert_eq!(told.code, code, "{log}: {}{}", told.out, told.err);
            words.iter().for_each(|part| assert!(told.out.contains(part), "{log}: {part}: {}", told.out));
        }
    }
}

#[test]
fn several_logs_stdin_and_every_output() {
    let folder = folder();
    let lines = a_log(true);
    fs::write(folder.path().join("first.log"), lines[..2].join("\n")).unwrap();
    fs::write(folder.path().join("second.log"), lines[2..].join("\n")).unwrap();
    let later = SignedDuration::from_hours(9);
    let told = ask(folder.path(), &["--key-file", "@seal", "@first.log", "@second.log"], "", later);
    assert_eq!(told.code, 0, "{}{}", told.out, told.err);
    let told = ask(folder.path(), &["--key-file", "@seal", "@second.log", "@first.log"], "", later);
    assert!(told.code == 1 && told.out.contains("RecordMoved"), "{}", told.out);
    let told = ask(folder.path(), &["--key-file", "@seal", "-", "-o", "json"], &lines[1..].join("\n"), later);
    let json: serde_json::Value = serde_json::from_str(&told.out).unwrap();
    assert_eq!((told.code, &json["findings"][0]["reason"]), (1, &"RecordMissing".into()));
    let until = ["--key-file", "@seal", "@open.log", "--until", "2026-11-26T03:02:00Z"];
    assert_eq!(ask(folder.path(), &until, "", later).code, 0);
    let told = ask(folder.path(), &["--key-file", "-", "@altered.log", "-o", "sarif"], &printed_key(&folder), later);
    let log: serde_json::Value = serde_json::from_str(&told.out).unwrap();
    let first = &log["runs"][0]["results"][0];
    assert_eq!(first["locations"][0]["physicalLocation"]["region"]["startLine"], 2, "{log}");
}

fn printed_key(folder: &tempfile::TempDir) -> String {
    ask(folder.path(), &["--print-key", "--key-file", "@seal"], "", SignedDuration::ZERO).out
}

#[test]
fn what_cannot_be_read_is_an_error() {
    let folder = folder();
    fs::write(folder.path().join("canary"), "canary canary").unwrap();
    for (arguments, words) in [
        (&["--key-file", "@seal", "@missing.log"][..], "missing.log"),
        (&["--key-file", "@canary", "@whole.log"], "no key of the record"),
        (&["--key-file", "@missing", "@whole.log"], "--key-file"),
        (&["--key-file", "-", "-"], "once"),
        (&[], "FILE"),
        (&["--key-file", "@seal", "@whole.log", "--until", "soon"], "--until"),
        (&["--kubeconfig", "/no/such/file", "@whole.log"], "kubeconfig"),
    ] {
        let told = ask(folder.path(), arguments, "", SignedDuration::ZERO);
        assert_eq!(told.code, 2, "{arguments:?}: {}", told.out);
        assert!(told.err.contains(words) && !told.err.contains("canary canary"), "{arguments:?}: {}", told.err);
    }
}
