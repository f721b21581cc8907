use std::io::Read;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use sha2::{Digest as _, Sha256};

use crate::ids::Digest;

/// Bytes that are hashed where they are read; a file with more than these gets a thread.
const INLINE: u64 = 1 << 20;
/// Pieces that may wait for the thread.
const WAITING: usize = 32;

/// The digest of a stream in the making. Hashing takes a fifth of the time that decompression takes, and a reader waits
/// for decompression: beyond the first MiB it goes on beside it.
#[derive(Default)]
enum State {
    #[default]
    Lost,
    Inline(Sha256, u64),
    Thread(SyncSender<Vec<u8>>, JoinHandle<Sha256>),
}

/// Hashes what passes through.
pub(super) struct Hashing<R> {
    inner: R,
    state: Shared,
}

/// The other end: asks for the digest when the stream is over.
#[derive(Clone)]
pub(super) struct Shared(Arc<Mutex<State>>);

impl<R: Read> Hashing<R> {
    /// A reader that hashes, and the place where the digest will be.
    pub fn new(inner: R) -> (Hashing<R>, Shared) {
        let state = Shared(Arc::new(Mutex::new(State::Inline(Sha256::new(), 0))));
        (Hashing { inner, state: state.clone() }, state)
    }
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        let n = self.inner.read(out)?;
        if let Ok(mut state) = self.state.0.lock() {
            state.feed(&out[..n]);
        }
        Ok(n)
    }
}

impl State {
    fn feed(&mut self, bytes: &[u8]) {
        match self {
            State::Inline(hash, count) => {
                hash.update(bytes);
                *count += bytes.len() as u64;
                if *count > INLINE {
                    self.move_to_thread();
                }
            }
            State::Thread(send, _) => {
                if send.send(bytes.to_vec()).is_err() {
                    *self = State::Lost;
                }
            }
            State::Lost => {}
        }
    }

    fn move_to_thread(&mut self) {
        let State::Inline(hash, _) = std::mem::take(self) else { return };
        let (send, receive) = sync_channel::<Vec<u8>>(WAITING);
        let mut moved = hash.clone();
        let thread = std::thread::Builder::new().name("digest".to_owned()).spawn(move || {
            for piece in receive {
                moved.update(&piece);
            }
            moved
        });
        *self = match thread {
            Ok(thread) => State::Thread(send, thread),
            // No thread to be had: it stays here.
            Err(_) => State::Inline(hash, 0),
        };
    }
}

impl Shared {
    /// The digest of all that has passed; ends the hashing. Nothing when it was lost or asked for before.
    pub fn finish(&self) -> Option<Digest> {
        let state = std::mem::take(&mut *self.0.lock().ok()?);
        let hash = match state {
            State::Inline(hash, _) => hash,
            State::Thread(send, thread) => {
                drop(send);
                thread.join().ok()?
            }
            State::Lost => return None,
        };
        Some(Digest(hash.finalize().into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_streams_have_the_digest_of_their_bytes() {
        for size in [0usize, 1000, 5 << 20] {
            let bytes: Vec<u8> = (0..size).map(|i| (i * 7 + i / 251) as u8).collect();
            let (mut reader, shared) = Hashing::new(std::io::Cursor::new(bytes.clone()));
            let mut piece = vec![0; 100_000];
            while reader.read(&mut piece).unwrap() > 0 {}
            assert_eq!(shared.finish(), Some(crate::io::digest(&bytes)), "{size} bytes");
            assert_eq!(shared.finish(), None);
        }
    }
}
