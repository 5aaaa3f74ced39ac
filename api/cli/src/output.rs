//! What people and programs see: data on stdout, talk on stderr; tables, colours and bars only
//! on a terminal; one JSON object or line with `--json`.
//!
//! Not here: what is said. Every command writes its own sentences.

use std::io::{self, IsTerminal as _, Write as _};
use std::time::Duration;

use comfy_table::{ContentArrangement, Table, presets};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;

/// What a command may print, decided once.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Output {
    format: Format,
    quiet: bool,
    stdout_terminal: bool,
    stderr_terminal: bool,
    colours: bool,
}

/// The form of data on stdout.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Format {
    /// Sentences, tables and aligned lines.
    Text,
    /// JSON with the same names in every version.
    Json,
}

/// A colour of a word, used on a terminal only.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Colour {
    /// It holds.
    Green,
    /// It does not.
    Red,
    /// Look here.
    Yellow,
    /// Less important.
    Faint,
    /// A heading.
    Bold,
}

impl Output {
    /// Looks at the two streams and at `NO_COLOR` (no-color.org: any value that is not empty).
    pub fn of_process(format: Format, quiet: bool) -> Output {
        let no_colour = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        let stdout_terminal = io::stdout().is_terminal();
        Output {
            format,
            quiet,
            stdout_terminal,
            stderr_terminal: io::stderr().is_terminal() && !dumb,
            colours: stdout_terminal && !no_colour && !dumb,
        }
    }

    /// Whether data is wanted as JSON.
    pub fn is_json(&self) -> bool {
        self.format == Format::Json
    }

    /// Whether stdout is a terminal.
    pub fn is_terminal(&self) -> bool {
        self.stdout_terminal
    }

    /// One line of data.
    ///
    /// # Errors
    /// Those of stdout; a closed pipe among them.
    pub fn line(&self, text: &str) -> io::Result<()> {
        let mut out = io::stdout().lock();
        out.write_all(text.as_bytes())?;
        out.write_all(b"\n")?;
        out.flush()
    }

    /// One JSON value on a line of its own.
    ///
    /// # Errors
    /// Those of stdout, and of a value that JSON cannot hold.
    pub fn json(&self, value: &impl Serialize) -> io::Result<()> {
        self.line(&serde_json::to_string(value)?)
    }

    /// Rows under headings: a table on a terminal, otherwise lines with tabs and no headings.
    ///
    /// # Errors
    /// Those of stdout.
    pub fn table(&self, headings: &[&str], rows: &[Vec<String>]) -> io::Result<()> {
        if self.stdout_terminal {
            let mut table = Table::new();
            table
                .load_style(presets::NOTHING)
                .set_content_arrangement(ContentArrangement::Disabled)
                .set_header(headings.iter().map(|heading| heading.to_uppercase()));
            table.add_rows(
                rows.iter()
                    .map(|row| row.iter().map(|cell| printable(cell))),
            );
            return self.line(&table.trim_fmt());
        }
        for row in rows {
            let cells: Vec<String> = row.iter().map(|cell| printable(cell)).collect();
            self.line(&cells.join("\t"))?;
        }
        Ok(())
    }

    /// Names and values: aligned on a terminal, with a tab between them elsewhere.
    ///
    /// # Errors
    /// Those of stdout.
    pub fn fields(&self, fields: &[(&str, String)]) -> io::Result<()> {
        let width = fields
            .iter()
            .map(|(name, _)| name.len())
            .max()
            .unwrap_or_default();
        for (name, value) in fields {
            let value = printable(value);
            if self.stdout_terminal {
                let name = self.paint(Colour::Faint, &format!("{name:<width$}"));
                self.line(&format!("{name}  {value}"))?;
            } else {
                self.line(&format!("{name}\t{value}"))?;
            }
        }
        Ok(())
    }

    /// A line of talk on stderr, unless `--quiet`. A stderr that is gone is no reason to stop.
    pub fn say(&self, text: &str) {
        if !self.quiet {
            stderr_line(text);
        }
    }

    /// The text in a colour, if stdout is a terminal and colours are wanted.
    pub fn paint(&self, colour: Colour, text: &str) -> String {
        if !self.colours {
            return text.to_owned();
        }
        let code = match colour {
            Colour::Green => "32",
            Colour::Red => "31",
            Colour::Yellow => "33",
            Colour::Faint => "2",
            Colour::Bold => "1",
        };
        format!("\u{1b}[{code}m{text}\u{1b}[0m")
    }

    /// A bar that counts `unit`s to `total`, on stderr if that is a terminal; else it is
    /// not drawn.
    pub fn bar(&self, total: u64, label: &str, unit: Unit) -> ProgressBar {
        let target = if self.stderr_terminal && !self.quiet && !self.is_json() {
            ProgressDrawTarget::stderr_with_hz(10)
        } else {
            ProgressDrawTarget::hidden()
        };
        let template = match unit {
            Unit::Bytes => "{msg} [{bar:30}] {binary_bytes}/{binary_total_bytes} {eta}",
            Unit::Entries => "{msg} [{bar:30}] {human_pos}/{human_len} {per_sec} {eta}",
        };
        let style = ProgressStyle::with_template(template)
            .unwrap_or_else(|_| ProgressStyle::default_bar())
            .progress_chars("=> ");
        ProgressBar::with_draw_target(Some(total), target)
            .with_style(style)
            .with_message(label.to_owned())
    }
}

/// What a bar counts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unit {
    /// Bytes of files.
    Bytes,
    /// Entries of a log.
    Entries,
}

/// Text of others in a line of ours: control characters, which could move a terminal's cursor or
/// forge a line, are written as escapes.
pub fn printable(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() || is_reordering(c) {
            out.extend(c.escape_default());
        } else {
            out.push(c);
        }
    }
    out
}

/// Characters that change the direction in which a terminal shows the rest of the line.
fn is_reordering(c: char) -> bool {
    matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200e}' | '\u{200f}')
}

/// One line on stderr. A stderr that is gone is ignored: there is nowhere left to say so.
pub(crate) fn stderr_line(text: &str) {
    let mut err = io::stderr().lock();
    let _ = writeln!(err, "{text}");
}

/// A count with thin groups: `1 234 567`.
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            out.push(' ');
        }
        out.push(digit);
    }
    out
}

/// The count and the noun, in the plural unless it is one.
pub fn plural(number: u64, one: &str, many: &str) -> String {
    format!("{} {}", count(number), if number == 1 { one } else { many })
}

/// A length in bytes, KiB, MiB or GiB.
pub fn size(bytes: u64) -> String {
    const UNITS: [(u64, &str); 3] = [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    for (unit, name) in UNITS {
        if bytes >= unit {
            let tenths = u128::from(bytes) * 10 / u128::from(unit);
            return format!("{}.{} {name}", tenths / 10, tenths % 10);
        }
    }
    format!("{bytes} B")
}

/// A time span in few figures: `4 ms`, `1.32 s`, `2 min 05 s`, `3 h 07 min`, `5 days`.
pub fn span(time: Duration) -> String {
    let ms = time.as_millis();
    if ms < 1_000 {
        format!("{ms} ms")
    } else if ms < 60_000 {
        format!("{}.{:02} s", ms / 1_000, ms % 1_000 / 10)
    } else if ms < 3_600_000 {
        format!("{} min {:02} s", ms / 60_000, ms % 60_000 / 1_000)
    } else if ms < 2 * 86_400_000 {
        format!("{} h {:02} min", ms / 3_600_000, ms % 3_600_000 / 60_000)
    } else {
        format!("{} days", ms / 86_400_000)
    }
}

/// A time in Unix seconds, as RFC 3339 writes it.
pub fn utc_seconds(seconds: u64) -> String {
    let seconds = i64::try_from(seconds).unwrap_or(i64::MAX);
    match jiff::Timestamp::from_second(seconds) {
        Ok(time) => time.to_string(),
        Err(_) => format!("{seconds} s after 1970"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain() -> Output {
        Output {
            format: Format::Text,
            quiet: false,
            stdout_terminal: false,
            stderr_terminal: false,
            colours: false,
        }
    }

    #[test]
    fn text_of_others_cannot_steer_a_terminal() {
        for (text, expected) in [
            ("plain ü 日本", "plain ü 日本"),
            ("a\u{1b}[31mb", "a\\u{1b}[31mb"),
            ("a\nb\tc\r", "a\\nb\\tc\\r"),
            ("user\u{202e}txt", "user\\u{202e}txt"),
        ] {
            assert_eq!(printable(text), expected);
        }
    }

    #[test]
    fn colours_stand_on_a_terminal_only() {
        assert_eq!(plain().paint(Colour::Red, "no"), "no");
        let terminal = Output {
            colours: true,
            ..plain()
        };
        assert_eq!(terminal.paint(Colour::Red, "no"), "\u{1b}[31mno\u{1b}[0m");
    }

    #[test]
    fn bars_are_hidden_off_a_terminal_with_json_and_when_quiet() {
        assert!(plain().bar(1, "x", Unit::Bytes).is_hidden());
        let terminal = Output {
            stderr_terminal: true,
            ..plain()
        };
        for hidden in [
            Output {
                quiet: true,
                ..terminal
            },
            Output {
                format: Format::Json,
                ..terminal
            },
        ] {
            assert!(hidden.bar(1, "x", Unit::Entries).is_hidden());
        }
    }

    #[test]
    fn numbers_are_grouped_and_named() {
        for (number, expected) in [
            (0, "0"),
            (999, "999"),
            (1_000, "1 000"),
            (1_234_567, "1 234 567"),
        ] {
            assert_eq!(count(number), expected);
        }
        assert_eq!(plural(1, "entry", "entries"), "1 entry");
        assert_eq!(plural(2, "entry", "entries"), "2 entries");
        for (bytes, expected) in [
            (1_023, "1023 B"),
            (1_024, "1.0 KiB"),
            (1_610_612_736, "1.5 GiB"),
        ] {
            assert_eq!(size(bytes), expected);
        }
        for (ms, expected) in [(4, "4 ms"), (1_329, "1.32 s"), (125_000, "2 min 05 s")] {
            assert_eq!(span(Duration::from_millis(ms)), expected);
        }
    }
}
