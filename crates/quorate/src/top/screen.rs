//! The other screen of a terminal (ECMA-48 and the sequences of xterm), and the key that ends it.
//!
//! What was there before is there again afterwards, however it ends: the screen, the cursor, and how the terminal takes keys.

use std::io::IsTerminal as _;
use std::time::Duration;

use rustix::termios::{self, LocalModes, OptionalActions, SpecialCodeIndex, Termios};

use crate::exit::{Exit, Failure};
use crate::output;

/// Goes to the other screen, and hides the cursor.
const OPEN: &str = "\u{1b}[?1049h\u{1b}[?25l";
/// Shows the cursor, and goes back.
const CLOSE: &str = "\u{1b}[?25h\u{1b}[?1049l";
/// To the upper left corner.
const HOME: &str = "\u{1b}[H";
/// Clears the rest of a line.
const CLEAR_LINE: &str = "\u{1b}[K";
/// Clears what is below.
const CLEAR_BELOW: &str = "\u{1b}[J";
/// How often is looked whether a key was pressed: at once, for who presses it.
const KEYS: Duration = Duration::from_millis(100);
/// A terminal that does not say how large it is.
const USUAL: Size = Size { columns: 80, lines: 24 };

/// How large a frame may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Size {
    pub(super) columns: usize,
    pub(super) lines: usize,
}

/// A terminal with its other screen open.
pub(super) struct Screen {
    /// How it took keys before; nothing where stdin is none.
    before: Option<Termios>,
}

// === impl Screen ===

impl Screen {
    /// Opens it; nothing where stdout is no terminal.
    pub(super) fn open() -> Result<Option<Self>, Failure> {
        if !std::io::stdout().is_terminal() {
            return Ok(None);
        }
        let before = termios::tcgetattr(std::io::stdin()).ok();
        if let Some(before) = &before {
            let mut now = before.clone();
            // Each key as it is pressed, and unseen; reading does not wait for one.
            now.local_modes.remove(LocalModes::ICANON | LocalModes::ECHO);
            (now.special_codes[SpecialCodeIndex::VMIN], now.special_codes[SpecialCodeIndex::VTIME]) = (0, 0);
            termios::tcsetattr(std::io::stdin(), OptionalActions::Now, &now)
                .map_err(|error| Failure::new(Exit::Failure, format!("cannot set the terminal: {error}")))?;
        }
        let screen = Self { before };
        output::draw(OPEN)?;
        Ok(Some(screen))
    }

    pub(super) fn size(&self) -> Size {
        let size = termios::tcgetwinsize(std::io::stdout()).ok();
        let size = size.filter(|size| size.ws_col > 0 && size.ws_row > 0);
        size.map_or(USUAL, |size| Size { columns: size.ws_col.into(), lines: size.ws_row.into() })
    }

    /// Waits for the key that ends it; for ever where stdin is no terminal.
    pub(super) async fn quits(&self) {
        if self.before.is_none() {
            return std::future::pending().await;
        }
        let mut pressed = [0; 64];
        loop {
            tokio::time::sleep(KEYS).await;
            let count = rustix::io::read(std::io::stdin(), &mut pressed).unwrap_or_default();
            if pressed[..count].iter().any(|key| matches!(key, b'q' | b'Q')) {
                return;
            }
        }
    }

    /// Draws lines, of which there are no more than the screen has, over what is there.
    pub(super) fn draw(&self, frame: &str) -> Result<(), Failure> {
        let mut text = String::from(HOME);
        for (place, line) in frame.lines().enumerate() {
            // No line break behind the last one, which would move them all up.
            text.push_str(if place == 0 { "" } else { "\r\n" });
            text.push_str(line);
            text.push_str(CLEAR_LINE);
        }
        text.push_str(CLEAR_BELOW);
        output::draw(&text)
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // The terminal may be gone.
        let _closed = output::draw(CLOSE);
        if let Some(before) = &self.before {
            let _restored = termios::tcsetattr(std::io::stdin(), OptionalActions::Now, before);
        }
    }
}
