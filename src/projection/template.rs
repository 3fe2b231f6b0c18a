//! Rendering `target.template.data`: strict, bounded, and silent about what it saw.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use minijinja::value::{Object, ObjectRepr, Value, ValueKind};
use minijinja::{AutoEscape, Environment, Error, ErrorKind, State, UndefinedBehavior};
use zeroize::Zeroizing;

use super::language::{self, Refused};
use crate::provider::SecretBytes;

/// Work that one template may do: an instruction, or 64 bytes made, costs one.
const FUEL: u64 = 50_000;
/// The most that one template, or one `tojson` or `join` in it, may make, in bytes.
const MAX_OUTPUT: usize = 65_536;

/// Everything that templates may ask for.
pub(super) struct Variables {
    root: Value,
    names: Vec<String>,
    misused: Arc<AtomicBool>,
}

impl Variables {
    /// From the keys and values of the Secret so far.
    pub(super) fn new(data: &BTreeMap<String, SecretBytes>) -> Self {
        let misused = Arc::new(AtomicBool::new(false));
        let values: BTreeMap<String, Value> =
            data.iter().map(|(key, value)| (key.clone(), variable(value.expose(), &misused))).collect();
        let names = values.keys().cloned().collect();
        let mut root = values.clone();
        root.insert("secrets".into(), Value::from_object(Secrets { values, misused: misused.clone() }));
        Self { root: Value::from(root), names, misused }
    }
}

fn variable(bytes: &[u8], misused: &Arc<AtomicBool>) -> Value {
    match std::str::from_utf8(bytes) {
        Ok(text) => Value::from(text),
        Err(_) => Value::from_object(Binary { bytes: SecretBytes::new(bytes.to_vec()), misused: misused.clone() }),
    }
}

/// `secrets["a.b"]`: every value by its key. Only looked up, never printed or iterated over.
struct Secrets {
    values: BTreeMap<String, Value>,
    misused: Arc<AtomicBool>,
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<secrets>")
    }
}

impl Object for Secrets {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }

    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        self.values.get(key.as_str()?).cloned()
    }

    fn render(self: &Arc<Self>, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.misused.store(true, Ordering::Relaxed);
        Ok(())
    }
}

/// A value that is no text: good for `b64encode`, and nothing else.
#[derive(Debug)]
struct Binary {
    bytes: SecretBytes,
    misused: Arc<AtomicBool>,
}

impl Object for Binary {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }

    // Operators and filters turn an operand into text without asking: remembered, and refused at the end.
    fn render(self: &Arc<Self>, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.misused.store(true, Ordering::Relaxed);
        Ok(())
    }
}

/// Renders one template. The error says what is wrong with it, in words of our own: minijinja's would show values.
pub(super) fn render(source: &str, variables: &Variables) -> Result<SecretBytes, Refused> {
    language::check(source)?;
    let environment = environment();
    let template = environment.template_from_str(source).map_err(|error| told(&error, None))?;
    variables.misused.store(false, Ordering::Relaxed);
    let mut out = Bounded::default();
    let rendered = template.render_captured_to(variables.root.clone(), &mut out);
    if variables.misused.load(Ordering::Relaxed) {
        return Err(Refused {
            line: None,
            what: "uses a binary value, or secrets as a whole, as text: a binary value goes through | b64encode, a text is \
                   secrets[\"its key\"]"
                .into(),
        });
    }
    match rendered {
        Ok(_) => Ok(SecretBytes::new(std::mem::take(&mut *out.bytes))),
        Err(error) => {
            let mut unknown: Vec<String> = template
                .undeclared_variables(false)
                .into_iter()
                .filter(|name| name != "secrets" && !variables.names.contains(name))
                .collect();
            unknown.sort_unstable();
            Err(told(&error, Some(&unknown)))
        }
    }
}

/// The kind and the line of minijinja's error, and nothing else of it.
fn told(error: &Error, unknown: Option<&[String]>) -> Refused {
    let what = match error.kind() {
        ErrorKind::UndefinedError => match unknown {
            Some(names @ [_, ..]) => {
                format!("asks for what no secretKey gives ({}): correct it, or write | default(\"\")", names.join(", "))
            }
            _ => "asks for something that is not there: variables are the secretKeys, or secrets[\"a.b\"]".into(),
        },
        ErrorKind::OutOfFuel => "does too much work: make it shorter".into(),
        ErrorKind::WriteFailure => format!("grows beyond {MAX_OUTPUT} bytes: make it shorter"),
        ErrorKind::SyntaxError => "is not a valid template".into(),
        ErrorKind::TooManyArguments | ErrorKind::MissingArgument => "gives a filter too many or too few arguments".into(),
        ErrorKind::BadEscape => "has a bad escape in a string".into(),
        ErrorKind::InvalidOperation => {
            "prints a value, or applies a filter or operator to one, that is not fit for it (a binary value goes through \
             | b64encode, b64decode needs base64 of a text, a list is printed by | join or | tojson)"
                .into()
        }
        _ => "cannot be rendered with the values that are there".into(),
    };
    Refused { line: error.line(), what }
}

fn environment() -> Environment<'static> {
    let mut environment = Environment::new();
    environment.set_syntax(language::syntax());
    environment.set_auto_escape_callback(|_| AutoEscape::None);
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_fuel(Some(FUEL));
    environment.set_recursion_limit(32);
    environment.set_formatter(|out, _, value| match value.kind() {
        ValueKind::Undefined => Err(Error::from(ErrorKind::UndefinedError)),
        ValueKind::String | ValueKind::Number | ValueKind::Bool => write!(out, "{value}").map_err(Error::from),
        _ => Err(cannot("only texts, numbers and booleans can be printed")),
    });
    environment.add_filter("b64encode", |value: &Value| Ok::<_, Error>(BASE64.encode(&*operand(value)?)));
    environment.add_filter("b64decode", |text: &str| {
        let decoded = BASE64.decode(text.trim_ascii()).map_err(|_| cannot("not base64"))?;
        String::from_utf8(decoded).map_err(|_| cannot("not text"))
    });
    environment.add_filter("urlencode", |value: &Value| Ok::<_, Error>(urlencode(&operand(value)?)));
    environment.add_filter("tojson", |value: &Value| {
        let mut out = Bounded::default();
        serde_json::to_writer(&mut out, value).map_err(|_| cannot("not JSON, or too large"))?;
        out.text()
    });
    environment.add_filter("join", |state: &State<'_, '_>, list: &Value, joiner: Option<&str>| {
        let mut out = Bounded::default();
        for (n, item) in list.try_iter()?.enumerate() {
            state.consume_fuel(1)?;
            let joiner = if n == 0 { "" } else { joiner.unwrap_or_default() };
            let item = operand(&item)?;
            out.write_all(joiner.as_bytes()).and_then(|()| out.write_all(&item)).map_err(|_| cannot("too large"))?;
        }
        out.text()
    });
    environment
}

fn cannot(why: &'static str) -> Error {
    Error::new(ErrorKind::InvalidOperation, why)
}

/// The bytes of a text, number, boolean or binary value.
fn operand(value: &Value) -> Result<Zeroizing<Vec<u8>>, Error> {
    if let Some(binary) = value.downcast_object_ref::<Binary>() {
        return Ok(Zeroizing::new(binary.bytes.expose().to_vec()));
    }
    match value.kind() {
        ValueKind::String => Ok(Zeroizing::new(value.as_str().unwrap_or_default().as_bytes().to_vec())),
        ValueKind::Number | ValueKind::Bool => Ok(Zeroizing::new(value.to_string().into_bytes())),
        ValueKind::Undefined => Err(Error::from(ErrorKind::UndefinedError)),
        _ => Err(cannot("not a text, number, boolean or binary value")),
    }
}

/// Percent-encodes all but unreserved characters (RFC 3986), `/` included: right for every part of a URL. minijinja's own
/// leaves `/`, which breaks a URL whose password has one.
fn urlencode(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len());
    for byte in bytes {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(char::from(*byte)),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

/// A buffer that refuses to grow too far, and is zeroed.
#[derive(Default)]
struct Bounded {
    bytes: Zeroizing<Vec<u8>>,
}

impl Bounded {
    fn text(mut self) -> Result<String, Error> {
        String::from_utf8(std::mem::take(&mut *self.bytes)).map_err(|_| cannot("not text"))
    }
}

impl Write for Bounded {
    fn write(&mut self, more: &[u8]) -> io::Result<usize> {
        if self.bytes.len() + more.len() > MAX_OUTPUT {
            return Err(io::Error::other("too large"));
        }
        self.bytes.extend_from_slice(more);
        Ok(more.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    const CANARY: &str = "kX9/mQ2$v\"L8'<å";

    fn variables() -> Variables {
        let big = "x".repeat(65_536);
        let data: [(&str, &[u8]); 8] = [
            ("username", b"app"),
            ("password", CANARY.as_bytes()),
            ("a.b", b"dotted"),
            ("hosts", b"h1,h2,h3"),
            ("port", b"5432"),
            ("encoded", b"aGVsbG8="),
            ("bin", &[0xff, 0xfe]),
            ("big", big.as_bytes()),
        ];
        Variables::new(&data.iter().map(|(k, v)| ((*k).to_owned(), SecretBytes::new(v.to_vec()))).collect())
    }

    fn text(source: &str) -> Result<String, Refused> {
        render(source, &variables()).map(|bytes| String::from_utf8(bytes.expose().to_vec()).unwrap())
    }

    #[test]
    fn renders_what_was_meant() {
        for (source, expected) in [
            ("postgres://{{ username }}@db\n", "postgres://app@db\n"),
            ("{{ password }}", CANARY),
            ("{{ password | urlencode }}", "kX9%2FmQ2%24v%22L8%27%3C%C3%A5"),
            ("{{ password | tojson }}", r#""kX9/mQ2$v\"L8'<å""#),
            ("{{ username | b64encode }}", "YXBw"),
            ("{{ bin | b64encode }}", "//4="),
            ("{{ encoded | b64decode }}", "hello"),
            ("{{ secrets['a.b'] }}{{ secrets.username }}", "dottedapp"),
            ("{{ missing | default('x') }}{{ secrets['c.d'] | default('y') }}", "xy"),
            ("{% if missing is defined %}a{% else %}b{% endif %}", "b"),
            (
                "{% for h in hosts | split(',') %}{{ h }}:{{ port }}{{ ',' if not loop.last else '' }}{% endfor %}",
                "h1:5432,h2:5432,h3:5432",
            ),
            ("{{ hosts | split(',') | join(' ') }}{{ [username, 1] | join }}", "h1 h2 h3app1"),
            (
                "{{ {'auths': {'r': {'username': username, 'n': 1, 'l': hosts | split(',')}}} | tojson }}",
                r#"{"auths":{"r":{"l":["h1","h2","h3"],"n":1,"username":"app"}}}"#,
            ),
            ("{{ port | int + 1 }}{{ 'a' + username }}", "5433aapp"),
            ("{{ username[:2] }}{{ 'y' if username in ['app'] else 'n' }}", "apy"),
            ("<{{ '<' }}>", "<<>"),
        ] {
            assert_eq!(text(source).as_deref(), Ok(expected), "{source}");
        }
    }

    #[test]
    fn fails_strictly_and_says_nothing_of_values() {
        for (source, told) in [
            ("{{ usrname }}", "usrname"),
            ("a\n{{ usrname }}", "usrname"),
            ("{{ secrets['c.d'] }}", "not there"),
            ("{{ usrname ~ password }}", "usrname"),
            ("{{ password | b64decode }}", "b64decode"),
            ("{{ '//4=' | b64decode }}", "b64decode"),
            ("{{ bin }}", "list"),
            ("{{ bin ~ 'x' }}", "binary"),
            ("{{ bin | upper }}", ""),
            ("{{ bin | tojson }}", "binary"),
            ("{{ {'a': bin} | tojson }}", "binary"),
            ("{{ secrets }}", ""),
            ("{{ secrets | tojson }}", "secrets"),
            ("{{ secrets ~ '' }}", "secrets"),
            ("{% for s in secrets %}{{ s }}{% endfor %}", ""),
            ("{{ hosts | split(',') }}", "join"),
            ("{{ password | int }}", ""),
            ("{{ password.x.y }}", ""),
            ("{{ password | length + password }}", ""),
            ("{{ bin | join }}", ""),
            ("{{ password", "valid template"),
        ] {
            let refused = text(source).unwrap_err();
            assert!(refused.what.contains(told), "{source}: {}", refused.what);
            assert!(!refused.what.contains("kX9") && !refused.what.contains("dotted"), "{source}: {}", refused.what);
        }
        assert_eq!(text("a\n{{ usrname }}").unwrap_err().line, Some(2));
    }

    #[test]
    fn bombs_go_off_quickly_and_small() {
        let doubled = |start: &str, step: &str, end: &str| format!("{start}{}{end}", step.repeat(60));
        for source in [
            "{{ 'x' * 1000000000 }}".to_owned(),
            "{{ ([big] * 100000000) | join }}".into(),
            "{% for a in range(100000000) %}x{% endfor %}".into(),
            "{{ big | indent(1000000000, true) }}".into(),
            "{{ '%1000000000d' | format(1) }}".into(),
            format!("{{{{ [{}] | tojson }}}}", "big,".repeat(100)),
            format!("{{{{ [{}] | join }}}}", "big,".repeat(100)),
            "{{ big }}{{ big }}".into(),
            "{{ big | replace('x', big) }}".into(),
            "{{ big | replace('', big) }}".into(),
            "{{ big | upper | tojson }}".into(),
            doubled("{% set a = big %}", "{% set a = a ~ a %}", "{{ a }}"),
            doubled("{% set a = 'x' %}", "{% set a = '' + a ~ a %}", "{{ a }}"),
            doubled("{% set a = big | split('') %}", "{% set a = a ~ a %}", "{{ a }}"),
            doubled("{% set a = big | lines %}", "{% set a = a + a %}", "{{ a | join }}"),
            doubled("{% set a = [big] %}", "{% set a = [a, a] %}", "{{ a }}"),
            doubled("{% set a = 1 %}{% set b = 1 %}", "{% set a = a ** 9 %}", "{{ a }}"),
            doubled("", "{% for a in big | split('') %}", &format!("x{}", "{% endfor %}".repeat(60))),
            format!("{}y{}", "{% for a in big %}".repeat(4), "{% endfor %}".repeat(4)),
            format!("{{% set a = big | split('') %}}{}{{{{ a | join }}}}", "{% set a = a[::1] %}".repeat(780)),
            format!(
                "{{% set a = big | split('') %}}{}{}",
                "{% set a = a[::1] %}".repeat(8),
                "{{ a | join }}".repeat(900)
            ),
            format!("{{% set a = big | replace('x', ',') | split(',') %}}{}", "{{ a | join }}".repeat(900)),
            format!("{{% set a = big | replace('x', ',') | split(',') %}}{}", "{{ a | tojson | length }}".repeat(600)),
            format!(
                "{{% set a = big | replace('x', ',') | split(',') %}}{}",
                "{{ 'y' in a }}{{ a | last }}".repeat(500)
            ),
            format!("{{% set a = big | split('') %}}{}", "{% set b = a ~ '' %}".repeat(700)),
            format!("{{% set a = big | split('') %}}{}", "{% set b = a | upper %}".repeat(700)),
            format!("{{% set a = big | split('') %}}{}", "{{ a == a[::-1] }}".repeat(800)),
            format!("{{% set a = big %}}{}", "{% set b = a | split('') %}".repeat(500)),
            format!("{{% set a = big ~ big ~ big ~ big %}}{}", "{% set b = a | title | upper | lower %}".repeat(300)),
        ] {
            let began = Instant::now();
            let rendered = render(&source, &variables());
            assert!(
                began.elapsed() < Duration::from_secs(5),
                "{:?} {}",
                began.elapsed(),
                &source[..source.len().min(90)]
            );
            if let Ok(bytes) = rendered {
                assert!(bytes.expose().len() <= MAX_OUTPUT);
            }
        }
    }

    #[test]
    fn a_deep_but_allowed_template_fits_a_small_stack() {
        let sources = [
            format!("{{{{ {}username }}}}", "''~".repeat(140)),
            format!("{{{{ username{} }}}}", "|d".repeat(140)),
            format!("{{{{ {}username{} }}}}", "(".repeat(70), ")".repeat(70)),
            format!("{{{{ {}1{} | tojson }}}}", "[".repeat(70), "]".repeat(70)),
            format!("{}x{}", "{% if username %}".repeat(70), "{% endif %}".repeat(70)),
        ];
        // What a worker thread of the runtime has.
        let thread = std::thread::Builder::new().stack_size(2 << 20).spawn(move || {
            for source in &sources {
                text(source).unwrap();
            }
        });
        thread.unwrap().join().unwrap();
    }
}
