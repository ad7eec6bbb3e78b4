//! A line that says how far it is: in place on a terminal, now and then in a log.

use std::{
    io::{IsTerminal, Write, stderr},
    time::{Duration, Instant},
};

#[derive(Debug)]
pub(crate) struct Progress {
    said: Instant,
    terminal: bool,
    written: bool,
}

impl Progress {
    pub(crate) fn new() -> Self {
        Self { said: Instant::now(), terminal: stderr().is_terminal(), written: false }
    }

    /// Says it, if it is time to say something.
    pub(crate) fn say(&mut self, text: impl FnOnce() -> String) {
        let pause = if self.terminal { Duration::from_millis(250) } else { Duration::from_secs(5) };
        if self.said.elapsed() < pause {
            return;
        }
        self.said = Instant::now();
        self.written = true;
        // Nobody is told when the terminal has gone.
        let _ = if self.terminal { write!(stderr(), "\r\x1b[K{}", text()) } else { writeln!(stderr(), "{}", text()) };
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.terminal && self.written {
            let _ = write!(stderr(), "\r\x1b[K");
        }
    }
}
