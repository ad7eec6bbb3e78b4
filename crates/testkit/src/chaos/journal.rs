//! What happened in a run, line by line, for whoever looks into a broken promise.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::{Arc, Mutex};

use tokio::time::Instant;

/// A file that lines are added to, each with the seconds since the start of the run. Without a file nothing is written.
#[derive(Debug, Clone, Default)]
pub(super) struct Journal(Option<Arc<(Instant, Mutex<File>)>>);

impl Journal {
    /// Goes on at the end of `path`.
    ///
    /// # Panics
    /// When the file can't be opened.
    pub(super) fn open(path: Option<&Path>) -> Self {
        let open =
            |path: &Path| File::options().create(true).append(true).open(path).expect("the journal can be opened");
        Self(path.map(|path| Arc::new((Instant::now(), Mutex::new(open(path))))))
    }

    /// Adds a line.
    ///
    /// # Panics
    /// When it can't be written.
    pub(super) fn line(&self, what: impl FnOnce() -> String) {
        let Some((began, file)) = self.0.as_deref() else { return };
        let line = format!("{:9.3} {}\n", began.elapsed().as_secs_f64(), what());
        file.lock().expect("no panic under this lock").write_all(line.as_bytes()).expect("the journal can be written");
    }
}
