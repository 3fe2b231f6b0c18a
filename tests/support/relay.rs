//! A way to the API server that can be cut, as a network is.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

/// Passes bytes on to an address; while it is cut, nothing gets through, and what is open ends.
pub struct Relay {
    /// Where it listens.
    pub address: String,
    cut: Arc<AtomicBool>,
    open: Arc<Mutex<Vec<TcpStream>>>,
}

impl Relay {
    /// One to this address, until the process ends.
    pub fn to(address: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has free ports");
        let its = listener.local_addr().expect("it is bound").to_string();
        let relay = Self { address: its, cut: Arc::default(), open: Arc::default() };
        let (to, cut, open) = (address.to_owned(), relay.cut.clone(), relay.open.clone());
        thread::spawn(move || {
            for here in listener.incoming().flatten() {
                let Some(there) = TcpStream::connect(&to).ok().filter(|_| !cut.load(Ordering::SeqCst)) else {
                    continue;
                };
                let copies = || Some([here.try_clone().ok()?, there.try_clone().ok()?]);
                let (Some(ends), Some(back)) = (copies(), copies()) else { continue };
                open.lock().expect("nobody panics with it").extend(ends);
                let [its_here, its_there] = back;
                thread::spawn(move || pass(here, there));
                thread::spawn(move || pass(its_there, its_here));
            }
        });
        relay
    }

    /// Ends what is open, and lets nothing through.
    pub fn cut(&self) {
        self.cut.store(true, Ordering::SeqCst);
        for end in self.open.lock().expect("nobody panics with it").drain(..) {
            let _ = end.shutdown(Shutdown::Both);
        }
    }

    /// Lets everything through again.
    pub fn mend(&self) {
        self.cut.store(false, Ordering::SeqCst);
    }
}

fn pass(mut from: TcpStream, mut to: TcpStream) {
    let mut some = [0; 16 * 1024];
    while let Ok(count @ 1..) = from.read(&mut some) {
        if to.write_all(&some[..count]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Both);
}
