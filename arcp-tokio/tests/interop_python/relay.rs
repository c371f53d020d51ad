//! A cable that can be pulled.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinHandle};

/// Carries connections from a free port of its own to a URL's, until they are cut.
pub(crate) struct Relay {
    pub(crate) url: String,
    carried: Arc<Mutex<Vec<AbortHandle>>>,
    is_pulled: Arc<AtomicBool>,
    accepting: JoinHandle<()>,
}

impl Relay {
    pub(crate) async fn start(url: &str) -> Self {
        let target = url.strip_prefix("ws://").and_then(|rest| rest.split('/').next()).unwrap().to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let carried = Arc::new(Mutex::new(Vec::new()));
        let carrying = Arc::clone(&carried);
        let is_pulled = Arc::new(AtomicBool::new(false));
        let refusing = Arc::clone(&is_pulled);
        let url = url.replace(&target, &address);
        let accepting = tokio::spawn(async move {
            while let Ok((mut near, _)) = listener.accept().await {
                if refusing.load(Ordering::Acquire) {
                    continue;
                }
                let mut far = TcpStream::connect(&target).await.unwrap();
                let task = tokio::spawn(async move { drop(copy_bidirectional(&mut near, &mut far).await) });
                carrying.lock().unwrap().push(task.abort_handle());
            }
        });
        Self { url, carried, is_pulled, accepting }
    }

    /// Breaks every connection; new ones are taken.
    pub(crate) fn cut(&self) {
        self.carried.lock().unwrap().drain(..).for_each(|task| task.abort());
    }

    /// Breaks every connection and takes none until [`Relay::plug`].
    pub(crate) fn pull(&self) {
        self.is_pulled.store(true, Ordering::Release);
        self.cut();
    }

    pub(crate) fn plug(&self) {
        self.is_pulled.store(false, Ordering::Release);
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.accepting.abort();
        self.cut();
    }
}
