//! A collector of OpenTelemetry traces, in the test's process: it takes OTLP over HTTP and keeps what it was sent. In protobuf a
//! text is its bytes, so that it can be looked for without decoding.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// What was sent.
#[derive(Clone)]
pub struct Collector {
    /// Its base URL.
    pub endpoint: String,
    sent: Arc<Mutex<Vec<u8>>>,
}

impl Collector {
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has free ports");
        let endpoint = format!("http://{}", listener.local_addr().expect("it listens"));
        let collector = Self { endpoint, sent: Arc::default() };
        let own = collector.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let own = own.clone();
                std::thread::spawn(move || own.serve(stream));
            }
        });
        collector
    }

    fn serve(&self, stream: TcpStream) {
        let mut answers = stream.try_clone().expect("a socket has two ends");
        let mut requests = BufReader::new(stream);
        loop {
            let (mut head, mut length) = (String::new(), 0);
            while !head.ends_with("\r\n\r\n") {
                let begun = head.len();
                if requests.read_line(&mut head).unwrap_or(0) == 0 {
                    return;
                }
                let line = head[begun..].to_ascii_lowercase();
                if let Some(value) = line.strip_prefix("content-length:") {
                    length = value.trim().parse().expect("a length is a number");
                }
            }
            assert!(head.starts_with("POST /v1/traces HTTP/1.1\r\n"), "{head}");
            assert!(head.to_ascii_lowercase().contains("content-type: application/x-protobuf"), "{head}");
            let mut body = vec![0; length];
            if requests.read_exact(&mut body).is_err() {
                return;
            }
            self.sent.lock().unwrap().extend(body);
            let _ = answers
                .write_all(b"HTTP/1.1 200 OK\r\nContent-Type: application/x-protobuf\r\nContent-Length: 0\r\n\r\n");
        }
    }

    /// Whether a text was sent.
    pub fn has(&self, text: &str) -> bool {
        self.sent.lock().unwrap().windows(text.len()).any(|window| window == text.as_bytes())
    }

    /// Ok if all of these texts were sent.
    pub fn has_all(&self, texts: &[&str]) -> Result<(), String> {
        let missing: Vec<&&str> = texts.iter().filter(|text| !self.has(text)).collect();
        if missing.is_empty() { Ok(()) } else { Err(format!("{missing:?} was not sent")) }
    }
}
